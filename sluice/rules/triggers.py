"""Schedules as Prefect takes them: data from which its interval, cron and rrule schedules are made, without importing Prefect.

A random window maps to its begin: the run decides by ``rules/due.py`` who starts when. ``never`` and ``immediately`` map to nothing.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sluice.model.schedule import Kind, Schedule, Window
from sluice.rules.recurrence import ANCHOR

PrefectSchedule = dict[str, str | float]
"""``timezone`` and one of ``interval`` (seconds, with ``anchor_date`` in ISO format), ``cron`` and ``rrule``."""

_BYDAY = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def prefect_schedule(schedule: Schedule) -> PrefectSchedule | None:
    """The keyword arguments of Prefect's schedule, or None where nothing is to be scheduled."""
    match schedule.kind:
        case Kind.NEVER | Kind.IMMEDIATELY:
            return None
        case Kind.INTERVAL:
            return _interval(schedule)
        case Kind.AT:
            at = schedule.at or ANCHOR
            return _rrule(schedule, f"DTSTART:{at:%Y%m%dT%H%M%S}\nRRULE:FREQ=DAILY;COUNT=1")
        case Kind.CRON:
            return {"cron": schedule.cron, "timezone": schedule.timezone}
        case Kind.RRULE:
            return _rrule(schedule, schedule.rrule)
    window = schedule.window
    if window is not None and window.every is not None:
        return _rrule(schedule, _repeated(schedule, window, window.every))
    return _rrule(schedule, "\n".join(_rules(schedule, *_hour_minute(window), shift=0)))


def _interval(schedule: Schedule) -> PrefectSchedule:
    """Whole days as a rule: Prefect's interval schedules move them by an hour, depending on when they are asked."""
    interval = schedule.interval or timedelta(0)
    zone = ZoneInfo(schedule.timezone)
    anchor = schedule.at.astimezone(zone) if schedule.at is not None else ANCHOR.replace(tzinfo=zone)
    days, rest = divmod(interval, timedelta(days=1))
    if not rest:
        return _rrule(schedule, f"DTSTART:{anchor:%Y%m%dT%H%M%S}\nRRULE:FREQ=DAILY;INTERVAL={days}")
    return {"interval": interval.total_seconds(), "anchor_date": anchor.astimezone(UTC).isoformat(), "timezone": "UTC"}


def _rrule(schedule: Schedule, text: str) -> PrefectSchedule:
    return {"rrule": text, "timezone": schedule.timezone}


def _hour_minute(window: Window | None) -> tuple[str, int]:
    return (str(window.start.hour), window.start.minute) if window is not None else ("0", 0)


def _repeated(schedule: Schedule, window: Window, every: timedelta) -> str:
    """A rule for each minute of the hour that a repeated start falls on; the window's part after midnight is a day later."""
    opens = datetime.combine(ANCHOR, window.start)
    closes = datetime.combine(ANCHOR, window.end)
    if closes <= opens:
        closes += timedelta(days=1)
    hours: dict[tuple[int, int], list[int]] = defaultdict(list)
    while opens < closes:
        hours[((opens.date() - ANCHOR.date()).days, opens.minute)].append(opens.hour)
        opens += every
    return "\n".join(
        rule
        for (shift, minute), found in sorted(hours.items())
        for rule in _rules(schedule, ",".join(map(str, found)), minute, shift=shift)
    )


def _rules(schedule: Schedule, hours: str, minute: int, *, shift: int) -> list[str]:
    """One rule, or for several days of the year one each; only days of the week can be shifted."""
    at = f"BYHOUR={hours};BYMINUTE={minute};BYSECOND=0"
    match schedule.kind:
        case Kind.MONTHLY:
            return [f"RRULE:FREQ=MONTHLY;BYMONTHDAY={','.join(map(str, schedule.month_days))};{at}"]
        case Kind.YEARLY:
            return [f"RRULE:FREQ=YEARLY;BYMONTH={d.month};BYMONTHDAY={d.day};{at}" for d in schedule.year_days]
    if not schedule.weekdays:
        return [f"RRULE:FREQ=DAILY;{at}"]
    days_of_week = ",".join(_BYDAY[d] for d in sorted((d + shift) % 7 for d in schedule.weekdays))
    return [f"RRULE:FREQ=WEEKLY;BYDAY={days_of_week};{at}"]
