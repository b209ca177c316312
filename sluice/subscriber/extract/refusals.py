"""The errors of a plan that would take something foreign away. Each names the path, what is there, and what to do."""

from __future__ import annotations

import os

from sluice.errors import DestinationError
from sluice.model.manifest import Entry, EntryKind
from sluice.ports import PathStat
from sluice.subscriber.extract.changes import KIND_NAMES, kind_name
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.destinations import LocatedDestination

_READING = {EntryKind.FILE: (0o400, "u+r"), EntryKind.DIRECTORY: (0o500, "u+rx")}
"""Bits of a mode that an agent needs that isn't root."""
MOVE_AWAY = "move it away; the next extract tries again"
_INSTEAD = {
    EntryKind.DIRECTORY: "end the destination with / if a file shall go into it, or ",
    EntryKind.SYMLINK: "name the path that the link leads to as destination, or ",
}


def foreign_error(name: str, entry: Entry, found: PathStat) -> DestinationError:
    """Return the error for something foreign at the absolute path ``name`` of an entry."""
    instead = _INSTEAD.get(found.kind, "") if found.kind and not entry.path else ""
    other = " to another target" if found.kind is entry.kind else ""
    return DestinationError(
        f"{name} is {kind_name(found)}, which this Distribution didn't place, but {KIND_NAMES[entry.kind]}{other} must go there",
        remedy=instead + MOVE_AWAY,
    )


def contents_error(name: str, inside: str) -> DestinationError:
    """Return the error for a directory that can't give way to a file because of something in it."""
    return DestinationError(f"{name} is a directory with {inside} in it, but a file or link must go there", remedy=MOVE_AWAY)


def check_readable(name: str, entry: Entry) -> None:
    """Raise DestinationError for an entry that this account couldn't read back, or undo, once it has its mode."""
    needed, right = _READING.get(entry.kind, (0, ""))
    if needed & ~entry.mode and os.geteuid() != 0:
        raise DestinationError(
            f"{name} can't be read back by this account: its mode {entry.mode:04o} forbids that",
            remedy=f"let its owner read it (chmod {right} at the source), or run the agent as root",
        )


def check_protected(at: LocatedDestination, context: ExtractionContext, staging: str) -> None:
    """Raise DestinationError for a destination that reaches into the agent's working directory, or has the name of its staging."""
    if staging in at.base.split("/"):
        raise DestinationError(f"{at.top} leads through the name of a staging directory", remedy="choose another destination")
    paths = at.top, context.working_directory
    for top, working in (paths, context.filesystem.places(paths)):
        destination, ours = f"{top.rstrip('/')}/", f"{working}/"
        inside = ours.removeprefix(destination)
        if destination.startswith(ours) or (inside != ours and any(f"{e.path}/".startswith(inside) for e in at.destination.entries)):
            raise working_directory_error(at)


def working_directory_error(at: LocatedDestination) -> DestinationError:
    """Return the error for a destination that is, or leads into, the agent's working directory, by its path or by way of a mount."""
    return DestinationError(f"{at.top.rstrip('/')}/ reaches into the agent's working directory", remedy="choose another destination")
