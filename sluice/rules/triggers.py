"""Schedules in Prefect's form: the data of its interval, cron and rrule schedules, without importing Prefect.

The form starts at the instants of ``rules/due.py``, by which Python Prefect's server may run (ADR 0019):

- Elapsed time is an interval in UTC, or a rule in UTC if it begins later than ``EPOCH``: Prefect's intervals reach back before their begin.
- Times of day are cron in numbers alone, days joined as ``day_or`` says, if no clock change can make a difference: up to Python 3.12
  Prefect reads a skipped time as the one before the gap, from 3.13 on as the one after it. Its cron also leaves out days after a
  short month if days beyond the 28th are listed beside others.
- Everything else is a rule, which dateutil evaluates everywhere. It is walked through from its beginning each time Prefect looks ahead.

A schedule that fits none of them has a problem, and no blueprint with it is accepted. A random window maps to its begin: the run decides by
``rules/due.py`` which Subscriber starts when. ``never`` and ``immediately`` map to nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sluice.model.schedule import Kind, Schedule, Window
from sluice.rules.clocks import EPOCH, disputed_times, localized, skipped_times
from sluice.rules.recurrence import (
    ANCHOR,
    Problem,
    Times,
    cron_fields,
    cron_problem,
    rule_problem,
    rule_text,
)

PrefectSchedule = dict[str, str | float | bool]
"""``timezone``, and ``interval`` (seconds) with ``anchor_date`` (ISO format), ``cron``, with ``day_or`` if that matters, or ``rrule``."""

SHORTEST_INTERVAL = timedelta(minutes=1)
"""Shortest interval: Prefect plans a hundred starts ahead, once a minute."""
SHORTEST_LATER_INTERVAL = timedelta(hours=1)
"""Shortest interval with a begin after EPOCH, which Prefect counts through."""
RULE_TIMES_A_DAY_MAX = 480
"""Most times a day of what becomes a rule: a window's shortest repetition."""

_CRON_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_BYDAY = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def problem_with(schedule: Schedule) -> Problem | None:
    """Find what is wrong with a schedule's expression, rule, interval or times; None if it can be kept exactly."""
    problem = None
    match schedule.kind:
        case Kind.CRON:
            problem = cron_problem(schedule.cron)
        case Kind.RRULE:
            problem = rule_problem(schedule.rrule, schedule.timezone)
        case Kind.INTERVAL:
            problem = _interval_problem(schedule)
    if problem is not None:
        return problem
    form = prefect_schedule(schedule) or {}
    times = _times_of_day(str(form.get("rrule", "")))
    if len(times) > RULE_TIMES_A_DAY_MAX:
        return Problem(
            f"has {len(times)} times a day on days or at times that take a rule in Prefect",
            f"write at most {RULE_TIMES_A_DAY_MAX} times a day",
        )
    if times and (disputed := sorted(times & disputed_times(str(form["timezone"])))):
        hour, minute = disputed[0]
        return Problem(
            f"starts at {hour:02}:{minute:02}, which Prefect takes for another time on a day when {schedule.timezone}'s clock changes",
            f'write a time that this clock never skips or repeats, such as "{(hour + 2) % 24:02}:{minute:02}", or timezone: UTC',
        )
    return None


def prefect_schedule(schedule: Schedule) -> PrefectSchedule | None:
    """Return the keyword arguments of Prefect's schedule, or None if nothing is to be scheduled."""
    match schedule.kind:
        case Kind.NEVER | Kind.IMMEDIATELY:
            return None
        case Kind.INTERVAL:
            return _interval(schedule)
        case Kind.AT:
            return _rule(_beginning(schedule), "FREQ=DAILY;COUNT=1", "UTC")
        case Kind.RRULE:
            return {"rrule": rule_text(schedule.rrule, schedule.timezone), "timezone": schedule.timezone}
    return _times_form(cron_fields(schedule.cron) if schedule.kind is Kind.CRON else list(_times(schedule)), schedule.timezone)


def _times_form(times: list[Times], zone: str) -> PrefectSchedule:
    if len(times) == 1 and all(0 < day <= 28 for day in times[0].month_days) and _is_settled(times[0], zone):
        return _cron(times[0], zone)
    return _rule(EPOCH, "\nRRULE:".join(map(_daily, times)), zone)


def _interval_problem(schedule: Schedule) -> Problem | None:
    interval = schedule.interval or timedelta(0)
    if interval < SHORTEST_INTERVAL or interval % SHORTEST_INTERVAL:
        return Problem("is not a whole number of minutes", "write 1 min or more, in whole minutes")
    if interval < SHORTEST_LATER_INTERVAL and _beginning(schedule) > EPOCH:
        return Problem(
            f"begins after {EPOCH.year - 1} and comes more than once an hour",
            f"write at least 1 h, or a time of starting: before {EPOCH.year}, from which it is counted as well",
        )
    return None


def _interval(schedule: Schedule) -> PrefectSchedule:
    interval = schedule.interval or timedelta(0)
    minutes = interval // timedelta(minutes=1)
    days, rest = divmod(interval, timedelta(days=1))
    if not rest:
        begin = (schedule.at or ANCHOR).replace(tzinfo=None)
        if days in (1, 7) and begin <= EPOCH and not begin.second:
            return _times_form([Times((begin.minute,), (begin.hour,), weekdays=(begin.weekday(),) * (days == 7))], schedule.timezone)
        begin += max(0, -((begin - EPOCH) // interval)) * interval
        return _rule(begin, f"FREQ=DAILY;INTERVAL={days}", schedule.timezone)
    begin = _beginning(schedule)
    if begin > EPOCH:
        return _rule(begin, f"FREQ=MINUTELY;INTERVAL={minutes}", "UTC")
    return {"interval": interval.total_seconds(), "anchor_date": begin.replace(tzinfo=UTC).isoformat(), "timezone": "UTC"}


def _beginning(schedule: Schedule) -> datetime:
    """Return the instant from which a schedule counts, by the clock of UTC."""
    return localized((schedule.at or ANCHOR).replace(tzinfo=None), ZoneInfo(schedule.timezone)).replace(tzinfo=None)


def _is_settled(times: Times, zone: str) -> bool:
    """Whether each of the times that the zone's clock skips falls on one of them anyhow, be it taken as earlier or as later."""
    return all(times.has(wall - shift) and times.has(wall + shift) for wall, shift in skipped_times(zone) if times.has(wall))


def _cron(times: Times, zone: str) -> PrefectSchedule:
    weekdays = [_CRON_DAYS[day] for day in times.weekdays]
    fields = (
        ",".join(map(str, field)) if 0 < len(field) < whole else "*"
        for field, whole in ((times.minutes, 60), (times.hours, 24), (times.month_days, 31), (times.months, 12), (weekdays, 7))
    )
    joined: PrefectSchedule = {"day_or": False} if times.month_days and weekdays else {}
    return {"cron": " ".join(fields), "timezone": zone} | joined


def _rule(begin: datetime, rules: str, zone: str) -> PrefectSchedule:
    return {"rrule": f"DTSTART:{begin:%Y%m%dT%H%M%S}\nRRULE:{rules}", "timezone": zone}


def _daily(times: Times) -> str:
    parts = (
        ("BYMONTH", times.months),
        ("BYMONTHDAY", times.month_days),
        ("BYDAY", tuple(_BYDAY[day] for day in times.weekdays)),
        ("BYHOUR", times.hours),
        ("BYMINUTE", times.minutes),
        ("BYSECOND", (0,)),
    )
    return ";".join(["FREQ=DAILY", *(f"{name}={','.join(map(str, values))}" for name, values in parts if values)])


def _times_of_day(rules: str) -> set[tuple[int, int]]:
    """Read hour and minute of every time of a DTSTART and its rules."""
    begin, *lines = rules.split("\n")
    found: set[tuple[int, int]] = set()
    for line in lines:
        by = dict(re.findall("(BYHOUR|BYMINUTE)=([0-9,]+)", line))
        hours, minutes = by.get("BYHOUR", begin[17:19]).split(","), by.get("BYMINUTE", begin[19:21]).split(",")
        found |= {(int(hour), int(minute)) for hour in hours for minute in minutes}
    return found


def _times(schedule: Schedule) -> Iterator[Times]:
    """Yield the starts of a window's days, those that differ in nothing but the minute together."""
    minutes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for moment in _starts_of_a_day(schedule.window or Window(time(), time())):
        minutes[(moment.date() - ANCHOR.date()).days, moment.hour].append(moment.minute)
    hours: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for (shift, hour), found in minutes.items():
        hours[shift if schedule.weekdays else 0, tuple(sorted(found))].append(hour)
    for (shift, of_hour), of_day in hours.items():
        at = of_hour, tuple(sorted(of_day))
        match schedule.kind:
            case Kind.MONTHLY:
                yield Times(*at, month_days=schedule.month_days)
            case Kind.YEARLY:
                for month in sorted({day.month for day in schedule.year_days}):
                    yield Times(*at, month_days=tuple(d.day for d in schedule.year_days if d.month == month), months=(month,))
            case _:
                yield Times(*at, weekdays=tuple(sorted((day + shift) % 7 for day in schedule.weekdays)))


def _starts_of_a_day(window: Window) -> Iterator[datetime]:
    opens, closes = (datetime.combine(ANCHOR, at) for at in (window.start, window.end))
    yield opens
    if window.every is None:
        return
    closes += timedelta(days=closes <= opens)
    while (opens := opens + window.every) < closes:
        yield opens
