"""The change itself: staged files are swapped in step by step, and read back from disk (X2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sluice.errors import DestinationError, ExtractError, ReadBackError
from sluice.formats.manifest.document import read_back_digest
from sluice.model.manifest import Entry, EntryKind
from sluice.ports import Progress, Root
from sluice.subscriber.extract.destinations import LocatedDestination
from sluice.subscriber.extract.plan import MENDED, Plan, StagedRemoval
from sluice.subscriber.extract.rights import is_opened
from sluice.subscriber.extract.staging import FSYNC_EACH_BELOW
from sluice.subscriber.extract.steps import NEW, TRIED_AGAIN, RemoveStep, Step, SwapStep
from sluice.subscriber.held.paths import full, hash_file, walk
from sluice.subscriber.held.stat_cache import StatRecorder

READ_BACK_REMEDY = "look at the post actions, and for other programs that write there"
_T = TypeVar("_T")


def steps_of(plan: Plan) -> Sequence[Step]:
    """Return the plan's steps for the journal, once everything is staged. Raises DestinationError if something staged is gone."""
    removals = (
        RemoveStep(each.area.number, each.name, each.path, each.is_directory, each.found.mode, each.found.mtime_ns)
        for each in plan.removals
    )
    return [*_swap_steps(plan), *removals, *plan.metadata]


def _swap_steps(plan: Plan) -> Iterator[SwapStep]:
    for swap in plan.swaps:
        found = swap.area.staging.find(swap.name) if swap.area.staging else None
        if found is None:
            raise DestinationError(f"the file staged for {full(swap.area.root, swap.path)} is gone", remedy=TRIED_AGAIN)
        yield SwapStep(swap.area.number, swap.name, swap.path, found.inode, swap.kind_before)


def swap_in(plan: Plan, progress: Progress) -> None:
    """Carry out every step, in order, and make it durable. Raises LockedTargetError, DestinationError, NoSpaceError."""
    for step in plan.metadata:
        if step.is_directory and step.mode_before != NEW and step.mode_before & 0o300 != 0o300:
            # We place into it, or move it, and its own mode forbids that; if it stays, it gets its new one at the end.
            plan.areas[step.area].root.set_metadata(step.path, mode=step.mode_before | 0o700, mtime_ns=step.mtime_ns_before)
    for done, swap in enumerate(plan.swaps):
        staging = swap.area.opened
        staging.swap(swap.name, swap.area.root, swap.path, occupied=bool(swap.kind_before))
        replaced = staging.find(swap.name)
        if replaced is not None and replaced.kind is not EntryKind.FILE and replaced.kind != (swap.kind_before or EntryKind.FILE):
            raise DestinationError(
                f"{full(swap.area.root, swap.path)} became something else during the extraction",
                remedy=TRIED_AGAIN,
            )
        progress(done + 1, len(plan.swaps) + len(plan.removals))
    for done, removal in enumerate(plan.removals):
        _take_away(removal)
        progress(len(plan.swaps) + done + 1, len(plan.swaps) + len(plan.removals))
    gone = {(swap.area.number, swap.path) for swap in plan.swaps if swap.kind_before == EntryKind.DIRECTORY.value}
    for step in plan.metadata:
        if (step.area, step.path) in gone:  # opened, and in staging now
            continue
        root = plan.areas[step.area].root
        root.set_metadata(step.path, mode=step.mode, mtime_ns=step.mtime_ns, owner=step.owner, xattrs=step.xattrs)
    _make_durable(plan)


def _take_away(removal: StagedRemoval) -> None:
    """Move it into staging, and check there that it is as planned: nobody's data is removed silently."""
    root, staging = removal.area.root, removal.area.opened
    found = root.find(removal.path)
    if found is None:  # somebody else removed it meanwhile
        return
    if is_opened(found):
        root.set_metadata(removal.path, mode=found.mode | 0o700, mtime_ns=found.mtime_ns)
    root.swap(removal.path, staging, removal.name, occupied=False)
    moved = staging.find(removal.name)
    if moved is None or moved.kind is not removal.found.kind or (removal.is_directory and not _is_as_planned(removal, staging)):
        raise DestinationError(f"{full(root, removal.path)} became something else during the extraction", remedy=TRIED_AGAIN)


def _is_as_planned(removal: StagedRemoval, staging: Root) -> bool:
    """Whether nothing is below it that wasn't when it was planned, and no other file system."""
    if any(mount == removal.name or mount.startswith(f"{removal.name}/") for mount in staging.mounts()):
        return False
    expected = removal.expected_below
    if expected is None:
        return True
    top = full(removal.area.root, removal.path)
    moved = ((top + found.path.removeprefix(removal.name), found.kind) for found in walk(staging, removal.name))
    return all(path in expected and expected[path] is kind for path, kind in moved)


def _make_durable(plan: Plan) -> None:
    files = [step for step in plan.metadata if not step.is_directory]
    if files or len(plan.swaps) + len(plan.removals) + len(plan.metadata) >= FSYNC_EACH_BELOW:
        for area in plan.areas:
            (area.staging or area.root).sync_filesystem()
        return
    for area in plan.areas:
        changed = {swap.path.rpartition("/")[0] for swap in plan.swaps if swap.area is area}
        changed |= {removal.path.rpartition("/")[0] for removal in plan.removals if removal.area is area}
        changed |= {step.path for step in plan.metadata if step.area == area.number}
        area.root.sync_directories(sorted(changed), instead=area.staging)


def read_back(plan: Plan, recorder: StatRecorder, progress: Progress) -> str:
    """Hash every file of the manifest as it is on disk now; files that were hashed for the plan are only checked for change.

    Args:
        recorder: Records each file entry, in order.
    Returns:
        The receipt's ``read_back``.
    Raises:
        ReadBackError: Names the first path that isn't as signed.
    """
    located = list(plan.destinations)
    total = sum(len(at.destination.entries) for at in located)
    done = 0

    def digest_of(number: int, entry: Entry) -> str:
        nonlocal done
        done += 1
        progress(done, total)
        return _digest(plan, located[number], entry, recorder)

    for at in located:
        for entry in at.destination.entries:
            if entry.kind is not EntryKind.FILE:
                _check(at.root, at.path(entry), entry)
                done += 1
    return read_back_digest(plan.destinations.manifest, digest_of)


def _digest(plan: Plan, at: LocatedDestination, entry: Entry, recorder: StatRecorder) -> str:
    root, path = at.root, at.path(entry)
    known = plan.unchanged.get((at.number, entry.path))
    found = _or_read_back_error(lambda: root.find(path), root, path)
    is_same = found and known and (found.inode, found.size, found.mtime_ns) == (known.inode, known.size, known.mtime_ns)
    if found and known and is_same and known.ctime_ns in (found.ctime_ns, MENDED):
        recorder.record_unchanged(found, known)
        return entry.digest
    recorder.record_before_read(found)
    plan.read.add((at.number, entry.path))
    digest = _or_read_back_error(lambda: hash_file(root, path, entry.size), root, path)
    if digest != entry.digest:
        raise ReadBackError(f"{full(root, path)} doesn't read back as signed", remedy=READ_BACK_REMEDY)
    return digest


def _check(root: Root, path: str, entry: Entry) -> None:
    found = _or_read_back_error(lambda: root.find(path), root, path)
    if found is None or found.kind is not entry.kind or (entry.kind is EntryKind.SYMLINK and root.read_link(path) != entry.target):
        raise ReadBackError(f"{full(root, path)} isn't as signed", remedy=READ_BACK_REMEDY)


def _or_read_back_error(call: Callable[[], _T], root: Root, path: str) -> _T:
    try:
        return call()
    except ExtractError as error:
        raise ReadBackError(f"{full(root, path)} can't be read back: {error.message}", remedy=error.remedy) from error
