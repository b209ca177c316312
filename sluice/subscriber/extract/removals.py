"""The paths that a revision takes away because of ``synchronize`` (C9). Nothing is changed here.

Rules: a path that this Distribution placed, and that the new revision lacks, is removed as long as it is of the kind that was placed: a
file stays a file whatever somebody wrote into it since, but another kind is somebody else's. A directory is removed only with everything
in it, and never if it stood before. The new revision's destination decides (``yes``); for a destination that the revision no longer has,
the extracted one does.
``mirror`` removes everything that the new revision lacks.

Never removed: mount points and the contents of other file systems below a mirrored directory, staging of any extraction, the agent's
working directory, other Distributions' destinations and the paths that they placed. A mirrored directory belongs to one Distribution
alone: it is refused if another Distribution's destination lies in it or around it, and at a file system's root.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sluice.errors import DestinationError
from sluice.model.manifest import EntryKind
from sluice.model.site import Synchronize
from sluice.ports import PathStat, Root
from sluice.rules.names_on_disk import folded
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.destinations import LocatedDestinations
from sluice.subscriber.extract.others import OtherDestination, Owned, other_destinations, shared_error
from sluice.subscriber.extract.previous import PreviousState
from sluice.subscriber.extract.rights import unmovable
from sluice.subscriber.held.paths import below, full, is_below, overlap, parents

STAGING_PREFIX = ".sluice-"
"""First part of the name of every staging directory."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One path to be removed, with everything below it."""

    root: Root
    found: PathStat
    is_mirrored: bool

    @property
    def name(self) -> str:
        """Its real path."""
        return full(self.root, self.found.path)


@dataclass(frozen=True, slots=True)
class RemovalSet:
    """All paths to be removed."""

    tops: Sequence[Removal]
    """Those whose directory stays, in path order."""
    kinds: Mapping[str, EntryKind | None]
    """All of them, by real path."""
    retained: Mapping[str, EntryKind]
    """Paths that were placed, aren't in the new revision, and stay."""
    mirrored: Counter[str]
    """Number of files and links in each mirrored destination, by its real path."""


class MoreThanMostError(Exception):
    """Mirrored directories hold more names than the caller allows to be looked at."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    root: Root
    path: str
    kind: EntryKind | None
    is_mirrored: bool


class Remover:
    """Finds the paths that one revision removes.

    Args:
        most: Names beside the manifest's that mirrored directories may hold, in all; beyond it MoreThanMostError. None: any number.
    """

    def __init__(self, context: ExtractionContext, located: LocatedDestinations, most: int | None = None) -> None:
        self._context = context
        self._located = located
        self._tops = {at.top: at for at in located}
        self._wanted: dict[str, EntryKind] = {}
        """Everything that the manifest has, and the directories above it, by real path."""
        for top, at in self._tops.items():
            self._wanted |= {below(top, entry.path): entry.kind for entry in at.destination.entries}
            for parent in parents(top):
                self._wanted.setdefault(parent, EntryKind.DIRECTORY)
        self._looks = None if most is None else most + len(self._wanted)
        """Names that may still be looked at: each of the manifest's at most once, as its destinations don't overlap."""
        self._excluding = {top for top, at in self._tops.items() if at.destination.exclude}
        self._mirrored: Counter[str] = Counter()
        self._mounts: dict[str, frozenset[str]] = {}
        self._former: dict[str, tuple[Root, str] | None] = {}
        """Destinations that the manifest no longer has."""

    def find(self, previous: PreviousState) -> RemovalSet:
        """Return all removals. Raises DestinationError, also if a mirror is refused."""
        candidates = dict(self._foreign())
        retained: dict[str, EntryKind] = {}
        former = dict(previous.tops)
        for path, kind, top in self._no_longer_wanted(previous):
            if path in candidates or self._is_below_something_replaced(path) or (at := self._locate(path, top)) is None:
                continue
            covering = self._covering(path)
            destination = self._tops[covering].destination if covering is not None else former[top]
            if destination.synchronize != Synchronize.NO:
                candidates[path] = _Candidate(*at, kind, is_mirrored=False)
            elif (found := _find(*at)) is not None and found.kind is kind:
                retained[path] = kind
        looked = ((path, each, _find(each.root, each.path)) for path, each in candidates.items())
        there = {path: found for path, each, found in looked if found is not None and found.kind is each.kind}
        removals, taken = dict[str, Removal](), self._taken_by_others([*there])
        for path, found in sorted(there.items(), reverse=True):  # everything below a directory comes before it
            candidate = candidates[path]
            if path not in taken and self._is_removed(path, candidate, found, removals):
                removals[path] = Removal(candidate.root, found, candidate.is_mirrored)
            elif found.kind is not None and not candidate.is_mirrored:
                retained[path] = found.kind
        tops = [each for path, each in sorted(removals.items()) if path.rpartition("/")[0] not in removals]
        return RemovalSet(tops, {path: each.found.kind for path, each in removals.items()}, retained, self._mirrored)

    def outside_manifest(self, removal: Removal) -> bool:
        """Whether its directory is in a destination, but not in the manifest: a foreign one, or a former destination's."""
        parent = removal.name.rpartition("/")[0]
        if parent in self._wanted:
            return False
        return self._covering(parent) is not None or any(parent == top or is_below(parent, top) for top in self._former)

    def _foreign(self) -> Iterator[tuple[str, _Candidate]]:
        """Yield everything in mirrored directories that the manifest hasn't."""
        for at in self._located:
            root, base = at.root, at.base
            if at.destination.synchronize != Synchronize.MIRROR or not at.destination.is_directory:
                continue
            self._refuse_shared(at.top, root)
            found = _find(root, base)
            directories = [base] if found is not None and found.kind is EntryKind.DIRECTORY else []
            self._owned.refuse_around(at.top)
            if found is not None:
                self._owned.refuse_within(at.top, found)
            for directory in directories:  # grows while it is walked
                for each in self._list(root, directory):
                    path = full(root, each.path)
                    wanted = self._wanted.get(path)
                    self._mirrored[at.top] += each.kind is not EntryKind.DIRECTORY
                    if self._is_protected(path, root) or self._is_excluded(path, each.kind):
                        continue
                    self._owned.refuse_within(at.top, each)
                    if wanted is None:
                        yield path, _Candidate(root, each.path, each.kind, is_mirrored=True)
                    if each.kind is EntryKind.DIRECTORY and wanted in (None, EntryKind.DIRECTORY):
                        directories.append(each.path)

    def _list(self, root: Root, directory: str) -> Sequence[PathStat]:
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
        if overlap(top, self._context.working_directory):
            raise shared_error(top, None)
        for other in self._others:
            if overlap(top, other.top):
                raise shared_error(top, other)

    def _no_longer_wanted(self, previous: PreviousState) -> Iterator[tuple[str, EntryKind, str]]:
        """Yield paths that were placed and that the manifest hasn't, with their kinds and their destinations, if those are known."""
        for top, destination in previous.tops:
            for entry in destination.entries:
                path = below(top, entry.path)
                if path not in self._wanted and previous.has_placed(path, entry.kind):
                    yield path, entry.kind, top
        known = {top for top, _ in previous.tops}
        for path, kind in previous.retained.items():
            if path not in self._wanted and not previous.is_elsewhere(path):
                yield path, kind, next((each for each in (path, *parents(path)) if each in known), "")

    def _covering(self, path: str) -> str | None:
        """The manifest's destination that a path lies in."""
        return next((each for each in (path, *parents(path)) if each in self._tops), None)

    def _is_below_something_replaced(self, path: str) -> bool:
        nearest = next((kind for each in parents(path) if (kind := self._wanted.get(each)) is not None), EntryKind.DIRECTORY)
        return nearest is not EntryKind.DIRECTORY

    def _locate(self, path: str, top: str) -> tuple[Root, str] | None:
        """Return root and path of something that was placed in ``top``; None if that leads elsewhere by now."""
        covering = self._covering(path)
        if covering is not None:
            at = self._tops[covering]
            return at.root, below(at.base, path.removeprefix(covering).strip("/"))
        if not top:
            return None
        if top not in self._former:
            self._former[top] = self._open_former(top)
        former = self._former[top]
        return None if former is None else (former[0], below(former[1], path.removeprefix(top).strip("/")))

    def _open_former(self, top: str) -> tuple[Root, str] | None:
        try:
            located = self._context.filesystem.locate(top, is_directory=False)
            return (self._located.open_root(located.directory), located.below) if located.path == top else None
        except DestinationError:  # somebody's link is in the way now
            return None

    def _is_removed(self, path: str, candidate: _Candidate, found: PathStat, removals: Mapping[str, Removal]) -> bool:
        root = candidate.root
        if self._is_protected(path, root) or self._is_excluded(path, found.kind) or self._is_renamed_by_case(path, found):
            return False
        if self._covering(path) is None:
            above = root.find(found.path.rpartition("/")[0])
            if above is None or unmovable(root, above, found) is not None:
                return False  # we may change its contents only
        return found.kind is not EntryKind.DIRECTORY or all(full(root, each.path) in removals for each in root.list(found.path))

    def _taken_by_others(self, paths: Sequence[str]) -> frozenset[str]:
        """Return those of the paths that are another Distribution's too, be it by a path that a mount gives them."""
        places = self._context.filesystem.places(paths) if paths and self._others else ()
        return frozenset(path for path, place in zip(paths, places, strict=False) if any(each.path_of(place) for each in self._others))

    def _is_renamed_by_case(self, path: str, found: PathStat) -> bool:
        """Whether the manifest has it under a name of another case, which its file system takes for the same."""
        wanted = self._wanted_by_folded_case.get(folded(path))
        at = None if wanted is None else self._locate(wanted, "")
        existing = None if at is None else _find(*at)
        return existing is not None and (existing.device, existing.inode) == (found.device, found.inode)

    @cached_property
    def _wanted_by_folded_case(self) -> Mapping[str, str]:
        return {folded(each): each for each in self._wanted}

    def _is_protected(self, path: str, root: Root) -> bool:
        """Whether a path is never removed, whoever placed it."""
        if path.rpartition("/")[2].startswith(STAGING_PREFIX) or path in self._mounts_of(root):
            return True
        return path == self._context.working_directory or is_below(path, self._context.working_directory)

    def _is_excluded(self, path: str, kind: EntryKind | None) -> bool:
        """Whether the excludes of a mirrored directory match a path in it, which then stays (as rsync does)."""
        top = self._covering(path) if self._excluding else None
        if top is None or top not in self._excluding or path == top:
            return False
        excludes = self._located.excludes(self._tops[top])
        return excludes.covers(path.removeprefix(top).lstrip("/"), is_directory=kind is EntryKind.DIRECTORY)

    def _mounts_of(self, root: Root) -> frozenset[str]:
        if root.path not in self._mounts:
            self._mounts[root.path] = frozenset(full(root, mount) for mount in root.mounts())
        return self._mounts[root.path]

    @cached_property
    def _others(self) -> Sequence[OtherDestination]:
        """Read only if something may be removed."""
        return other_destinations(self._context, self._located.manifest.renamed_from)

    @cached_property
    def _owned(self) -> Owned:
        return Owned(self._context, self._others)


def _find(root: Root, path: str) -> PathStat | None:
    try:
        return root.find(path)
    except DestinationError:  # a link or a file is in the place of a directory: everything that was placed below it is gone
        return None
