"""Comparing a manifest with what stands in its destinations. Nothing is changed here.

Rules: a file is left alone if its content is the manifest's, however it got there; only its mode and time are mended, or the whole file
replaced where it is somebody else's. A directory of somebody else keeps its mode and time where the agent isn't root. What is new is
staged as whole trees, so that a first install is one rename. Foreign files stay, unless a directory is mirrored; what a revision takes away
says ``extract_remove.py``. Something foreign that stands where a directory
must go, or a directory with foreign files where a file must go, is refused: nobody's data is removed silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sluice.errors import DestinationError, LockedTargetError
from sluice.model.manifest import Entry, EntryKind, Manifest
from sluice.model.site import Copy, Synchronize
from sluice.ports import Filesystem, PathStat, Root
from sluice.subscriber.extract.journal import MetadataStep
from sluice.subscriber.extract.metadata import Metadata
from sluice.subscriber.extract.others import Other
from sluice.subscriber.extract.plan import MENDED, Place, Plan, Staged, StagedRemoval, Swap
from sluice.subscriber.extract.removals import PreviousState, Remover
from sluice.subscriber.held.paths import below, full, hash_file

MISSING_PARENT_MODE = 0o755
"""Of directories on the way to a destination that no manifest names."""
_OF_NO_DESTINATION = -1


class Planner:
    """Compares one manifest with its destinations.

    Args:
        staging_name: Name of the staging directories.
        placed: Real paths that the revision extracted before placed, and what each was.
        before: What earlier revisions placed.
        others: Other Distributions' destinations.
        protected: Real path of the agent's working directory: no destination may reach into it.
        now_ns: The time of directories that no manifest names.
        look: Called before each file is read.
        known: The digest of what stands at an absolute path, where that needn't be read; else empty.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        *,
        staging_name: str,
        placed: Callable[[], Mapping[str, EntryKind]],
        before: Callable[[], PreviousState],
        others: Callable[[], Sequence[Other]],
        protected: str,
        now_ns: int,
        look: Callable[[], None] = lambda: None,
        known: Callable[[str, PathStat], str] = lambda _path, _found: "",
    ) -> None:
        self._filesystem = filesystem
        self._staging_name = staging_name
        self._placed = placed
        self._before = before
        self._others = others
        self._protected = protected
        self._now_ns = now_ns
        self._look = look
        self._known = known
        self._places: dict[tuple[str, str], Place] = {}
        self._points: dict[tuple[str, str], str] = {}
        self._mounts: dict[str, Sequence[str]] = {}
        self._new: dict[tuple[str, str], tuple[Place, str]] = {}
        self._touched: set[tuple[str, str]] = set()
        self._copy_all = False
        self._mirrored: set[int] = set()
        self._plan = Plan()
        self._next = 0

    def plan(self, manifest: Manifest, destinations: Sequence[str]) -> Plan:
        """The whole plan; its roots are open. Raises DestinationError, LockedTargetError; nothing stays open then."""
        try:
            self._copy_all = manifest.copy == Copy.ALL
            self._mirrored = {n for n, each in enumerate(manifest.destinations) if each.synchronize == Synchronize.MIRROR}
            self._locate(manifest, destinations)
            before = self._before()
            self._metadata = Metadata(self._filesystem, manifest, [destination for _, destination in before.tops])
            stand: list[dict[str, PathStat]] = []
            for number, (destination, (root, base)) in enumerate(zip(manifest.destinations, self._plan.located, strict=True)):
                self._check_protected(root, base, destination.entries)
                self._missing_parents(root, base)
                standing: dict[str, PathStat] = {}
                for entry in destination.entries:
                    self._entry(number, root, base, entry, standing)
                stand.append(standing)
            self._remove(manifest, before)
            for number, (destination, (root, base)) in enumerate(zip(manifest.destinations, self._plan.located, strict=True)):
                self._directory_metadata(number, root, base, destination.entries, stand[number])
            return self._plan
        except BaseException:
            self._plan.close()
            raise

    def _locate(self, manifest: Manifest, destinations: Sequence[str]) -> None:
        if len(destinations) != len(manifest.destinations):
            raise DestinationError(f"the order names {len(destinations)} destinations, the manifest {len(manifest.destinations)}")
        taken: list[str] = []
        for text, destination in zip(destinations, manifest.destinations, strict=True):
            located = self._filesystem.locate(text, is_directory=destination.is_directory)
            for other in taken:
                if _overlap(other, located.path):
                    raise DestinationError(f"the destinations {other} and {located.path} overlap", remedy="separate them in the blueprint")
            taken.append(located.path)
            root = self._open_root(located.directory)
            if not located.below and not destination.is_directory:
                raise DestinationError("a file can't take the place of the file system's root")
            self._plan.located.append((root, located.below))

    def _open_root(self, directory: str) -> Root:
        if directory not in self._plan.roots:
            self._plan.roots[directory] = self._filesystem.open_root(directory)
        return self._plan.roots[directory]

    def _remove(self, manifest: Manifest, before: PreviousState) -> None:
        """What goes, and the times of directories that no manifest names and that it goes from."""
        remover = Remover(
            self._filesystem,
            manifest,
            self._plan.located,
            open_root=self._open_root,
            protected=self._protected,
            others=self._others,
        )
        gone = remover.find(before)
        self._plan.left, self._plan.paths_removed = gone.left, len(gone.kinds)
        for each in gone.tops:
            root, found = each.root, each.found
            parent = found.path.rpartition("/")[0]
            place = self._place(root, parent)
            below = None if each.is_mirrored else gone.kinds
            self._plan.removals.append(
                StagedRemoval(place, self._name(root, found.path, place), found.path, found.kind, found.mode, found.mtime_ns, below)
            )
        stray = {(each.root.path, each.found.path.rpartition("/")[0]): each.root for each in gone.tops if remover.outside_manifest(each)}
        for (_, path), root in stray.items():
            holder = root.find(path)
            if holder is not None and holder.is_mendable:
                same = (holder.mode, holder.mtime_ns)
                self._plan.metadata.append(MetadataStep(self._place(root, path).number, path, True, *same, *same))

    def _check_protected(self, root: Root, base: str, entries: Sequence[Entry]) -> None:
        destination, ours = f"{full(root, base).rstrip('/')}/", f"{self._protected}/"
        inside = ours.removeprefix(destination)
        if destination.startswith(ours) or (inside != ours and any(f"{e.path}/".startswith(inside) for e in entries)):
            raise DestinationError(f"{destination} reaches into the agent's working directory", remedy="choose another destination")

    def _missing_parents(self, root: Root, base: str) -> None:
        """Directories on the way that don't exist: staged as part of what is new."""
        parts = base.split("/")[:-1]
        for depth in range(len(parts)):
            path = "/".join(parts[: depth + 1])
            if (root.path, path) in self._new:
                continue
            entry = Entry(EntryKind.DIRECTORY, "", MISSING_PARENT_MODE, self._now_ns)
            self._stage_directory(_OF_NO_DESTINATION, root, path, entry, before="")

    def _entry(self, number: int, root: Root, base: str, entry: Entry, standing: dict[str, PathStat]) -> None:
        path = below(base, entry.path)
        parent, _, name = path.rpartition("/")
        if name == self._staging_name:
            raise DestinationError(f"{full(root, path)} is the name of staging", remedy="rename it at its source")
        inside = self._new.get((root.path, parent)) if path else None
        if inside is not None:
            place, staged = inside
            self._stage(number, root, path, place, f"{staged}/{name}", entry)
            return
        found = root.find(path)
        kind = found.kind if found else None
        if found is not None and kind is None:
            raise DestinationError(f"{full(root, path)} is a device, a socket or a pipe", remedy="remove it, or choose another destination")
        if found is not None and kind is entry.kind and self._stays(number, root, path, entry, found, standing):
            return
        if number not in self._mirrored:
            self._check_replaceable(root, path, entry, found)
        before = kind.value if kind else ""
        if entry.kind is EntryKind.DIRECTORY:
            self._stage_directory(number, root, path, entry, before=before)
        else:
            place = self._place(root, parent)
            self._stage(number, root, path, place, self._swap(root, path, place, before), entry)

    def _stays(self, number: int, root: Root, path: str, entry: Entry, found: PathStat, standing: dict[str, PathStat]) -> bool:
        """Whether what stands there needn't be replaced; notes what must be mended."""
        if entry.kind is EntryKind.DIRECTORY:
            standing[entry.path] = found
            return True
        if entry.kind is EntryKind.SYMLINK:
            owner = self._metadata.owner(root, path, entry)
            return not self._copy_all and root.read_link(path) == entry.target and owner in (None, found.owner)
        if self._copy_all or found.size != entry.size:
            return False
        self._look()
        try:
            if (self._known(full(root, path), found) or hash_file(root, path, entry.size)) != entry.digest:
                return False
        except LockedTargetError:  # what can't be read now, of whatever content, can be replaced once it isn't locked any more
            return False
        step = self._metadata.step(number, root, path, entry, found, lambda: self._place(root, path.rpartition("/")[0]))
        if step is not None:
            if found.links > 1 or not found.is_ours:  # another name of it may be somebody else's; so may the file, and a setgid bit on it
                return False
            self._plan.metadata.append(step)
            found = found._replace(mode=entry.mode, mtime_ns=entry.mtime_ns, ctime_ns=MENDED)
        self._plan.unchanged[number, entry.path] = found
        return True

    def _check_replaceable(self, root: Root, path: str, entry: Entry, found: PathStat | None) -> None:
        if found is None:
            return
        if entry.kind is EntryKind.DIRECTORY and self._placed().get(full(root, path)) is not found.kind:
            what = "a link" if found.kind is EntryKind.SYMLINK else "a file"
            raise DestinationError(f"{full(root, path)} is {what}, but a directory must go there", remedy="move it away, then repeat")
        if found.kind is EntryKind.DIRECTORY:
            directories = [path]
            for directory in directories:
                for each in root.list(directory):
                    if self._placed().get(full(root, each.path)) is not each.kind:
                        raise DestinationError(
                            f"{full(root, path)} is a directory with {each.path} in it, but a file or link must go there",
                            remedy="move it away, then repeat",
                        )
                    if each.kind is EntryKind.DIRECTORY:
                        directories.append(each.path)

    def _stage_directory(self, number: int, root: Root, path: str, entry: Entry, *, before: str) -> None:
        parent, _, name = path.rpartition("/")
        inside = self._new.get((root.path, parent)) if parent else None
        if inside is not None:
            place, staged = inside[0], f"{inside[1]}/{name}"
        else:
            place = self._place(root, parent)
            staged = self._swap(root, path, place, before)
        self._stage(number, root, path, place, staged, entry)

    def _stage(self, number: int, root: Root, path: str, place: Place, staged: str, entry: Entry) -> None:
        item = Staged(place, staged, entry, self._metadata.owner(root, path, entry), self._metadata.xattrs(number, entry))
        if entry.kind is EntryKind.FILE:
            self._plan.files.setdefault(entry.digest, []).append(item)
            place.needed += entry.size
        elif entry.kind is EntryKind.SYMLINK:
            self._plan.links.append(item)
        else:
            self._plan.directories.append(item)
            self._new[root.path, path] = (place, staged)
            if "/" not in staged:
                # Its own mode may forbid moving it: it gets that at the end.
                self._plan.metadata.append(MetadataStep(place.number, path, True, entry.mode, entry.mtime_ns, -1, 0))

    def _swap(self, root: Root, path: str, place: Place, before: str) -> str:
        name = self._name(root, path, place)
        self._plan.swaps.append(Swap(place, name, path, before))
        return name

    def _name(self, root: Root, path: str, place: Place) -> str:
        """A name in staging for what comes to a path, or leaves it."""
        name = f"{self._next:x}"
        self._next += 1
        place.is_used = True
        self._touched |= {(root.path, path.rpartition("/")[0]), (root.path, place.staging_path.rpartition("/")[0])}
        return name

    def _place(self, root: Root, directory: str) -> Place:
        """The staging place for what is placed in ``directory``: at the nearest mount point above it.

        That is beside the destination, unless the agent may only write in the destination itself.
        """
        point = self._points.get((root.path, directory))
        if point is None:
            point = self._points[root.path, directory] = self._point(root, directory)
        place = self._places.get((root.path, point))
        if place is None:
            place = Place(len(self._plan.places), root, below(point, self._staging_name))
            if point or root.path == "/":
                holder = root.find(point)
                place.holder = holder if holder is not None and holder.is_mendable else None
            self._places[root.path, point] = place
            self._plan.places.append(place)
        return place

    def _point(self, root: Root, directory: str) -> str:
        mounts = self._mounts.get(root.path)
        if mounts is None:
            mounts = self._mounts[root.path] = root.mounts()
        mount = max((m for m in mounts if directory == m or directory.startswith(f"{m}/")), key=len, default="")
        parts = directory.removeprefix(mount).strip("/").split("/")
        deeper = [below(mount, "/".join(parts[: depth + 1])) for depth in range(len(parts))] if parts != [""] else []
        return next((point for point in (mount, *deeper) if root.is_writable(point)), mount)

    def _directory_metadata(self, number: int, root: Root, base: str, entries: Sequence[Entry], standing: dict[str, PathStat]) -> None:
        """What is mended of directories that stay, also where only what is placed in them moves their time; the deepest first."""
        for entry in reversed(entries):
            found = standing.get(entry.path) if entry.kind is EntryKind.DIRECTORY else None
            if found is None or not found.is_mendable:
                continue  # somebody else's, in which we may only place: its mode and time are theirs
            path = below(base, entry.path)
            touched = (root.path, path) in self._touched
            step = self._metadata.step(number, root, path, entry, found, partial(self._place, root, path), touched=touched)
            if step is not None:
                self._plan.metadata.append(step)


def _overlap(one: str, other: str) -> bool:
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return one.startswith(other) or other.startswith(one)
