"""Staging: everything new is made, verified and durable on the destination's file system before anything there changes.

Contents come out of the ``.ted``; those it leaves out because the Subscriber has them come from the extracted tree or were lent, and are
hashed again. Memory is bounded by a few frames, of a delta by its largest group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sluice.errors import DestinationError
from sluice.formats.ted.file import Content
from sluice.ports import Progress
from sluice.rules.space import check_space
from sluice.subscriber.extract.locked import locked_error, locked_in
from sluice.subscriber.extract.plan import Place, Plan, Staged
from sluice.subscriber.held.local_contents import LocalContents
from sluice.subscriber.held.paths import is_private

FSYNC_EACH_BELOW = 64
"""Fewer files than this are made durable one by one, more at once with their file system (measured)."""
RESERVE = 1024 * 1024
"""Bytes beside the contents for names and directories on a destination's file system, which may be small."""
BLOCK = 4096
"""Bytes that file systems give out at once: a small file takes that much."""
_SMALL = 4 * 1024 * 1024
"""Bytes of a content that is kept in memory to be written several times."""


def make_staging(plan: Plan, what: str, *, min_free: int = 0) -> None:
    """The staging directories, empty and ours, where something will be staged.

    Args:
        what: Is staged where: for a refusal.
        min_free: Bytes that stay free on every file system.
    Raises:
        NoSpaceError: With the figures.
        LockedTargetError: A directory that staging must stand in can't be changed; attributes don't go away by waiting.
        DestinationError.
    """
    used = [place for place in plan.places if place.is_used]
    for place in used:
        if found := list(locked_in(place.root, [place.staging_path.rpartition("/")[0]], replaced=False)):
            raise locked_error(found)
        place.root.remove(place.staging_path)  # of an extraction whose journal is gone; it takes space as well
    _check_space(plan, used, what, min_free)
    for place in used:
        place.root.make_directory(place.staging_path)
        place.staging = place.root.open_below(place.staging_path)
        if not is_private(place.staging) or place.staging.list(""):
            raise DestinationError(f"{place.staging.path} was taken by somebody else while it was made", remedy="find out who writes there")


def _check_space(plan: Plan, used: Sequence[Place], what: str, min_free: int) -> None:
    """Every file system has room for all that is staged on it, also where several places are on one."""
    needed = dict.fromkeys((place.number for place in used), 0)
    for items in plan.files.values():
        for item in items:
            needed[item.place.number] += -(-item.entry.size // BLOCK) * BLOCK
    for item in plan.directories:
        needed[item.place.number] += BLOCK
    together: dict[int, list[Place]] = {}
    for place in used:
        together.setdefault(place.device(), []).append(place)
    for places in together.values():
        check_space(
            what,
            needed=sum(needed[place.number] for place in places) + RESERVE,
            free=places[0].free(),
            kept=min_free,
            where=places[0].holder_name,
            remedy="free space there; the next extract tries again",
        )


def stage(plan: Plan, contents: Iterable[Content], local: LocalContents, progress: Progress) -> int:
    """Make all that is new in staging, verified and durable.

    Args:
        contents: Of the ``.ted``, in its order.
        local: Where the others are.
        progress: Told (bytes staged, bytes in all).
    Returns:
        Bytes written.
    Raises:
        StoreCorruptError: The ``.ted`` is damaged.
        BaseDiffersError: A content that the ``.ted`` leaves out isn't at hand any more; the paths are named.
        NoSpaceError, DestinationError.
    """
    durable = plan.file_count < FSYNC_EACH_BELOW
    for item in plan.directories:
        item.staging.make_directory(item.name)
    total, done = sum(place.needed for place in plan.places), 0
    left = dict(plan.files)
    for digest, size, pieces in contents:
        items = left.pop(digest, None)
        if items:
            _write(items, pieces, size, durable)
            done += size * len(items)
            progress(done, total)
    if left:
        for digest, size, pieces in local.contents(left):
            _write(left[digest], pieces, size, durable)
            done += size * len(left[digest])
            progress(done, total)
    for item in plan.links:
        item.staging.make_symlink(item.name, item.entry.target, owner=item.owner)
    for item in reversed(plan.directories):
        # A directory that will be moved keeps our own rights until then.
        mode = item.entry.mode if "/" in item.name else item.entry.mode | 0o700
        item.staging.set_metadata(item.name, mode=mode, mtime_ns=item.entry.mtime_ns, owner=item.owner, xattrs=item.xattrs)
    _make_durable(plan, durable)
    return total


def _make_durable(plan: Plan, one_by_one: bool) -> None:
    for place in plan.places:
        if place.staging is None:
            continue
        if one_by_one:
            place.staging.sync_directories(["", *(item.name for item in plan.directories if item.place is place)])
            place.root.sync_directories([place.staging_path.rpartition("/")[0]])
        else:
            place.staging.sync_filesystem()


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
