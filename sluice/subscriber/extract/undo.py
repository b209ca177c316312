"""Undoing an extraction, and removing its staging: from the journal and the disk alone, so that it works after any kill (F9).

Every step looks at the disk and may be repeated: a swap was made if the staged file isn't in staging any more. Nothing else here tells
how far the extraction came.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sluice.errors import DestinationError, ExtractError, SluiceError, UndoFailedError
from sluice.model.manifest import EntryKind
from sluice.ports import Filesystem, Root
from sluice.subscriber.extract.journal import AreaRecord
from sluice.subscriber.extract.rights import is_opened
from sluice.subscriber.extract.steps import NEW, MetadataStep, RemoveStep, Step, SwapStep
from sluice.subscriber.held.paths import below, full, is_private

NAMED_MAX = 20
"""Most paths that an error names."""
_CREATED_LATER = ".new"
"""Suffix of the name in staging of something that was created at a removed path."""


class ReopenedAreas:
    """The roots and staging directories of a journal's areas, opened anew. Close it."""

    def __init__(self, filesystem: Filesystem, areas: Sequence[AreaRecord]) -> None:
        self.areas = areas
        self.roots: list[Root | None] = []
        self.staging: list[Root | None] = []
        for area in areas:
            root = staging = None
            with suppress(DestinationError):
                root = filesystem.open_root(area.directory)
            if root is not None:
                with suppress(DestinationError):
                    staging = root.open_below(area.staging)
            if staging is not None and not is_private(staging):  # its files could come to where only we may write
                staging.close()
                staging = None
            self.roots.append(root)
            self.staging.append(staging)

    def close(self) -> None:
        """Release everything."""
        for root in [*self.staging, *self.roots]:
            if root is not None:
                root.close()


def undo(areas: ReopenedAreas, steps: Sequence[Step]) -> int:
    """Restore content, mode and time of everything the steps changed, and make that durable.

    Returns:
        The number of steps that were taken back now.
    Raises:
        UndoFailedError: Names the paths that couldn't be restored; all others were. May be called again.
    """
    failed: list[str] = []
    moved = [step for step in reversed(steps) if not isinstance(step, MetadataStep)]
    # Without the staging directory, as if a mount is in its place, nothing there is known to be what was changed.
    lost = {step.area for step in moved if areas.staging[step.area] is None}
    changed = [step for step in steps if isinstance(step, MetadataStep) and step.mode_before != NEW and step.area not in lost]
    taken_back = sum(1 for step in (*moved, *changed) if _attempt(areas, step, failed))
    for root, staging in zip(areas.roots, areas.staging, strict=True) if steps else ():
        if root is not None:
            (staging or root).sync_filesystem()  # a destination may be closed to this account for reading
    if failed:
        more = f" and {len(failed) - NAMED_MAX} more" if len(failed) > NAMED_MAX else ""
        raise UndoFailedError(
            f"not restored: {'; '.join(failed[:NAMED_MAX])}{more}",
            remedy="remove the obstacle, then run on that host: sluice-agent run",
        )
    return taken_back


def unswapped(areas: ReopenedAreas, steps: Sequence[Step]) -> set[str]:
    """Return the real paths at which nothing was swapped in, as far as can be told: what was staged for them isn't gone from staging."""
    found = set()
    for step in steps:
        if isinstance(step, SwapStep):
            staging = areas.staging[step.area]
            staged = None if staging is None else staging.find(step.staged)
            if staging is None or (staged is not None and staged.inode == step.inode):
                found.add(_real(areas, step))
    return found


def _real(areas: ReopenedAreas, step: Step) -> str:
    return below(areas.areas[step.area].directory, step.path)


def _attempt(areas: ReopenedAreas, step: Step, failed: list[str]) -> bool:
    """Take one step back; return whether there was something to do, and append to ``failed`` if that can't be done."""
    root = areas.roots[step.area]
    name = _real(areas, step)
    if root is None:
        failed.append(f"{name} (its directory is gone)")
        return False
    try:
        if isinstance(step, MetadataStep):
            return _restore_metadata(root, step)
        staging = areas.staging[step.area]
        if staging is not None:
            return _put_back(root, staging, step) if isinstance(step, RemoveStep) else _swap_back(root, staging, step)
        failed.append(f"{name} (its staging directory is gone, or somebody else's)")
    except SluiceError as error:
        failed.append(f"{name} ({error.message})")
    return False


def _swap_back(root: Root, staging: Root, step: SwapStep) -> bool:
    _make_writable(root, step.path.rpartition("/")[0])
    staging.settle(step.staged, root, step.path)
    staged = staging.find(step.staged)
    if staged is not None and staged.inode == step.inode:
        return False  # not made, or undone before
    found = root.find(step.path)
    if found is not None and found.kind is EntryKind.DIRECTORY:
        _make_writable(root, step.path)
    if staged is not None:
        staging.swap(step.staged, root, step.path, occupied=found is not None)
    elif found is not None:
        root.swap(step.path, staging, step.staged, occupied=False)
    return staged is not None or found is not None


def _put_back(root: Root, staging: Root, step: RemoveStep) -> bool:
    is_away = staging.find(step.staged) is not None
    if is_away:  # else it was never moved, or is back
        _make_writable(root, step.path.rpartition("/")[0])
        if root.find(step.path) is not None:  # created by a post action, or somebody else: the name belongs to the removed file
            root.swap(step.path, staging, step.staged + _CREATED_LATER, occupied=False)
        staging.swap(step.staged, root, step.path, occupied=False)
    found = root.find(step.path)
    if step.is_directory and found is not None and (found.mode, found.mtime_ns) != (step.mode, step.mtime_ns):
        root.set_metadata(step.path, mode=step.mode, mtime_ns=step.mtime_ns)
    return is_away


def _make_writable(root: Root, path: str) -> None:
    """Let us change a directory whose mode forbids that to its owner: the extraction may have set that mode."""
    found = root.find(path)
    if found is not None and is_opened(found):
        with suppress(SluiceError):  # an immutable one: a step that needs it open says so itself
            root.set_metadata(path, mode=found.mode | 0o700, mtime_ns=found.mtime_ns)


def _restore_metadata(root: Root, step: MetadataStep) -> bool:
    found = root.find(step.path)
    kind = EntryKind.DIRECTORY if step.is_directory else EntryKind.FILE
    if found is None or found.kind is not kind:
        raise ExtractError(f"{full(root, step.path)} is gone")
    differs = (found.mode, found.mtime_ns) != (step.mode_before, step.mtime_ns_before)
    differs = differs or (step.owner_before is not None and found.owner != step.owner_before)
    differs = differs or (step.xattrs_before is not None and root.xattrs(step.path) != step.xattrs_before)
    if differs:
        root.set_metadata(
            step.path, mode=step.mode_before, mtime_ns=step.mtime_ns_before, owner=step.owner_before, xattrs=step.xattrs_before
        )
    return differs


def remove_staging(areas: ReopenedAreas, steps: Sequence[Step], *, undone: bool) -> None:
    """Remove staging with everything in it, durably; the directories around it get their time back. May be repeated."""
    for number, area in enumerate(areas.areas):
        root = areas.roots[number]
        if root is None or areas.staging[number] is None:
            continue
        holder = area.staging.rpartition("/")[0]
        root.remove(area.staging)
        if undone and area.mode != NEW:
            root.set_metadata(holder, mode=area.mode, mtime_ns=area.mtime_ns)
        for step in () if undone else steps:
            if isinstance(step, MetadataStep) and step.area == number and step.path == holder and step.is_directory:
                root.set_metadata(holder, mode=step.mode, mtime_ns=step.mtime_ns)
        root.sync_directories([holder], instead=areas.staging[number])
