"""Staging: everything new is made, verified and durable on the destination's file system before anything there changes.

Contents come out of the ``.ted``; those it leaves out because the Subscriber has them come from the extracted tree or from supplements, and
are hashed again. Memory is bounded by a few frames, of a delta by its largest group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from sluice.errors import DestinationError, LockedTargetError
from sluice.formats.ted.file import Content
from sluice.model.manifest import EntryKind
from sluice.ports import Progress
from sluice.rules.space import check_files, check_space
from sluice.subscriber.extract.areas import StagingArea
from sluice.subscriber.extract.locked import locked_error, locked_paths
from sluice.subscriber.extract.plan import Plan, Staged
from sluice.subscriber.extract.refusals import MOVE_AWAY
from sluice.subscriber.extract.rights import unwritable_error
from sluice.subscriber.held.local_contents import LocalContents
from sluice.subscriber.held.paths import full, is_private, is_private_stat

FSYNC_EACH_BELOW = 64
"""Fewer files than this are made durable one by one, more at once with their file system (measured)."""
RESERVE = 1024 * 1024
"""Bytes beside the contents for names and directories on a destination's file system, which may be small."""
BLOCK = 4096
"""Bytes that file systems give out at once: a small file takes that much."""
_SMALL = 4 * 1024 * 1024
"""Bytes of a content that is kept in memory to be written several times."""


def make_staging(plan: Plan, name: str, *, min_free: int = 0) -> None:
    """Make the staging directories of all areas that are used, empty and ours.

    Args:
        name: Of the revision and Subscriber: for a refusal.
        min_free: Bytes that stay free on every file system.
    Raises:
        NoSpaceError: With the figures.
        LockedTargetError: A directory that must hold a staging directory can't be changed; attributes don't go away by waiting.
        DestinationError.
    """
    used = [area for area in plan.areas if area.is_used]
    check_apart(used)
    for area in used:
        check_holder(area)
        area.root.remove(area.staging_path)  # of an extraction whose journal is gone; it takes space as well
    check_room(plan, name, min_free)
    for area in used:
        area.root.make_directory(area.staging_path)
        area.staging = area.root.open_below(area.staging_path)
        if not is_private(area.staging) or area.staging.list(""):
            raise DestinationError(
                f"{area.staging.path} was taken by somebody else while it was made", remedy="find the program that writes there, and end it"
            )


def check_apart(used: Sequence[StagingArea]) -> None:
    """Raise DestinationError if two areas are one directory, which mounts give two paths: names can't be moved from one to the other."""
    holders: dict[tuple[int, int], str] = {}
    for area in used:
        found = area.root.find(area.holder_path)
        other = found and holders.setdefault((found.device, found.inode), area.holder_name)
        if other and other != area.holder_name:
            raise DestinationError(
                f"{other} and {area.holder_name} are one directory by way of a mount, and destinations use both paths",
                remedy="name it in the blueprint by one path in all destinations",
            )


def check_holder(area: StagingArea) -> None:
    """Raise LockedTargetError or DestinationError if no staging directory can be made, also if its name is taken by something foreign."""
    if locked := list(locked_paths(area.root, [area.holder_path], replaced=False)):
        raise locked_error(locked)
    found = area.root.find(area.holder_path)
    if found is not None and not area.root.is_writable(area.holder_path):
        raise unwritable_error(area.holder_name, found)
    taken = area.root.find(area.staging_path)
    if taken is not None and not (taken.kind is EntryKind.DIRECTORY and is_private_stat(taken)):
        name = full(area.root, area.staging_path)
        raise DestinationError(f"{name} has the name of this extraction's staging directory, and isn't one", remedy=MOVE_AWAY)


def check_room(plan: Plan, name: str, min_free: int) -> None:
    """Check that every file system has room for all that is staged on it, also if several areas are on one. Raises NoSpaceError."""
    used = [area for area in plan.areas if area.is_used]
    needed = dict.fromkeys((area.number for area in used), 0)
    made = Counter([item.area.number for items in plan.files.values() for item in items])
    made.update(item.area.number for item in (*plan.directories, *plan.links))
    for items in plan.files.values():
        for item in items:
            needed[item.area.number] += -(-item.entry.size // BLOCK) * BLOCK
    for item in plan.directories:
        needed[item.area.number] += BLOCK
    by_device: dict[int, list[StagingArea]] = {}
    for area in used:
        by_device.setdefault(area.device(), []).append(area)
    for areas in by_device.values():
        free, free_files = areas[0].room()
        check_space(
            name,
            needed=sum(needed[area.number] for area in areas) + RESERVE,
            free=free,
            kept=min_free,
            where=areas[0].holder_name,
            remedy="free space there; the next extract tries again",
        )
        staged = sum(made[area.number] + 1 for area in areas)  # and the staging directory itself
        check_files(name, needed=staged, free=free_files, where=areas[0].holder_name)


def stage(plan: Plan, contents: Iterable[Content], local: LocalContents, progress: Progress) -> int:
    """Make everything new in staging, verified and durable.

    Args:
        contents: Of the ``.ted``, in its order.
        local: Has the others.
        progress: Called with (bytes staged, bytes in all).
    Returns:
        Bytes written.
    Raises:
        StoreCorruptError: The ``.ted`` is damaged.
        BaseDiffersError: A content that the ``.ted`` leaves out is missing by now; the paths are named.
        NoSpaceError, DestinationError.
    """
    durable = plan.file_count < FSYNC_EACH_BELOW
    for item in plan.directories:
        item.staging.make_directory(item.name)
    total, done = sum(area.needed for area in plan.areas), 0
    remaining = dict(plan.files)
    for digest, size, pieces in contents:
        items = remaining.pop(digest, None)
        if items:
            _write(items, pieces, size, durable)
            done += size * len(items)
            progress(done, total)
    if remaining:
        for digest, size, pieces in local.contents(remaining):
            _write(remaining[digest], pieces, size, durable)
            done += size * len(remaining[digest])
            progress(done, total)
    for item, first in plan.hard_links:
        try:
            item.staging.make_hard_link(item.name, first.name)
        except (
            DestinationError,
            LockedTargetError,
        ):
            # A file system without them (FAT says EPERM), or one that has as many as it can: what else is wrong, a copy meets too.
            _write_one(item, first.staging.read(first.name), durable)
    for item in plan.links:
        item.staging.make_symlink(item.name, item.entry.target, owner=item.owner)
    for item in reversed(plan.directories):
        # A directory that will be moved keeps our own rights until then.
        mode = item.entry.mode if "/" in item.name else item.entry.mode | 0o700
        item.staging.set_metadata(item.name, mode=mode, mtime_ns=item.entry.mtime_ns, owner=item.owner, xattrs=item.xattrs)
    _make_durable(plan, durable)
    return total


def _make_durable(plan: Plan, one_by_one: bool) -> None:
    for area in plan.areas:
        if area.staging is None:
            continue
        if one_by_one:
            area.staging.sync_directories(["", *(item.name for item in plan.directories if item.area is area)])
            area.root.sync_directories([area.holder_path], instead=area.staging)
        else:
            area.staging.sync_filesystem()


def _write(items: Sequence[Staged], pieces: Iterator[bytes], size: int, durable: bool) -> None:
    first, *others = items
    small = [b"".join(pieces)] if others and size <= _SMALL else None
    _write_one(first, small or pieces, durable)
    for item in others:
        _write_one(item, small or first.staging.read(first.name), durable)


def _write_one(item: Staged, pieces: Iterable[bytes], durable: bool) -> None:
    entry = item.entry
    item.staging.write_file(
        item.name, pieces, mode=entry.mode, mtime_ns=entry.mtime_ns, durable=durable, owner=item.owner, xattrs=item.xattrs
    )
