"""Schedules in Prefect's form: the data of its interval, cron and rrule schedules, without importing Prefect.

A schedule becomes cron if cron can express it: Prefect evaluates a rule from its beginning each time it looks ahead, which costs its
server seconds for a frequent rule. A random window maps to its begin: the run decides by ``rules/due.py`` which Subscriber starts when.
``never`` and ``immediately`` map to nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sluice.model.schedule import Kind, Schedule, Window
from sluice.rules.recurrence import ANCHOR

PrefectSchedule = dict[str, str | float]
"""``timezone`` and one of ``interval`` (seconds, with ``anchor_date`` in ISO format), ``cron`` and ``rrule``."""

_BYDAY = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_CRON_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def prefect_schedule(schedule: Schedule) -> PrefectSchedule | None:
    """Return the keyword arguments of Prefect's schedule, or None if nothing is to be scheduled."""
    match schedule.kind:
        case Kind.NEVER | Kind.IMMEDIATELY:
            return None
        case Kind.INTERVAL:
            return _interval(schedule)
        case Kind.AT:
            at = schedule.at or ANCHOR
            return _rrule(schedule, f"DTSTART:{at:%Y%m%dT%H%M%S}\nRRULE:FREQ=DAILY;COUNT=1")
        case Kind.CRON:
            return _cron(schedule, schedule.cron)
        case Kind.RRULE:
            return _rrule(schedule, schedule.rrule)
    hours = _hours(schedule)
    if (cron := _daily_cron(schedule, hours)) is not None:
        return _cron(schedule, cron)
    return _rrule(schedule, "\n".join(rule for at, found in sorted(hours.items()) for rule in _rules(schedule, at, found)))


def _daily_cron(schedule: Schedule, hours: dict[tuple[int, int], list[int]]) -> str | None:
    """Return daily or weekly times as one cron expression if the hours are the same for each minute and no day is shifted.

    Days of the month never become cron: Prefect's leaves out 1 March for ``1,31``.
    """
    first, *others = hours.values()
    if schedule.kind not in (Kind.DAILY, Kind.WEEKLY) or any(shift for shift, _ in hours) or any(found != first for found in others):
        return None
    minutes = ",".join(str(minute) for _, minute in sorted(hours))
    return f"{minutes} {','.join(map(str, first))} * * {','.join(_CRON_DAYS[d] for d in schedule.weekdays) or '*'}"


def _interval(schedule: Schedule) -> PrefectSchedule:
    """Return an interval; whole days become cron or a rule, because Prefect's interval schedules may shift them by an hour."""
    interval = schedule.interval or timedelta(0)
    zone = ZoneInfo(schedule.timezone)
    anchor = schedule.at.astimezone(zone) if schedule.at is not None else ANCHOR.replace(tzinfo=zone)
    days, rest = divmod(interval, timedelta(days=1))
    if rest:
        return {"interval": interval.total_seconds(), "anchor_date": anchor.astimezone(UTC).isoformat(), "timezone": "UTC"}
    if schedule.at is None and days in (1, 7):
        return _cron(schedule, f"0 0 * * {'*' if days == 1 else _CRON_DAYS[ANCHOR.weekday()]}")
    return _rrule(schedule, f"DTSTART:{anchor:%Y%m%dT%H%M%S}\nRRULE:FREQ=DAILY;INTERVAL={days}")


def _cron(schedule: Schedule, text: str) -> PrefectSchedule:
    return {"cron": text, "timezone": schedule.timezone}


def _rrule(schedule: Schedule, text: str) -> PrefectSchedule:
    return {"rrule": text, "timezone": schedule.timezone}


def _hours(schedule: Schedule) -> dict[tuple[int, int], list[int]]:
    """Return the hours of a window's starts by (days after it opened, minute). Without days of the week the days don't matter."""
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for moment in _starts_of_a_day(schedule.window):
        shift = (moment.date() - ANCHOR.date()).days if schedule.weekdays else 0
        found[shift, moment.minute].append(moment.hour)
    return {at: sorted(hours) for at, hours in found.items()}


def _starts_of_a_day(window: Window | None) -> Iterator[datetime]:
    if window is None:
        yield ANCHOR
        return
    opens, closes = (datetime.combine(ANCHOR, t) for t in (window.start, window.end))
    yield opens
    if window.every is None:
        return
    closes += timedelta(days=closes <= opens)
    while (opens := opens + window.every) < closes:
        yield opens


def _rules(schedule: Schedule, at: tuple[int, int], hours: list[int]) -> list[str]:
    """Return one rule, or one for each of several days of the year; only days of the week can be shifted."""
    shift, minute = at
    times = f"BYHOUR={','.join(map(str, hours))};BYMINUTE={minute};BYSECOND=0"
    match schedule.kind:
        case Kind.MONTHLY:
            return [f"RRULE:FREQ=MONTHLY;BYMONTHDAY={','.join(map(str, schedule.month_days))};{times}"]
        case Kind.YEARLY:
            return [f"RRULE:FREQ=YEARLY;BYMONTH={d.month};BYMONTHDAY={d.day};{times}" for d in schedule.year_days]
    if not schedule.weekdays:
        return [f"RRULE:FREQ=DAILY;{times}"]
    days_of_week = ",".join(_BYDAY[d] for d in sorted((d + shift) % 7 for d in schedule.weekdays))
    return [f"RRULE:FREQ=WEEKLY;BYDAY={days_of_week};{times}"]
