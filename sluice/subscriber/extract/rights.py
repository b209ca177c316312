"""Whether this account may take a name away or exchange it, by one rule for swaps and removals, the kernel's. Nothing is changed here.

Rules: it must be able to write in the directory around the name, and in one with the sticky bit the name or that directory must be its own.
A directory that moves to staging, which is another parent, it must be able to write in too. Everything below is deleted there, and needs
the same rights as if it was taken away by itself. A directory of our own whose mode is in the way is opened for it; root may do it all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from sluice.errors import DestinationError
from sluice.model.manifest import EntryKind
from sluice.ports import PathStat, Root
from sluice.subscriber.extract.changes import worded
from sluice.subscriber.extract.locked import locked_paths
from sluice.subscriber.extract.plan import Plan, StagedRemoval, Swap
from sluice.subscriber.extract.refusals import MOVE_AWAY
from sluice.subscriber.held.paths import full, walk

OPENED = 0o300
"""Bits of a mode that an owner needs to change names in a directory, or to move it to another parent."""


def is_opened(found: PathStat) -> bool:
    """Whether it is a directory of our own that is opened for a change, because its mode forbids that."""
    return found.kind is EntryKind.DIRECTORY and found.is_ours and found.mode & OPENED != OPENED


def rights_refusals(plan: Plan) -> Iterator[DestinationError]:
    """Yield an error for each swap and removal that this account has no right to. Raises DestinationError if one can't be looked at."""
    holders: dict[tuple[str, str], PathStat | None] = {}
    moved: list[Swap | StagedRemoval] = [*plan.swaps, *plan.removals]
    for each in moved:
        root, path = each.area.root, each.path
        key = root.path, path.rpartition("/")[0]
        if key not in holders:
            holder = root.find(key[1])
            error = None if holder is None else unwritable(root, holder)
            holders[key] = None if error else holder
            if error is not None:
                yield error
        holder, found = holders[key], root.find(path)
        if holder is not None and found is not None and (error := _untakable(root, holder, found)):
            yield error


def unmovable(root: Root, holder: PathStat, found: PathStat) -> DestinationError | None:
    """Return the error if this account may not take a name out of the directory around it, or exchange it."""
    return unwritable(root, holder) or _kept(root, holder, found)


def _untakable(root: Root, holder: PathStat, found: PathStat) -> DestinationError | None:
    """Return the error for a name in a directory that may be written, or for the first below it that couldn't be deleted in staging."""
    error = _kept(root, holder, found)
    if error is not None or found.kind is not EntryKind.DIRECTORY:
        return error
    directories = {found.path: found}
    for each in walk(root, found.path):
        around = directories[each.path.rpartition("/")[0]]
        if error := unwritable(root, around) or _kept_by_sticky_bit(root, around, each):
            return error
        if each.kind is EntryKind.DIRECTORY:
            directories[each.path] = each
    return None


def _kept(root: Root, holder: PathStat, found: PathStat) -> DestinationError | None:
    error = _kept_by_sticky_bit(root, holder, found)
    return unwritable(root, found) if error is None and found.kind is EntryKind.DIRECTORY else error


def unwritable(root: Root, found: PathStat) -> DestinationError | None:
    """Return the error if this account can't change names in a directory, nor move it."""
    if root.is_writable(found.path) or is_opened(found) or any(locked_paths(root, [found.path], replaced=False)):
        return None  # a locked one is told as such
    return unwritable_error(full(root, found.path), found)


def unwritable_error(name: str, found: PathStat) -> DestinationError:
    """Return the error for a directory in which this account can't change names."""
    if _is_read_only(name):
        return DestinationError(
            f"{name}: Read-only file system",
            remedy="name a destination on a file system that isn't read-only; if it ought not to be, look into the kernel's log",
        )
    return DestinationError(
        f"{name.rstrip('/') or '/'} can't be written by this account: it is {worded(found)}",
        remedy="let the agent's account write there, run the agent as root, or choose another destination",
    )


def _is_read_only(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _kept_by_sticky_bit(root: Root, holder: PathStat, found: PathStat) -> DestinationError | None:
    if not holder.mode & stat.S_ISVTX or holder.is_mendable or found.is_mendable:
        return None
    return DestinationError(
        f"{full(root, found.path)} can't be taken away by this account: it is {worded(found)}, in a sticky directory of another account",
        remedy=f"{MOVE_AWAY}, or run the agent as root",
    )
