"""Cron expressions and RFC 5545 rules as wall-clock times, through cronsim and python-dateutil, with their work bounded.

Times here are naive: they show a wall clock in the schedule's time zone, which ``rules/due.py`` adds. The libraries are imported when
a schedule needs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

HORIZON = timedelta(days=3660)
"""Time ahead in which starts are searched; covers every 29 February."""
ANCHOR = datetime(2020, 1, 1)  # noqa: DTZ001 a wall-clock time
"""Begin of intervals and rules that state no other (Prefect's own anchor for rules)."""
TIMES_A_DAY_MAX = 48
"""Most times a day of a rule; cron and intervals allow more."""
YEAR_MIN = 2000
"""Earliest year of DTSTART."""

_RULE = re.compile(r"[A-Z]+=[A-Z0-9,+-]+(;[A-Z]+=[A-Z0-9,+-]+)*")
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")


def cron_times(cron: str, after: datetime) -> Iterator[datetime]:
    """Yield every time of a cron expression strictly after ``after``."""
    from cronsim import CronSim

    return CronSim(cron, after)


def cron_problem(cron: str) -> str:
    """Describe the error of an expression; empty if it is valid."""
    from cronsim import CronSimError

    if len(cron.split()) != 5:
        return f"{cron!r} doesn't have five fields"
    try:
        comes = next(cron_times(cron, ANCHOR), None) is not None
    except CronSimError as e:
        return f"{cron!r} isn't a cron expression ({str(e).lower()})"
    return "" if comes else f"{cron!r} never comes"


def rule_times(rule: str, after: datetime) -> Iterator[datetime]:
    """Yield every time of a rule from its beginning to ten years after ``after``, including those before ``after``."""
    until = ANCHOR.replace(year=after.year + 2)
    seen = ANCHOR.min
    while True:
        for moment in _times_until(rule, until):
            if moment > seen:
                seen = moment
                yield moment
        if until.year > after.year + HORIZON.days // 366:
            return
        until = until.replace(year=until.year + 4)


def rule_problem(rule: str) -> str:
    """Describe the error of a rule; empty if it is valid."""
    try:
        start, parts = _read(rule)
        if parts.get("FREQ") not in _FREQUENCIES:
            return f"FREQ is none of {', '.join(_FREQUENCIES[:-1])} and {_FREQUENCIES[-1]}"
        times = 1
        for part in ("BYHOUR", "BYMINUTE", "BYSECOND"):
            times *= parts.get(part, "0").count(",") + 1
        if times > TIMES_A_DAY_MAX:
            return f"has more than {TIMES_A_DAY_MAX} times a day"
        if start.year < YEAR_MIN:
            return f"begins before {YEAR_MIN}"
        comes = _ever_comes(start, parts) and next(rule_times(rule, start), None) is not None
    except (ValueError, TypeError, KeyError) as e:
        return f"{rule!r} isn't a rule ({e})"
    return "" if comes else f"{rule!r} never comes"


@lru_cache(maxsize=512)
def _times_until(rule: str, until: datetime) -> tuple[datetime, ...]:
    start, parts = _read(rule)
    count = int(parts.pop("COUNT", 0))
    if "UNTIL" not in parts or _moment(parts["UNTIL"]) > until:
        parts["UNTIL"] = f"{until:%Y%m%dT%H%M%S}"
    return tuple(islice(_walk(start, parts), count or None))


def _ever_comes(start: datetime, parts: dict[str, str]) -> bool:
    """Whether a rule has any time at all: if it has none, dateutil searches to the end of the calendar.

    So it is evaluated near that end, a multiple of 400 years later, after which the calendar repeats with its weekdays.
    """
    late = start.replace(year=start.year % 400 + (9600 if start.year % 400 < 300 else 9200))
    return next(_walk(late, {k: v for k, v in parts.items() if k not in ("COUNT", "UNTIL")}), None) is not None


def _walk(start: datetime, parts: dict[str, str]) -> Iterator[datetime]:
    from dateutil.rrule import rrulestr

    yield from rrulestr(";".join(f"{k}={v}" for k, v in parts.items()), dtstart=start)


def _read(rule: str) -> tuple[datetime, dict[str, str]]:
    """Read beginning and parts of one rule with at most a DTSTART before it; raise ValueError for anything else."""
    lines = rule.split()
    start = ANCHOR
    if lines and lines[0].startswith("DTSTART:"):
        start = _moment(lines.pop(0).removeprefix("DTSTART:"))
    text = lines[0].removeprefix("RRULE:") if len(lines) == 1 else ""
    if _RULE.fullmatch(text) is None:
        raise ValueError("one RRULE, with DTSTART at most")
    return start, dict(part.split("=", 1) for part in text.split(";"))


def _moment(text: str) -> datetime:
    form = "%Y%m%dT%H%M%S" if "T" in text else "%Y%m%d"
    return datetime.strptime(text, form)  # noqa: DTZ007 a wall-clock time
