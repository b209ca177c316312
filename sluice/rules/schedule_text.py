"""Write schedules and durations in the words of a blueprint. Pure."""

from __future__ import annotations

from datetime import timedelta

from sluice.model.schedule import Kind, Schedule, Window

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SECONDS = {"week": 604800, "day": 86400, "h": 3600, "min": 60}


def format_duration(duration: timedelta) -> str:
    """Write the shortest exact form: ``90 s`` is ``90 s``, ``120 s`` is ``2 min``."""
    for unit in _SECONDS:
        if duration and duration % timedelta(seconds=_SECONDS[unit]) == timedelta(0):
            return f"{duration // timedelta(seconds=_SECONDS[unit])} {unit}"
    micros = duration // timedelta(microseconds=1)
    seconds, rest = divmod(micros, 1_000_000)
    return f"{seconds} s" if not rest else f"{seconds}.{rest:06d}".rstrip("0") + " s"


def schedule_text(schedule: Schedule) -> str:
    """Write one line: ``daily 01:00 to 05:00 at random, mon tue wed (Europe/Helsinki)``."""
    match schedule.kind:
        case Kind.NEVER | Kind.IMMEDIATELY:
            return schedule.kind.value
        case Kind.INTERVAL:
            text = f"every {format_duration(schedule.interval)}" if schedule.interval is not None else "never"
            if schedule.at is not None:
                text += f", counted from {schedule.at:%Y-%m-%d %H:%M}"
        case Kind.AT:
            text = f"once, {schedule.at:%Y-%m-%d %H:%M}" if schedule.at is not None else "never"
        case Kind.CRON:
            text = f"cron {schedule.cron}"
        case Kind.RRULE:
            text = f"rule {' '.join(schedule.rrule.split())}"
        case _:
            days = _days(schedule)
            text = f"{schedule.kind.value} {_window(schedule.window)}" + (f", {days}" if days else "")
    return f"{text} ({schedule.timezone})"


def _days(schedule: Schedule) -> str:
    if schedule.kind is Kind.MONTHLY:
        return "day " + " ".join("last" if d == -1 else str(d) for d in schedule.month_days)
    if schedule.kind is Kind.YEARLY:
        return " ".join(f"{d:%m-%d}" for d in schedule.year_days)
    return " ".join(WEEKDAYS[d] for d in schedule.weekdays)


def _window(window: Window | None) -> str:
    if window is None:
        return "00:00"
    if window.start == window.end:
        return f"{window.start:%H:%M}"
    text = f"{window.start:%H:%M} to {window.end:%H:%M}"
    if window.random:
        text += " at random"
    return text + (f" every {format_duration(window.every)}" if window.every is not None else "")
