"""Taking an extraction back, and clearing up after one: from the journal and the disk alone, so that it works after any kill (F9).

Every step looks at the disk and may be repeated: a swap was made if what was staged isn't in staging any more. Nothing here knows how far
the extraction came but by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sluice.errors import DestinationError, ExtractError, SluiceError, UndoFailedError
from sluice.model.manifest import EntryKind
from sluice.ports import Filesystem, Root
from sluice.subscriber.extract.journal import MetadataStep, RemoveStep, StagingPlace, Step, SwapStep
from sluice.subscriber.extract.plan import NEW
from sluice.subscriber.held.paths import full, is_private

NAMED_MAX = 20
"""Most paths that an error names."""
_CAME_LATER = ".new"
"""Ending of the name in staging of what took the place of something removed."""


class Opened:
    """The roots and staging directories of a journal, opened anew."""

    def __init__(self, filesystem: Filesystem, places: Sequence[StagingPlace]) -> None:
        self.places = places
        self.roots: list[Root | None] = []
        self.staging: list[Root | None] = []
        for place in places:
            root = staging = None
            with suppress(DestinationError):
                root = filesystem.open_root(place.directory)
            if root is not None:
                with suppress(DestinationError):
                    staging = root.open_below(place.staging)
            if staging is not None and not is_private(staging):  # what lies in it could go where only we may write
                staging.close()
                staging = None
            self.roots.append(root)
            self.staging.append(staging)

    def close(self) -> None:
        """Release everything."""
        for root in [*self.staging, *self.roots]:
            if root is not None:
                root.close()


def undo(opened: Opened, steps: Sequence[Step]) -> None:
    """Restore content, mode and time of everything the steps changed, and make that durable.

    Raises:
        UndoFailedError: Names what couldn't be restored; everything else was. May be called again.
    """
    failed: list[str] = []
    for step in reversed(steps):
        if not isinstance(step, MetadataStep):
            _attempt(opened, step, failed)
    for step in steps:
        if isinstance(step, MetadataStep) and step.mode_before != NEW:
            _attempt(opened, step, failed)
    for root in opened.roots:
        if root is not None:
            root.sync_filesystem()
    if failed:
        more = f" and {len(failed) - NAMED_MAX} more" if len(failed) > NAMED_MAX else ""
        raise UndoFailedError(
            f"not restored: {'; '.join(failed[:NAMED_MAX])}{more}",
            remedy="remove what hinders it, then run `sluice-agent run`: it tries again",
        )


def _attempt(opened: Opened, step: Step, failed: list[str]) -> None:
    root = opened.roots[step.place]
    where = f"{opened.places[step.place].directory.rstrip('/')}/{step.path}"
    if root is None:
        failed.append(f"{where} (its directory is gone)")
        return
    try:
        if isinstance(step, MetadataStep):
            _restore_metadata(root, step)
        else:
            staging = opened.staging[step.place]
            if staging is None:
                failed.append(f"{where} (its staging directory is gone, or another's)")
            elif isinstance(step, RemoveStep):
                _put_back(root, staging, step)
            else:
                _swap_back(root, staging, step)
    except SluiceError as error:
        failed.append(f"{where} ({error.message})")


def _swap_back(root: Root, staging: Root, step: SwapStep) -> None:
    _open_up(root, step.path.rpartition("/")[0])
    staging.settle(step.staged, root, step.path)
    staged = staging.find(step.staged)
    if staged is not None and staged.inode == step.inode:
        return  # not made, or taken back before
    standing = root.find(step.path)
    if standing is not None and standing.kind is EntryKind.DIRECTORY:
        _open_up(root, step.path)
    if staged is not None:
        staging.swap(step.staged, root, step.path, occupied=standing is not None)
    elif standing is not None:
        root.swap(step.path, staging, step.staged, occupied=False)


def _put_back(root: Root, staging: Root, step: RemoveStep) -> None:
    if staging.find(step.staged) is not None:  # else it was never taken, or is back
        _open_up(root, step.path.rpartition("/")[0])
        if root.find(step.path) is not None:  # by a post action, or somebody else: what stood there before has the name
            root.swap(step.path, staging, step.staged + _CAME_LATER, occupied=False)
        staging.swap(step.staged, root, step.path, occupied=False)
    found = root.find(step.path)
    if step.is_directory and found is not None and (found.mode, found.mtime_ns) != (step.mode, step.mtime_ns):
        root.set_metadata(step.path, mode=step.mode, mtime_ns=step.mtime_ns)


def _open_up(root: Root, path: str) -> None:
    """A directory whose mode forbids its owner to change it may be one that the extraction closed."""
    found = root.find(path)
    if found is not None and found.kind is EntryKind.DIRECTORY and found.is_ours and found.mode & 0o300 != 0o300:
        root.set_metadata(path, mode=found.mode | 0o700, mtime_ns=found.mtime_ns)


def _restore_metadata(root: Root, step: MetadataStep) -> None:
    found = root.find(step.path)
    kind = EntryKind.DIRECTORY if step.is_directory else EntryKind.FILE
    if found is None or found.kind is not kind:
        raise ExtractError(f"{full(root, step.path)} is gone")
    differs = (found.mode, found.mtime_ns) != (step.mode_before, step.mtime_ns_before)
    differs = differs or (step.owner_before is not None and found.owner != step.owner_before)
    if differs or (step.xattrs_before is not None and root.xattrs(step.path) != step.xattrs_before):
        root.set_metadata(
            step.path, mode=step.mode_before, mtime_ns=step.mtime_ns_before, owner=step.owner_before, xattrs=step.xattrs_before
        )


def clear(opened: Opened, steps: Sequence[Step], *, undone: bool) -> None:
    """Remove staging with all in it, durably; directories that it stood in get their time back. May be repeated."""
    for number, place in enumerate(opened.places):
        root = opened.roots[number]
        if root is None or opened.staging[number] is None:
            continue
        holder = place.staging.rpartition("/")[0]
        root.remove(place.staging)
        if undone and place.mode != NEW:
            root.set_metadata(holder, mode=place.mode, mtime_ns=place.mtime_ns)
        for step in () if undone else steps:
            if isinstance(step, MetadataStep) and step.place == number and step.path == holder and step.is_directory:
                root.set_metadata(holder, mode=step.mode, mtime_ns=step.mtime_ns)
        root.sync_directories([holder])
