"""Write the model's values as text that people read: settings."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.model.action import Action, Script, StopProcess
from sluice.model.locked import Locked
from sluice.model.removals import USUAL, RemovalLimit
from sluice.model.site import Mail, Notify, Synchronize
from sluice.rules.schedule_text import format_duration


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
