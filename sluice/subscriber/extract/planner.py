"""Comparing a manifest with its destinations on disk. Nothing is changed here.

Rules: a file is left alone if its content is the manifest's, however it got there; only its mode and time are mended, or the file is
replaced if it belongs to somebody else. New files are staged as whole trees, so that a first install is one rename. A directory that stood
before keeps its mode, owner and attributes. A foreign file may get other content; nothing foreign is replaced by another kind, and no
foreign link by another link, except within a mirrored directory. Foreign files stay, unless a directory is mirrored; ``removals.py`` says
which paths a revision takes away.

Everything is compared before the first refusal stops an extraction, because a dry run is this plan too, and names them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sluice.errors import DestinationError, LockedTargetError, RemovalsError
from sluice.model.change import ChangeKind
from sluice.model.limits import Limits
from sluice.model.manifest import Entry, EntryKind, Manifest
from sluice.model.site import Synchronize
from sluice.ports import Owner, PathStat, Root, Xattrs
from sluice.ports.filesystem import mounted_error
from sluice.subscriber.extract.areas import StagingArea, StagingAreas
from sluice.subscriber.extract.brake import require_usual
from sluice.subscriber.extract.changes import differences, worded
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.destinations import LocatedDestination, LocatedDestinations
from sluice.subscriber.extract.hard_links import HardLinks
from sluice.subscriber.extract.holdable import check_holdable, kept_time
from sluice.subscriber.extract.known import Knowledge
from sluice.subscriber.extract.metadata import Metadata
from sluice.subscriber.extract.mounts import check_mounts, mount_points
from sluice.subscriber.extract.plan import MENDED, Plan, Staged, StagedRemoval, Swap
from sluice.subscriber.extract.refusals import check_protected, check_readable, contents_error, foreign_error
from sluice.subscriber.extract.removals import MoreThanMostError, Remover
from sluice.subscriber.extract.rights import is_opened, rights_refusals
from sluice.subscriber.extract.staying import StayingDirectories
from sluice.subscriber.extract.steps import NEW, MetadataStep
from sluice.subscriber.held.paths import full, walk

MISSING_PARENT_MODE = 0o755
"""Mode of new directories above a destination, which no manifest names."""


def plan_extraction(context: ExtractionContext, destinations: Sequence[str], manifest: Manifest, known: Knowledge) -> Plan:
    """Compare a manifest with its destinations.

    Args:
        destinations: Rendered, in the manifest's order.
    Returns:
        The whole plan, with all refusals; its roots are open.
    Raises:
        DestinationError: The destinations can't be located. Nothing stays open then.
        MoreThanMostError: Mirrored directories hold too many names.
    """
    located = LocatedDestinations(context.filesystem, manifest, destinations)
    try:
        areas = StagingAreas(f".sluice-{context.subscriber}.{context.held.distributor}.{context.held.name}")
        planner = _Planner(context, located, areas, known)
        planner.compare_all()
        return planner.plan
    except BaseException:
        located.close()
        raise


class _Planner:
    def __init__(self, context: ExtractionContext, located: LocatedDestinations, areas: StagingAreas, known: Knowledge) -> None:
        self._context = context
        self._located = located
        self._areas = areas
        self._known = known
        mounts = mount_points(context.filesystem, known.previous, located)
        self._previous = known.previous.with_mounts(mounts)
        previous_destinations = [destination for _, destination in self._previous.tops]
        self._metadata = Metadata(context.filesystem, located.manifest, previous_destinations, areas)
        self._copy_all = known.copy_all
        self._hard_links = HardLinks(located)
        self._new: dict[tuple[str, str], tuple[StagingArea, str]] = {}
        """Area and name in it of each new directory, by its root and path."""
        self._given_way: dict[str, EntryKind | None] = {}
        """By absolute path, everything in directories that give way to files or links."""
        self._folded: dict[str, str] = {}
        """By its absolute path without case, each path that comes to a file system that doesn't tell case apart."""
        self._refused: set[tuple[str, str]] = set()
        """Root and path of everything that is refused; nothing below it is looked at."""
        self.plan = Plan(located, areas.all, mounts=dict.fromkeys(mounts, EntryKind.DIRECTORY))
        self._staying = StayingDirectories(context, located, areas, self._metadata, self.plan, known.now_ns)

    def compare_all(self) -> None:
        """Fill the plan."""
        for at in self._located:
            with self._refusing():
                check_protected(at, self._context, self._areas.name)
                if not self._known.force:
                    check_mounts(at.top, self._context, self._previous)
                self._stage_missing_parents(at)
                for entry in at.destination.entries:
                    self._compare(at, entry)
        with self._refusing():
            self._remove()
        for at in self._located:
            with self._refusing():
                self._staying.mend(at)
        self._staying.keep_times_of_holders()
        with self._refusing():
            self.plan.refusals += rights_refusals(self.plan)
        self._log_metadata()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn an error into a refusal of the plan."""
        try:
            yield
        except (DestinationError, LockedTargetError, RemovalsError) as error:
            self.plan.refusals.append(error)

    def _stage_missing_parents(self, at: LocatedDestination) -> None:
        """Stage directories above a destination that don't exist, together with it."""
        parts = at.base.split("/")[:-1]
        for depth in range(len(parts)):
            path = "/".join(parts[: depth + 1])
            if (at.root.path, path) not in self._new:
                self._stage(at.root, path, Entry(EntryKind.DIRECTORY, "", MISSING_PARENT_MODE, self._known.now_ns))

    def _compare(self, at: LocatedDestination, entry: Entry) -> None:
        root, path = at.root, at.path(entry)
        parent = path.rpartition("/")[0]
        self._refused.add((root.path, path))
        if entry.path and (root.path, parent) in self._refused:
            return
        with self._refusing():
            self._place(at, entry, None if path and (root.path, parent) in self._new else root.find(path))
            self._refused.discard((root.path, path))

    def _place(self, at: LocatedDestination, entry: Entry, found: PathStat | None) -> None:
        root, path, name = at.root, at.path(entry), full(at.root, at.path(entry))
        if path.rpartition("/")[2] == self._areas.name:
            raise DestinationError(f"{name} has the name of a staging directory", remedy="rename it at its source")
        check_readable(name, entry)
        kind, detail = ChangeKind.NEW, ""
        if found is not None:
            is_placed = self._previous.has_placed(name, found.kind)
            if found.kind is entry.kind and self._can_stay(at, entry, found):
                if not is_placed:
                    self.plan.foreign.add(name)
                return
            self._check_replaceable(at, entry, found)
            flags = root.flags(path) if found.kind is EntryKind.FILE and not is_placed else ""
            kind, detail = (ChangeKind.CHANGED, "") if is_placed else (ChangeKind.REPLACED, worded(found, _xattrs(root, found), flags))
        owner, xattrs = self._metadata.owner(entry, name), self._metadata.xattrs(at, entry)
        limits = self._limits(root, path)
        check_holdable(name, entry, limits, self._folded)
        self._stage(root, path, entry, owner, xattrs, kind_before=found.kind.value if found and found.kind else "")
        self.plan.changes.add(kind, name, "; ".join(filter(None, (detail, kept_time(entry, limits)))))
        self.plan.changes.others += entry.kind is not EntryKind.FILE
        if not self._located.manifest.rollback and kind is not ChangeKind.REPLACED:
            self.plan.placed[name] = entry.kind

    def _limits(self, root: Root, path: str) -> Limits:
        """Return the limits of the file system that a path comes to."""
        inside = self._new.get((root.path, path.rpartition("/")[0])) if path else None
        return (inside[0] if inside is not None else self._areas.area_for(root, path.rpartition("/")[0])).limits

    def _can_stay(self, at: LocatedDestination, entry: Entry, found: PathStat) -> bool:
        """Whether what is on disk needn't be replaced; plans how it is mended."""
        root, path = at.root, at.path(entry)
        if entry.kind is EntryKind.DIRECTORY:
            if not self._previous.has_placed(full(root, path), found.kind):
                self.plan.stood[full(root, path)] = entry.kind
            self._staying.add(at, entry, found)
            return True
        if entry.kind is EntryKind.SYMLINK:
            owner = self._metadata.owner(entry, full(root, path))
            return not self._copy_all and root.read_link(path) == entry.target and owner in (None, found.owner)
        if self._copy_all or found.size != entry.size or not self._known.may_read(entry.digest):
            return False
        self._context.event("compare", 0, 0)
        try:
            digest = self._known.digest(root, found, read=lambda: self.plan.read.add((at.number, entry.path)))
            if digest != entry.digest or not self._hard_links.may_stay(full(root, path), found):
                return False
        except (DestinationError, LockedTargetError):  # a file that can't be read now can be replaced, whatever its content
            return False
        step = self._metadata.step(at, entry, found)
        if step is not None:
            # Another name of it may be somebody else's; so may the file, and a setgid bit on it, or the mount that shows it.
            if found.links > 1 or not found.is_ours or full(root, path) in self.plan.mounts:
                return False
            self.plan.metadata.append(step)
            found = found._replace(mode=entry.mode, mtime_ns=step.mtime_ns, ctime_ns=MENDED)
        self.plan.unchanged[at.number, entry.path] = found
        return True

    def _check_replaceable(self, at: LocatedDestination, entry: Entry, found: PathStat) -> None:
        root, path = at.root, at.path(entry)
        name, is_placed = full(root, path), self._previous.has_placed(full(root, path), found.kind)
        is_mirrored = at.destination.synchronize == Synchronize.MIRROR and entry.path != "" and found.kind is not None
        is_file = found.kind is entry.kind is EntryKind.FILE
        if name in self.plan.mounts:
            raise mounted_error(name)
        if not (is_placed or is_mirrored or is_file):
            raise foreign_error(name, entry, found)
        if found.kind is EntryKind.DIRECTORY:
            self._check_contents(at, name, path, is_mirrored=is_mirrored)
        if is_opened(found):  # to be moved; if that is undone, its mode and time come back
            area, mode, time = self._areas.area_for(root, path.rpartition("/")[0]), found.mode, found.mtime_ns
            self.plan.metadata.append(MetadataStep(area.number, path, True, mode, time, mode, time))

    def _check_contents(self, at: LocatedDestination, name: str, path: str, *, is_mirrored: bool) -> None:
        """Check that everything in a directory that gives way to a file or a link may go with it."""
        excludes, most = self._located.excludes(at), self._known.most
        given_way: dict[str, EntryKind | None] = {}
        looks = None if most is None else most + len(at.destination.entries) - len(self._given_way)
        for each in walk(at.root, path, None if looks is None else looks + 1):
            if len(given_way) == looks:
                raise MoreThanMostError
            inside, below_top = full(at.root, each.path), each.path[len(at.base) :].lstrip("/")
            is_kept = is_mirrored and excludes.covers(below_top, is_directory=each.kind is EntryKind.DIRECTORY)
            if is_kept or not (is_mirrored or self._previous.has_placed(inside, each.kind)):
                raise contents_error(name, each.path.removeprefix(path).lstrip("/"))
            given_way[inside] = each.kind
        self._given_way |= given_way

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
        if entry.kind is EntryKind.FILE and (first := self._hard_links.stage(full(root, path), item)) is not None:
            self.plan.hard_links.append((item, first))
        elif entry.kind is EntryKind.FILE:
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
        remover = Remover(self._context, self._located, self._known.most)
        removals = remover.find(self._previous)
        self.plan.retained, self.plan.paths_removed = removals.retained, len(removals.kinds)
        for path, kind in {**self._given_way, **removals.kinds}.items():
            self.plan.changes.add(ChangeKind.REMOVED if self._previous.has_placed(path, kind) else ChangeKind.FOREIGN_REMOVED, path)
        if not self._known.allow_removals:  # after they are named: whoever is asked to allow them wants to see them
            require_usual(self._context, removals, self._given_way, self._located, self._previous)
        for each in removals.tops:
            area, name = self._areas.reserve(each.root, each.found.path)
            self.plan.removals.append(StagedRemoval(area, name, each.found, None if each.is_mirrored else removals.kinds))
        outside = {
            (each.root.path, each.found.path.rpartition("/")[0]): each.root for each in removals.tops if remover.outside_manifest(each)
        }
        for (_, path), root in outside.items():
            if (holder := root.find(path)) is not None:
                self._staying.keep(root, holder)

    def _log_metadata(self) -> None:
        for step in self.plan.metadata:
            path, detail = full(self.plan.areas[step.area].root, step.path), differences(step)
            if step.mode_before != NEW and detail:
                is_time_alone = step.is_directory and detail == "time"
                self.plan.changes.others += not is_time_alone
                foreign = ChangeKind.TIME if is_time_alone else ChangeKind.TAKEN_OVER
                self.plan.changes.add(foreign if path in self.plan.foreign else ChangeKind.ADJUSTED, path, detail)


def _xattrs(root: Root, found: PathStat) -> Xattrs:
    if found.kind not in (EntryKind.FILE, EntryKind.DIRECTORY):
        return ()
    try:
        return root.xattrs(found.path)
    except (DestinationError, LockedTargetError):  # gone meanwhile, or closed to this account: only their names would be told
        return ()
