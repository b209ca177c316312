"""What the file system of a destination can't hold, told before anything is changed. Nothing here is read or written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sluice.errors import DestinationError
from sluice.model.limits import SECOND, Limits
from sluice.model.manifest import Entry, EntryKind
from sluice.rules.names_on_disk import folded

_ELSEWHERE = "choose a destination on another file system"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def check_holdable(name: str, entry: Entry, limits: Limits, seen: dict[str, str]) -> None:
    """Raise DestinationError for an entry that can't come to the absolute path ``name``.

    Args:
        seen: Of all entries that were checked, the paths by their names without case; it is added to.
    """
    if not limits.has_files:
        raise DestinationError(f"{name}: {limits.name} shows what the kernel has, and holds no files", remedy=_ELSEWHERE)
    last = name.rpartition("/")[2]
    is_bad = limits.no_names_with and any(char < " " or char in limits.no_names_with for char in last)
    if is_bad or last.endswith(tuple(limits.no_names_ending_in)):
        raise DestinationError(
            f"{name}: {limits.name} can't have that name", remedy=f"rename it in the source, exclude it, or {_ELSEWHERE}"
        )
    if entry.kind is EntryKind.SYMLINK and not limits.has_links:
        raise DestinationError(f"{name} is a link, which {limits.name} can't have", remedy=f"exclude it, or {_ELSEWHERE}")
    if limits.size is not None and entry.size > limits.size:
        raise DestinationError(f"{name} has {entry.size} bytes, and {limits.name} holds {limits.size} in a file", remedy=_ELSEWHERE)
    if limits.folds_case and (first := seen.setdefault(folded(name), name)) != name:
        raise DestinationError(
            f"{first} and {name} are one name for {limits.name}", remedy=f"rename one of them in the source, or {_ELSEWHERE}"
        )


def kept_time(entry: Entry, limits: Limits) -> str:
    """Say which time an entry will have if its own is too early or too late; empty if it isn't."""
    if entry.kind is EntryKind.SYMLINK or abs(limits.time(entry.mtime_ns) - entry.mtime_ns) < limits.tick_ns:
        return ""
    kept = _EPOCH + timedelta(seconds=limits.time(entry.mtime_ns) // SECOND)
    return f"{limits.name} keeps the time {kept:%Y-%m-%d %H:%M:%S} for its own"
