"""Comparing a manifest with its destinations on disk. Nothing is changed here.

Rules: a file is left alone if its content is the manifest's, however it got there; only its mode and time are mended, or the file is
replaced if it belongs to somebody else. A directory that stood before keeps its mode, owner and attributes. New files are staged as whole
trees, so that a first install is one rename. Foreign files stay, unless a directory is mirrored; ``removals.py`` says which paths a
revision takes away. Something foreign in the place of a directory, or a directory with foreign files in the place of a file, is refused:
nobody's data is removed silently.
"""

from __future__ import annotations

from sluice.errors import DestinationError, LockedTargetError
from sluice.model.manifest import Entry, EntryKind, Manifest
from sluice.model.order import Order
from sluice.model.site import Copy, DirectoryMode, Synchronize
from sluice.ports import Owner, PathStat, Root, Xattrs
from sluice.subscriber.extract.areas import StagingArea, StagingAreas
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.destinations import LocatedDestination, LocatedDestinations
from sluice.subscriber.extract.metadata import Metadata
from sluice.subscriber.extract.plan import MENDED, Plan, Staged, StagedRemoval, Swap
from sluice.subscriber.extract.previous import PreviousState
from sluice.subscriber.extract.removals import Remover
from sluice.subscriber.extract.steps import NEW, MetadataStep
from sluice.subscriber.held.paths import full, hash_file, walk
from sluice.subscriber.held.stat_cache import StatCache

MISSING_PARENT_MODE = 0o755
"""Mode of new directories above a destination, which no manifest names."""


def plan_extraction(
    context: ExtractionContext, order: Order, manifest: Manifest, previous: PreviousState, cache: StatCache, *, now_ns: int
) -> Plan:
    """Compare the manifest of an order's revision with its destinations.

    Args:
        previous: Everything that was placed before.
        cache: Of extracted files that needn't be read again.
        now_ns: Time of new directories that no manifest names.
    Returns:
        The whole plan; its roots are open.
    Raises:
        DestinationError, LockedTargetError: Nothing stays open then.
    """
    located = LocatedDestinations(context.filesystem, manifest, order.destinations)
    try:
        areas = StagingAreas(f".sluice-{order.subscriber}.{order.distributor}.{order.distribution}")
        is_check = (
            order.verify and previous.revision == manifest.revision
        )  # nothing is written that is as it should be, whatever `copy` says
        copy_all = order.force or (manifest.copy == Copy.ALL and not is_check)
        planner = _Planner(context, located, areas, previous, cache, now_ns, copy_all=copy_all)
        planner.compare_all()
        return planner.plan
    except BaseException:
        located.close()
        raise


class _Planner:
    def __init__(
        self,
        context: ExtractionContext,
        located: LocatedDestinations,
        areas: StagingAreas,
        previous: PreviousState,
        cache: StatCache,
        now_ns: int,
        *,
        copy_all: bool,
    ) -> None:
        self._context = context
        self._located = located
        self._areas = areas
        self._cache = cache
        self._now_ns = now_ns
        self._previous = previous
        previous_destinations = [destination for _, destination in self._previous.tops]
        self._metadata = Metadata(context.filesystem, located.manifest, previous_destinations, areas)
        self._copy_all = copy_all
        self._new: dict[tuple[str, str], tuple[StagingArea, str]] = {}
        """Area and name in it of each new directory, by its root and path."""
        self._kept_directories: dict[tuple[int, str], PathStat] = {}
        """By destination number and entry path."""
        self.plan = Plan(located, areas.all)

    def compare_all(self) -> None:
        """Fill the plan."""
        for at in self._located:
            self._check_protected(at)
            self._stage_missing_parents(at)
            for entry in at.destination.entries:
                self._compare(at, entry)
        self._remove()
        for at in self._located:
            self._mend_directories(at)
        self._keep_holders()

    def _check_protected(self, at: LocatedDestination) -> None:
        destination, ours = f"{at.top.rstrip('/')}/", f"{self._context.working_directory}/"
        inside = ours.removeprefix(destination)
        if destination.startswith(ours) or (inside != ours and any(f"{e.path}/".startswith(inside) for e in at.destination.entries)):
            raise DestinationError(f"{destination} reaches into the agent's working directory", remedy="choose another destination")

    def _stage_missing_parents(self, at: LocatedDestination) -> None:
        """Stage directories above a destination that don't exist, together with it."""
        parts = at.base.split("/")[:-1]
        for depth in range(len(parts)):
            path = "/".join(parts[: depth + 1])
            if (at.root.path, path) not in self._new:
                self._stage(at.root, path, Entry(EntryKind.DIRECTORY, "", MISSING_PARENT_MODE, self._now_ns))

    def _compare(self, at: LocatedDestination, entry: Entry) -> None:
        root, path = at.root, at.path(entry)
        parent, _, name = path.rpartition("/")
        if name == self._areas.name:
            raise DestinationError(f"{full(root, path)} has the name of a staging directory", remedy="rename it at its source")
        found = None if path and (root.path, parent) in self._new else root.find(path)
        if found is not None:
            if found.kind is None:
                raise DestinationError(
                    f"{full(root, path)} is a device, a socket or a pipe", remedy="remove it, or choose another destination"
                )
            if found.kind is entry.kind and self._can_stay(at, entry, found):
                return
            if at.destination.synchronize != Synchronize.MIRROR:
                self._check_replaceable(root, path, entry, found)
        owner, xattrs = self._metadata.owner(entry, full(root, path)), self._metadata.xattrs(at, entry)
        self._stage(root, path, entry, owner, xattrs, kind_before=found.kind.value if found and found.kind else "")

    def _can_stay(self, at: LocatedDestination, entry: Entry, found: PathStat) -> bool:
        """Whether what is on disk needn't be replaced; plans how it is mended."""
        root, path = at.root, at.path(entry)
        if entry.kind is EntryKind.DIRECTORY:
            if not self._previous.has_placed(full(root, path), found.kind):
                self.plan.stood[full(root, path)] = entry.kind
            self._kept_directories[at.number, entry.path] = found
            return True
        if entry.kind is EntryKind.SYMLINK:
            owner = self._metadata.owner(entry, full(root, path))
            return not self._copy_all and root.read_link(path) == entry.target and owner in (None, found.owner)
        if self._copy_all or found.size != entry.size:
            return False
        self._context.event("compare", 0, 0)
        try:
            digest = self._cache.digest(full(root, path), found)
            if not digest:
                digest = hash_file(root, path, entry.size)
                self.plan.read.add((at.number, entry.path))
            if digest != entry.digest:
                return False
        except LockedTargetError:  # a file that can't be read now can be replaced, whatever its content, once it isn't locked any more
            return False
        step = self._metadata.step(at, entry, found)
        if step is not None:
            if found.links > 1 or not found.is_ours:  # another name of it may be somebody else's; so may the file, and a setgid bit on it
                return False
            self.plan.metadata.append(step)
            found = found._replace(mode=entry.mode, mtime_ns=entry.mtime_ns, ctime_ns=MENDED)
        self.plan.unchanged[at.number, entry.path] = found
        return True

    def _check_replaceable(self, root: Root, path: str, entry: Entry, found: PathStat) -> None:
        if entry.kind is EntryKind.DIRECTORY and not self._previous.has_placed(full(root, path), found.kind):
            kind = "a link" if found.kind is EntryKind.SYMLINK else "a file"
            raise DestinationError(
                f"{full(root, path)} is {kind}, but a directory must go there", remedy="move it away; the next extract tries again"
            )
        if found.kind is EntryKind.DIRECTORY:
            for each in walk(root, path):
                if not self._previous.has_placed(full(root, each.path), each.kind):
                    raise DestinationError(
                        f"{full(root, path)} is a directory with {each.path} in it, but a file or link must go there",
                        remedy="move it away; the next extract tries again",
                    )

    def _stage(
        self, root: Root, path: str, entry: Entry, owner: Owner | None = None, xattrs: Xattrs | None = None, *, kind_before: str = ""
    ) -> None:
        """Stage an entry: within a new directory, or to be swapped in by itself."""
        parent, _, name = path.rpartition("/")
        inside = self._new.get((root.path, parent)) if path else None
        if inside is not None:
            area, staged = inside[0], f"{inside[1]}/{name}"
        else:
            area, staged = self._areas.reserve(root, path)
            self.plan.swaps.append(Swap(area, staged, path, kind_before))
        item = Staged(area, staged, entry, owner, xattrs)
        if entry.kind is EntryKind.FILE:
            self.plan.files.setdefault(entry.digest, []).append(item)
            area.needed += entry.size
        elif entry.kind is EntryKind.SYMLINK:
            self.plan.links.append(item)
        else:
            self.plan.directories.append(item)
            self._new[root.path, path] = (area, staged)
            if inside is None:
                # Its own mode may forbid moving it: it gets that at the end.
                self.plan.metadata.append(MetadataStep(area.number, path, True, entry.mode, entry.mtime_ns, NEW, 0))

    def _remove(self) -> None:
        """Plan removals, and the times of directories that they leave and that no manifest names."""
        remover = Remover(self._context, self._located)
        removals = remover.find(self._previous)
        self.plan.retained, self.plan.paths_removed = removals.retained, len(removals.kinds)
        for each in removals.tops:
            area, name = self._areas.reserve(each.root, each.found.path)
            self.plan.removals.append(StagedRemoval(area, name, each.found, None if each.is_mirrored else removals.kinds))
        outside = {
            (each.root.path, each.found.path.rpartition("/")[0]): each.root for each in removals.tops if remover.outside_manifest(each)
        }
        for (_, path), root in outside.items():
            holder = root.find(path)
            if holder is not None:
                self._keep(root, holder)

    def _keep(self, root: Root, found: PathStat) -> None:
        """Leave a foreign directory as it is, but for the time of a change of its names: programs that watch it must notice.

        All comes back if the extraction is undone.
        """
        if found.is_mendable and self._areas.changes_time_of(root, found.path):
            mtime_ns = self._now_ns if self._areas.changes_names_in(root, found.path) else found.mtime_ns
            area = self._areas.area_for(root, found.path)
            self.plan.metadata.append(MetadataStep(area.number, found.path, True, found.mode, mtime_ns, found.mode, found.mtime_ns))

    def _mend_directories(self, at: LocatedDestination) -> None:
        """Mend directories that stay, also those whose time changes only because names in them do; the deepest first."""
        for entry in reversed(at.destination.entries):
            found = self._kept_directories.get((at.number, entry.path))
            if found is None or not found.is_mendable:
                continue  # somebody else's, in which we may only place: its mode and time are theirs
            if full(at.root, found.path) in self.plan.stood and at.destination.directory_mode == DirectoryMode.KEEP:
                self._keep(at.root, found)
                continue
            touched = self._areas.changes_time_of(at.root, at.path(entry))
            step = self._metadata.step(at, entry, found, touched=touched)
            if step is not None:
                self.plan.metadata.append(step)

    def _keep_holders(self) -> None:
        """Leave directories that only hold a staging directory meanwhile as they are."""
        mended = {(step.area, step.path) for step in self.plan.metadata}
        for area in self._areas.all:
            if area.is_used and area.holder is not None and (area.number, area.holder_path) not in mended:
                self._keep(area.root, area.holder)
