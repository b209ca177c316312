"""The change itself: what was staged takes its place, step by step, and is read back from disk (X2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sluice.errors import DestinationError, ExtractError, ReadBackError
from sluice.formats.manifest.document import read_back_digest
from sluice.model.manifest import Entry, EntryKind, Manifest
from sluice.ports import Progress, Root
from sluice.subscriber.extract.journal import RemoveStep, Step, SwapStep
from sluice.subscriber.extract.plan import MENDED, NEW, Plan, StagedRemoval
from sluice.subscriber.extract.staging import FSYNC_EACH_BELOW
from sluice.subscriber.held.paths import below, full, hash_file
from sluice.subscriber.held.stat_cache import StatRecorder

_T = TypeVar("_T")


def steps_of(plan: Plan) -> Sequence[Step]:
    """The plan as the journal keeps it, once everything is staged. Raises DestinationError where something staged is gone."""
    removals = (
        RemoveStep(each.place.number, each.name, each.path, each.kind is EntryKind.DIRECTORY, each.mode, each.mtime_ns)
        for each in plan.removals
    )
    return [*_swap_steps(plan), *removals, *plan.metadata]


def _swap_steps(plan: Plan) -> Iterator[SwapStep]:
    for swap in plan.swaps:
        found = swap.place.staging.find(swap.name) if swap.place.staging else None
        if found is None:
            raise DestinationError(f"what was staged for {full(swap.place.root, swap.path)} is gone")
        yield SwapStep(swap.place.number, swap.name, swap.path, found.inode, swap.before)


def swap_in(plan: Plan, progress: Progress) -> None:
    """Carry out every step, in order, and make it durable. Raises LockedTargetError, DestinationError, NoSpaceError."""
    for step in plan.metadata:
        if step.is_directory and step.mode_before != NEW and step.mode_before & 0o300 != 0o300:
            # We place into it, and its own mode forbids that; it gets its new one at the end.
            plan.places[step.place].root.set_metadata(step.path, mode=step.mode_before | 0o700, mtime_ns=step.mtime_ns_before)
    for done, swap in enumerate(plan.swaps):
        staging = swap.place.staging
        if staging is None:
            raise DestinationError(f"{swap.place.root.path} has no staging directory")
        staging.swap(swap.name, swap.place.root, swap.path, occupied=bool(swap.before))
        replaced = staging.find(swap.name)
        if replaced is not None and replaced.kind is not EntryKind.FILE and replaced.kind != (swap.before or EntryKind.FILE):
            raise DestinationError(f"{full(swap.place.root, swap.path)} became something else during the extraction", remedy="repeat")
        progress(done + 1, len(plan.swaps) + len(plan.removals))
    for done, removal in enumerate(plan.removals):
        _take_away(removal)
        progress(len(plan.swaps) + done + 1, len(plan.swaps) + len(plan.removals))
    for step in plan.metadata:
        root = plan.places[step.place].root
        root.set_metadata(step.path, mode=step.mode, mtime_ns=step.mtime_ns, owner=step.owner, xattrs=step.xattrs)
    _make_durable(plan)


def _take_away(removal: StagedRemoval) -> None:
    """Move it into staging, and look there whether it is what was to go: nobody's data is removed silently."""
    root, staging = removal.place.root, removal.place.staging
    if staging is None:
        raise DestinationError(f"{root.path} has no staging directory")
    standing = root.find(removal.path)
    if standing is None:  # somebody else removed it meanwhile
        return
    if standing.kind is EntryKind.DIRECTORY and standing.is_ours and standing.mode & 0o300 != 0o300:
        root.set_metadata(removal.path, mode=standing.mode | 0o700, mtime_ns=standing.mtime_ns)
    root.swap(removal.path, staging, removal.name, occupied=False)
    moved = staging.find(removal.name)
    is_as_planned = moved is not None and moved.kind is removal.kind
    if moved is None or not is_as_planned or (removal.kind is EntryKind.DIRECTORY and not _may_go(removal, staging)):
        raise DestinationError(f"{full(root, removal.path)} became something else during the extraction", remedy="repeat")


def _may_go(removal: StagedRemoval, staging: Root) -> bool:
    """Whether only what was found when it was planned is below it, and no other file system."""
    if any(mount == removal.name or mount.startswith(f"{removal.name}/") for mount in staging.mounts()):
        return False
    if removal.below is None:
        return True
    before, directories = full(removal.place.root, removal.path), [removal.name]
    for directory in directories:  # grows while it is walked
        for found in staging.list(directory):
            path = before + found.path.removeprefix(removal.name)
            if path not in removal.below or removal.below[path] is not found.kind:
                return False
            if found.kind is EntryKind.DIRECTORY:
                directories.append(found.path)
    return True


def _make_durable(plan: Plan) -> None:
    files = [step for step in plan.metadata if not step.is_directory]
    if files or len(plan.swaps) + len(plan.removals) + len(plan.metadata) >= FSYNC_EACH_BELOW:
        for place in plan.places:
            (place.staging or place.root).sync_filesystem()
        return
    for place in plan.places:
        changed = {swap.path.rpartition("/")[0] for swap in plan.swaps if swap.place is place}
        changed |= {removal.path.rpartition("/")[0] for removal in plan.removals if removal.place is place}
        changed |= {step.path for step in plan.metadata if step.place == place.number}
        place.root.sync_directories(sorted(changed))


def read_back(plan: Plan, manifest: Manifest, noted: StatRecorder, progress: Progress) -> str:
    """Hash every file of the manifest as it stands on disk now; files that were hashed for the plan are only looked at for change.

    Args:
        noted: Is told of each file entry, in order.
    Returns:
        The receipt's ``read_back``.
    Raises:
        ReadBackError: Names what isn't as signed.
    """
    total = sum(len(destination.entries) for destination in manifest.destinations)
    done = 0

    def digest_of(number: int, entry: Entry) -> str:
        nonlocal done
        done += 1
        progress(done, total)
        root, top = plan.located[number]
        return _digest(plan, number, root, below(top, entry.path), entry, noted)

    for number, destination in enumerate(manifest.destinations):
        root, top = plan.located[number]
        for entry in destination.entries:
            if entry.kind is not EntryKind.FILE:
                _check(root, below(top, entry.path), entry)
                done += 1
    return read_back_digest(manifest, digest_of)


def _digest(plan: Plan, number: int, root: Root, path: str, entry: Entry, noted: StatRecorder) -> str:
    known = plan.unchanged.get((number, entry.path))
    found = _or_read_back_error(lambda: root.find(path), root, path)
    is_same = found and known and (found.inode, found.size, found.mtime_ns) == (known.inode, known.size, known.mtime_ns)
    if found and known and is_same and known.ctime_ns in (found.ctime_ns, MENDED):
        noted.stayed(found, known)
        return entry.digest
    noted.look(found)
    digest = _or_read_back_error(lambda: hash_file(root, path, entry.size), root, path)
    if digest != entry.digest:
        raise ReadBackError(
            f"{full(root, path)} doesn't read back as signed", remedy="look at the post actions and at what else writes there"
        )
    return digest


def _check(root: Root, path: str, entry: Entry) -> None:
    found = _or_read_back_error(lambda: root.find(path), root, path)
    if found is None or found.kind is not entry.kind or (entry.kind is EntryKind.SYMLINK and root.read_link(path) != entry.target):
        raise ReadBackError(f"{full(root, path)} isn't there as signed", remedy="look at the post actions and at what else writes there")


def _or_read_back_error(call: Callable[[], _T], root: Root, path: str) -> _T:
    try:
        return call()
    except ExtractError as error:
        raise ReadBackError(f"{full(root, path)} can't be read back: {error.message}", remedy=error.remedy) from error
