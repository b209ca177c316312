"""Write the model's values as text that people read: schedules and settings."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.blueprint.schema.units import format_duration
from sluice.blueprint.schema.values import WEEKDAYS
from sluice.model.action import Action, Script, StopProcess
from sluice.model.locked import Locked
from sluice.model.removals import USUAL, RemovalLimit
from sluice.model.schedule import Kind, Schedule, Window
from sluice.model.site import Mail, Notify, Synchronize


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


def action_text(action: Action) -> str:
    """Write one line without arguments, which may hold secrets: ``stop process clamd, waited for, killed if need be, undo: by script``."""
    words = [action.label]
    if not isinstance(action, Script) and action.wait:
        words.append("waited for")
    if isinstance(action, StopProcess) and action.kill:
        words.append("killed if need be")
    return ", ".join([*words, f"undo: {'none' if action.undo == 'none' else 'by script'}"])


def locked_text(locked: Locked) -> str:
    """Write one line: ``looks again up to 3 times, 10 s apart, then fails``."""
    if not locked.retries:
        return "fails at once"
    times = "once" if locked.retries == 1 else f"up to {locked.retries} times"
    return f"looks again {times}, {format_duration(locked.wait)} apart, then fails"


def mail_text(mail: Mail | None) -> str:
    """Write one line: ``from sluice@example.org through smtp.example.org:25``."""
    if mail is None:
        return "none"
    host = f"[{mail.host}]" if ":" in mail.host else mail.host
    return f"from {mail.sender} through {host}:{mail.port}"


def notify_text(notify: Notify | None) -> str:
    """Write one line: ``ops@example.org, when at most 2 are left until max_revisions``."""
    if notify is None:
        return "nobody"
    few = {0: "none is", 1: "at most one is"}.get(notify.when_left, f"at most {notify.when_left} are")
    return f"{', '.join(notify.to)}, when {few} left until max_revisions"


def synchronize_text(synchronize: Synchronize) -> str:
    """Write it as in a blueprint."""
    return {Synchronize.NO: "false", Synchronize.YES: "true", Synchronize.MIRROR: "mirror"}[synchronize]


def max_removals_text(limit: RemovalLimit) -> str:
    """Write it as in a blueprint; the usual one has no word there."""
    if limit == USUAL:
        return f"{limit.percent}% or {limit.files} files, whichever is more"
    return f"{limit.percent}%" if limit.percent or not limit.files else str(limit.files)


def xattrs_text(xattrs: str | Mapping[str, str]) -> str:
    """Write one line: ``keep``, ``none``, or names with their texts."""
    if isinstance(xattrs, str):
        return xattrs or "none"
    return ", ".join(f"{name}: {text}" for name, text in sorted(xattrs.items()))


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
