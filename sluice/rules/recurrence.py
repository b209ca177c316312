"""Cron expressions and RFC 5545 rules as wall-clock times, through cronsim and python-dateutil, with their work bounded.

Times here are naive: they show a wall clock in the schedule's time zone, which ``rules/due.py`` adds. The libraries are imported when
a schedule needs them.

Of rules, one RRULE is read, with a DTSTART before it if need be. Their times are dateutil's, which Prefect asks too: ``rule_text`` is
what Prefect is given and what is evaluated here, so nothing is left to what either would add or convert.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from math import prod
from zoneinfo import ZoneInfo

HORIZON = timedelta(days=3660)
"""Time ahead in which starts are searched; covers every 29 February."""
ANCHOR = datetime(2020, 1, 1)  # noqa: DTZ001 a wall-clock time
"""Begin of intervals and rules that state no other (Prefect's own anchor for rules)."""
TIMES_A_DAY_MAX = 48
"""Most times a day of a rule; cron and intervals allow more."""
YEARS = range(2000, 2100)
"""Years of DTSTART and UNTIL: Prefect walks through a rule from its beginning."""
LOOKED_AT_MAX = 20_000
"""Most times of a rule that are looked at to find its last one."""
RULE_MAX = 500
"""Characters of a rule: a longer list costs seconds for each year."""

CRON_FIELDS = 5
_CRON_REMEDY = 'write minute, hour, day, month and day of week, such as "0 2 * * mon-fri"'
_DAYS_REMEDY = (
    'write monthly: {days: last, at: "02:00"}, or for a last Friday rrule: "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=2;BYMINUTE=0;BYSECOND=0"'
)
_RULE_REMEDY = 'write a rule such as "FREQ=MONTHLY;BYDAY=1MO;BYHOUR=2;BYMINUTE=0;BYSECOND=0"'
_PART = re.compile(r"([A-Z]+)=([A-Z0-9,+-]+)")
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_PARTS = [
    "FREQ",
    "INTERVAL",
    "COUNT",
    "UNTIL",
    "WKST",
    "BYMONTH",
    "BYMONTHDAY",
    "BYYEARDAY",
    "BYWEEKNO",
    "BYDAY",
    "BYHOUR",
    "BYMINUTE",
    "BYSECOND",
    "BYSETPOS",
]
_NUMBERS = {"INTERVAL": 10_000, "COUNT": 1_000_000}
"""Parts that are a number from 1 on, and how large it may be."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a schedule can't be kept as it is written, and what its author writes instead."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Times:
    """Times of day on some days: what one line of cron says. An empty field is unrestricted; months and days count as in dates."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    month_days: tuple[int, ...] = ()
    """-1 is the last."""
    months: tuple[int, ...] = ()
    weekdays: tuple[int, ...] = ()
    """0 is Monday."""

    def has(self, wall: datetime) -> bool:
        """Whether a wall-clock time is one of them; for days of the month from 1 on."""
        return (
            wall.minute in self.minutes
            and wall.hour in self.hours
            and (not self.month_days or wall.day in self.month_days)
            and (not self.months or wall.month in self.months)
            and (not self.weekdays or wall.weekday() in self.weekdays)
        )


def cron_times(cron: str, after: datetime) -> Iterator[datetime]:
    """Yield every time of a cron expression strictly after ``after``."""
    from cronsim import CronSim

    return CronSim(cron, after)


def cron_fields(cron: str) -> list[Times]:
    """Return the numbers of a valid expression: two of them if it names days of the month or days of the week, whichever comes.

    As in Debian's cron, it is days that are both if either of the two fields begins with a star.
    """
    from cronsim import CronSim

    read = CronSim(cron, ANCHOR)
    minutes, hours = tuple(sorted(read.minutes)), tuple(sorted(read.hours))
    months = _restricted(read.months, 12)
    month_days = _restricted(read.days, 31)
    weekdays = _restricted({(day - 1) % 7 for day in read.weekdays if isinstance(day, int)}, 7)
    if read.day_and:
        return [Times(minutes, hours, month_days, months, weekdays)]
    if month_days and weekdays:
        return [Times(minutes, hours, month_days, months), Times(minutes, hours, (), months, weekdays)]
    return [Times(minutes, hours, (), months)]


def cron_problem(cron: str) -> Problem | None:
    """Find the error of an expression; None if it is valid."""
    from cronsim import CronSim, CronSimError

    if len(cron.split()) != CRON_FIELDS:
        return Problem(f"{cron!r} doesn't have five fields", _CRON_REMEDY)
    try:
        read = CronSim(cron, ANCHOR)
        comes = next(read, None) is not None
    except CronSimError as e:
        return Problem(f"{cron!r} isn't a cron expression ({str(e).lower()})", _CRON_REMEDY)
    if min(read.days) < 0 or any(isinstance(day, tuple) for day in read.weekdays):
        return Problem(f"{cron!r} counts days by L, W or #, which cron programs read each in their way", _DAYS_REMEDY)
    return None if comes else Problem(f"{cron!r} never comes", _CRON_REMEDY)


def rule_times(rule: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Yield every time of a rule from its beginning to ten years after ``after``, including those before ``after``."""
    until = ANCHOR.replace(year=after.year + 2)
    seen = ANCHOR.min
    while True:
        for moment in _times_until(rule, zone, until):
            if moment > seen:
                seen = moment
                yield moment
        if until.year > after.year + HORIZON.days // 366:
            return
        until = until.replace(year=until.year + 4)


def rule_times_of_day(rule: str, zone: str) -> set[timedelta]:
    """Return the times of day of a valid rule, as times since midnight."""
    start, parts = _read(rule, zone)
    usual = (("BYHOUR", start.hour), ("BYMINUTE", start.minute), ("BYSECOND", start.second))
    hours, minutes, seconds = (list(map(int, parts.get(name, str(number)).split(","))) for name, number in usual)
    return {timedelta(hours=h, minutes=m, seconds=s) for h in hours for m in minutes for s in seconds}


def last_rule_time(rule: str, zone: str, now: datetime) -> datetime | None:
    """Return the last time of a rule that has none in the ten years after ``now``; None if it has one.

    Of a rule with more times than are looked at, UNTIL is returned for the last; one with a COUNT above that counts as going on.
    """
    start, parts = _read(rule, zone)
    count = int(parts.pop("COUNT", LOOKED_AT_MAX + 1))
    until = min(_moment(parts["UNTIL"]) if "UNTIL" in parts else ANCHOR.max, now + HORIZON)
    last = None
    for number, moment in enumerate(islice(_walk(start, parts | {"UNTIL": f"{until:%Y%m%dT%H%M%S}"}), count)):
        if moment > now:
            return None
        if number == LOOKED_AT_MAX:
            return until if until <= now else None
        last = moment
    return last


def rule_text(rule: str, zone: str) -> str:
    """Return a valid rule with its beginning, both by the clock of its zone."""
    start, parts = _read(rule, zone)
    return f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:{_joined(parts)}"


def rule_problem(rule: str, zone: str) -> Problem | None:
    """Find the error of a rule; None if it is valid."""
    try:
        start, parts = _read(rule, zone)
        if not (_ever_comes(start, parts) and next(_walk(start, parts), None)):
            return Problem(f"{rule!r} never comes", _RULE_REMEDY)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as e:
        return Problem(f"{_shortened(rule)!r} isn't a rule that can be kept ({e})", _RULE_REMEDY)
    return None


@lru_cache(maxsize=512)
def _times_until(rule: str, zone: str, until: datetime) -> tuple[datetime, ...]:
    start, parts = _read(rule, zone)
    count = int(parts.pop("COUNT", 0))
    if "UNTIL" not in parts or _moment(parts["UNTIL"]) > until:
        parts["UNTIL"] = f"{until:%Y%m%dT%H%M%S}"
    return tuple(islice(_walk(start, parts), count or None))


def _ever_comes(start: datetime, parts: dict[str, str]) -> bool:
    """Whether a rule has any time at all: if it has none, dateutil searches to the end of the calendar.

    So it is evaluated near that end: a multiple of 400 years later, after which the calendar repeats with its weekdays. If it counts days,
    in 40 years for each INTERVAL, in which each kind of year comes.
    """
    late = start.replace(year=start.year % 400 + 9600)
    if parts["FREQ"] in ("DAILY", "WEEKLY"):
        late = late.replace(year=max(late.year, 9956 - 40 * int(parts.get("INTERVAL", 1)) // 4 * 4))
    return next(_walk(late, {k: v for k, v in parts.items() if k not in ("COUNT", "UNTIL")}), None) is not None


def _walk(start: datetime, parts: dict[str, str]) -> Iterator[datetime]:
    from dateutil.rrule import rrulestr

    yield from rrulestr(_joined(parts), dtstart=start)


def _joined(parts: dict[str, str]) -> str:
    return ";".join(f"{k}={v}" for k, v in parts.items())


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."


def _restricted(found: set[int], whole: int) -> tuple[int, ...]:
    return () if len(found) == whole else tuple(sorted(found))


def _read(rule: str, zone: str) -> tuple[datetime, dict[str, str]]:
    """Read beginning and parts of one rule, times by the clock of its zone; raise ValueError for anything that isn't such a rule."""
    if len(rule) > RULE_MAX:
        raise ValueError(f"it has more than {RULE_MAX} characters")
    lines = rule.split()
    start = _beginning(lines.pop(0), zone) if lines and lines[0].upper().startswith("DTSTART") else ANCHOR
    found = [_PART.fullmatch(part) for part in lines[0].upper().removeprefix("RRULE:").split(";")] if len(lines) == 1 else []
    pairs = [(match[1], match[2]) for match in found if match is not None]
    if not pairs or len(pairs) < len(found):
        raise ValueError("one RRULE, with DTSTART at most")
    parts = dict(pairs)
    if unknown := [name for name in parts if name not in _PARTS]:
        raise ValueError(f"{unknown[0]} is no part of a rule")
    if len(parts) < len(pairs) or ("COUNT" in parts and "UNTIL" in parts):
        raise ValueError("a part stands twice, or COUNT beside UNTIL")
    for name, most in _NUMBERS.items():
        if not (re.fullmatch("[0-9]{1,9}", text := parts.get(name, "1")) and 1 <= int(text) <= most):
            raise ValueError(f"{name} is no number from 1 to {most}")
    if parts.get("FREQ") not in _FREQUENCIES:
        raise ValueError(f"FREQ is none of {', '.join(_FREQUENCIES[:-1])} and {_FREQUENCIES[-1]}")
    if prod(parts.get(name, "").count(",") + 1 for name in ("BYHOUR", "BYMINUTE", "BYSECOND")) > TIMES_A_DAY_MAX:
        raise ValueError(f"it has more than {TIMES_A_DAY_MAX} times a day")
    if parts["FREQ"] in ("DAILY", "WEEKLY") and re.search("[0-9]", parts.get("BYDAY", "")):
        raise ValueError("BYDAY counts days of a month or year only")
    if "UNTIL" in parts:
        parts["UNTIL"] = f"{_on_clock(parts['UNTIL'], zone):%Y%m%dT%H%M%S}"
    return start, parts


def _beginning(line: str, zone: str) -> datetime:
    """Read the line of DTSTART: by the schedule's clock, which it may name."""
    head, _, text = line.upper().partition(":")
    if head not in ("DTSTART", f"DTSTART;TZID={zone}".upper()) or (text.endswith("Z") and zone != "UTC"):
        raise ValueError(f"DTSTART isn't by the clock of timezone: {zone}")
    return _moment(text.removesuffix("Z"))


def _on_clock(text: str, zone: str) -> datetime:
    """Read UNTIL: with Z in UTC, as RFC 5545 wants it, else by the clock of the zone already."""
    moment = _moment(text.removesuffix("Z"))
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) if text.endswith("Z") else moment


def _moment(text: str) -> datetime:
    if re.fullmatch("[0-9]{8}(T[0-9]{6})?", text) is None:
        raise ValueError(f"{text} isn't a time such as 20261201T020000")
    if int(text[:4]) not in YEARS:
        raise ValueError(f"{text} is before {YEARS.start} or after {YEARS.stop - 1}")
    return datetime.fromisoformat(text)
