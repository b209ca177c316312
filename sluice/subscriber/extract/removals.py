"""What a revision takes away with ``synchronize`` (C9). Nothing is changed here.

Rules: what this Distribution placed, and the new revision lacks, goes while it still is what was placed: a file stays a file whatever
somebody wrote into it since, but where another kind stands now, that is somebody else's. A directory goes only with everything in it.
The new revision's destination says whether (``yes``); of one that it has no more, the one that was extracted says it. ``mirror`` takes
away whatever the new revision lacks.

Never removed: mount points and what other file systems hold below a mirrored directory, staging of any extraction, the agent's working
directory, other Distributions' destinations and what they placed. Who mirrors has the directory alone: where another Distribution's
destination lies in it or around it, and at a file system's root, it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sluice.errors import DestinationError
from sluice.model.manifest import Destination, EntryKind, Manifest
from sluice.model.site import Synchronize
from sluice.ports import Filesystem, PathStat, Root
from sluice.rules.names_on_disk import folded
from sluice.subscriber.extract.others import Other
from sluice.subscriber.held.paths import below, full

STAGING_PREFIX = ".sluice-"
"""How the name of every staging directory begins."""


@dataclass(frozen=True, slots=True)
class PreviousState:
    """What was placed by earlier revisions."""

    tops: Sequence[tuple[str, Destination]] = ()
    """The extracted revision's destinations by their real paths."""
    left: Mapping[str, EntryKind] = field(default_factory=dict)
    """What those before it placed and left, by real path."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One path that goes, with everything below it."""

    root: Root
    found: PathStat
    is_mirrored: bool

    @property
    def name(self) -> str:
        """Its real path."""
        return full(self.root, self.found.path)


@dataclass(frozen=True, slots=True)
class RemovalSet:
    """All that goes."""

    tops: Sequence[Removal]
    """Those whose directory stays, in path order."""
    kinds: Mapping[str, EntryKind | None]
    """Everything that goes, by real path."""
    left: Mapping[str, EntryKind]
    """What was placed, isn't in the new revision, and stays."""


class MoreThanMostError(Exception):
    """Mirrored directories hold more than was to be looked at: whoever set that bound says what it means."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    root: Root
    path: str
    kind: EntryKind | None
    is_mirrored: bool


class Remover:
    """Finds out what one revision takes away.

    Args:
        located: Root and path of each of the manifest's destinations.
        open_root: Opens a directory by its real path, or gives the root that is open already.
        protected: Real path of the agent's working directory.
        others: Other Distributions' destinations; asked only where something may go.
        most: Names beside the manifest's that mirrored directories may hold, in all; beyond it MoreThanMostError. None: any number.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        manifest: Manifest,
        located: Sequence[tuple[Root, str]],
        *,
        open_root: Callable[[str], Root],
        protected: str,
        others: Callable[[], Sequence[Other]],
        most: int | None = None,
    ) -> None:
        self._filesystem = filesystem
        self._open_root = open_root
        self._protected = protected
        self._ask_others = others
        self._others: Sequence[Other] | None = None
        self._tops = {
            full(root, base): (destination, root, base) for destination, (root, base) in zip(manifest.destinations, located, strict=True)
        }
        self._keep: dict[str, EntryKind] = {}
        for top, (destination, _, _) in self._tops.items():
            self._keep |= {_joined(top, entry.path): entry.kind for entry in destination.entries}
            for parent in _parents(top):
                self._keep.setdefault(parent, EntryKind.DIRECTORY)
        self._looks = None if most is None else most + len(self._keep)
        """Names that may still be looked at: each of the manifest's at most once, as its destinations don't overlap."""
        self._folded: dict[str, str] | None = None
        """The manifest's paths by what they have in common with those of another case."""
        self._mounts: dict[str, frozenset[str]] = {}
        self._former: dict[str, tuple[Root, str] | None] = {}
        """Destinations that the manifest has no more."""

    def find(self, before: PreviousState) -> RemovalSet:
        """All that goes. Raises DestinationError, also where a mirror is refused."""
        candidates = dict(self._foreign())
        left: dict[str, EntryKind] = {}
        former = dict(before.tops)
        for path, kind, top in self._missing(before):
            if path in candidates or self._is_below_something_replaced(path) or (at := self._at(path, top)) is None:
                continue
            covering = self._covering(path)
            destination = self._tops[covering][0] if covering is not None else former[top]
            if destination.synchronize != Synchronize.NO:
                candidates[path] = _Candidate(*at, kind, is_mirrored=False)
            elif (found := _found(*at)) is not None and found.kind is kind:
                left[path] = kind
        going: dict[str, Removal] = {}
        for path in sorted(candidates, reverse=True):  # what is below a directory comes before it
            candidate = candidates[path]
            found = _found(candidate.root, candidate.path)
            if found is None or found.kind is not candidate.kind:
                continue
            if self._goes(path, candidate, found, going):
                going[path] = Removal(candidate.root, found, candidate.is_mirrored)
            elif found.kind is not None and not candidate.is_mirrored:
                left[path] = found.kind
        tops = [each for path, each in sorted(going.items()) if path.rpartition("/")[0] not in going]
        return RemovalSet(tops, {path: each.found.kind for path, each in going.items()}, left)

    def outside_manifest(self, going: Removal) -> bool:
        """Whether it leaves a directory of a destination that the manifest doesn't name: a foreign one, or a former destination's."""
        parent = going.name.rpartition("/")[0]
        if parent in self._keep:
            return False
        return self._covering(parent) is not None or any(parent == top or _is_below(parent, top) for top in self._former)

    def _foreign(self) -> Iterator[tuple[str, _Candidate]]:
        """Everything in mirrored directories that the manifest hasn't."""
        for top, (destination, root, base) in self._tops.items():
            if destination.synchronize != Synchronize.MIRROR or not destination.is_directory:
                continue
            self._refuse_shared(top, root)
            found = _found(root, base)
            directories = [base] if found is not None and found.kind is EntryKind.DIRECTORY else []
            for directory in directories:  # grows while it is walked
                for each in self._listed(root, directory):
                    path = full(root, each.path)
                    kept = self._keep.get(path)
                    if self._is_closed(path, root):
                        continue
                    if path not in self._keep:
                        yield path, _Candidate(root, each.path, each.kind, is_mirrored=True)
                    if each.kind is EntryKind.DIRECTORY and kept in (None, EntryKind.DIRECTORY):
                        directories.append(each.path)

    def _listed(self, root: Root, directory: str) -> Sequence[PathStat]:
        if self._looks is None:
            return root.list(directory)
        listed = root.list(directory, self._looks + 1)
        self._looks -= len(listed)
        if self._looks < 0:
            raise MoreThanMostError
        return listed

    def _refuse_shared(self, top: str, root: Root) -> None:
        if top == "/" or top in self._mounts_of(root):
            raise DestinationError(f"{top} is a file system's root, which can't be mirrored", remedy="mirror a directory below it")
        if _overlap(top, self._protected):
            raise DestinationError(
                f"{top} can't be mirrored: the agent's working directory lies there", remedy="mirror a directory of its own"
            )
        for other in self._other_destinations():
            if _overlap(top, other.top):
                raise DestinationError(
                    f"{top} can't be mirrored: {other.top} is a destination of {other.held.name}",
                    remedy="mirror a directory of its own, or write synchronize: true",
                )

    def _missing(self, before: PreviousState) -> Iterator[tuple[str, EntryKind, str]]:
        """What was placed before and the manifest hasn't: path, kind, and the destination it was placed in, where that is known."""
        for top, destination in before.tops:
            for entry in destination.entries:
                path = _joined(top, entry.path)
                if path not in self._keep:
                    yield path, entry.kind, top
        known = {top for top, _ in before.tops}
        for path, kind in before.left.items():
            if path not in self._keep:
                yield path, kind, next((each for each in (path, *_parents(path)) if each in known), "")

    def _covering(self, path: str) -> str | None:
        """The manifest's destination that a path lies in."""
        return next((each for each in (path, *_parents(path)) if each in self._tops), None)

    def _is_below_something_replaced(self, path: str) -> bool:
        nearest = next((kind for each in _parents(path) if (kind := self._keep.get(each)) is not None), EntryKind.DIRECTORY)
        return nearest is not EntryKind.DIRECTORY

    def _at(self, path: str, top: str) -> tuple[Root, str] | None:
        """Where something lies that was placed in ``top``; None where that leads elsewhere by now."""
        covering = self._covering(path)
        if covering is not None:
            _, root, base = self._tops[covering]
            return root, below(base, path.removeprefix(covering).strip("/"))
        if not top:
            return None
        if top not in self._former:
            self._former[top] = self._open_former(top)
        former = self._former[top]
        return None if former is None else (former[0], below(former[1], path.removeprefix(top).strip("/")))

    def _open_former(self, top: str) -> tuple[Root, str] | None:
        try:
            located = self._filesystem.locate(top, is_directory=False)
            return (self._open_root(located.directory), located.below) if located.path == top else None
        except DestinationError:  # a link of somebody's stands in the way now
            return None

    def _goes(self, path: str, candidate: _Candidate, found: PathStat, going: Mapping[str, Removal]) -> bool:
        root = candidate.root
        if self._is_closed(path, root) or self._is_renamed_by_case(path, found):
            return False
        if any(other.has(path) for other in self._other_destinations()):
            return False
        parent = found.path.rpartition("/")[0]
        if self._covering(path) is None and not root.is_writable(parent):
            above = root.find(parent)
            if above is None or not above.is_ours:
                return False  # only what is in it may be changed by us
        return found.kind is not EntryKind.DIRECTORY or all(full(root, each.path) in going for each in root.list(found.path))

    def _is_renamed_by_case(self, path: str, found: PathStat) -> bool:
        """Whether the manifest has it under a name of another case, which its file system takes for the same."""
        if self._folded is None:
            self._folded = {folded(each): each for each in self._keep}
        kept = self._folded.get(folded(path))
        at = None if kept is None else self._at(kept, "")
        standing = None if at is None else _found(*at)
        return standing is not None and (standing.device, standing.inode) == (found.device, found.inode)

    def _is_closed(self, path: str, root: Root) -> bool:
        """Whether nothing goes there, whoever placed it."""
        if path.rpartition("/")[2].startswith(STAGING_PREFIX) or path in self._mounts_of(root):
            return True
        return path == self._protected or _is_below(path, self._protected)

    def _mounts_of(self, root: Root) -> frozenset[str]:
        if root.path not in self._mounts:
            self._mounts[root.path] = frozenset(full(root, mount) for mount in root.mounts())
        return self._mounts[root.path]

    def _other_destinations(self) -> Sequence[Other]:
        if self._others is None:
            self._others = self._ask_others()
        return self._others


def _joined(top: str, path: str) -> str:
    return below(top, path) if top != "/" else f"/{path}"


def _found(root: Root, path: str) -> PathStat | None:
    try:
        return root.find(path)
    except DestinationError:  # a link or a file stands where a directory was: what was placed below it is gone
        return None


def _parents(path: str) -> Iterator[str]:
    """Every directory above a path, the nearest first."""
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path


def _is_below(path: str, top: str) -> bool:
    return path.startswith(f"{top.rstrip('/')}/")


def _overlap(one: str, other: str) -> bool:
    return one == other or _is_below(one, other) or _is_below(other, one)
