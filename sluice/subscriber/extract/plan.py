"""What an extraction would do, as data: ``extract_compare.py`` makes it, ``extract_stage.py`` and ``extract_swap.py`` carry it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sluice.errors import DestinationError
from sluice.model.manifest import Entry, EntryKind
from sluice.ports import Owner, PathStat, Root, Xattrs
from sluice.subscriber.extract.journal import MetadataStep, StagingPlace
from sluice.subscriber.held.paths import full

NEW = -1
"""``mode_before`` of a directory that didn't stand before."""

MENDED = -1
"""``ctime_ns`` of an unchanged file whose mode, owner or the like is mended: it will have another."""


@dataclass(slots=True)
class Place:
    """Where things are staged: one directory on each file system that a destination touches."""

    number: int
    root: Root
    staging_path: str
    """Relative to ``root``."""
    holder: PathStat | None = None
    """The directory that staging stands in, where that is a destination's own."""
    staging: Root | None = None
    """Once it was made."""
    is_used: bool = False
    """Whether anything is staged there."""
    needed: int = 0
    """Bytes that will be written there."""

    @property
    def holder_name(self) -> str:
        """Absolute path of the directory that staging stands in."""
        return full(self.root, self.staging_path.rpartition("/")[0]).rstrip("/") or "/"

    def device(self) -> int:
        """Of the file system that it is on."""
        holder = self.staging_path.rpartition("/")[0]
        found = self.root.find(holder)
        if found is None:
            raise DestinationError(f"{full(self.root, holder)} is gone", remedy="repeat")
        return found.device

    def free(self) -> int:
        """Bytes that may be written there."""
        holder = self.root.open_below(self.staging_path.rpartition("/")[0])
        try:
            return holder.free()
        finally:
            holder.close()

    def in_journal(self) -> StagingPlace:
        """As the journal names it."""
        if self.holder is None:
            return StagingPlace(self.root.path, self.staging_path)
        return StagingPlace(self.root.path, self.staging_path, self.holder.mode, self.holder.mtime_ns)


@dataclass(frozen=True, slots=True)
class Staged:
    """Something to be made in staging."""

    place: Place
    name: str
    """Path in the staging directory."""
    entry: Entry
    owner: Owner | None
    xattrs: Xattrs | None
    """All that it has; None: those that its directory gives it."""

    @property
    def staging(self) -> Root:
        """The open staging directory."""
        if self.place.staging is None:
            raise DestinationError(f"{self.place.root.path} has no staging directory")
        return self.place.staging


@dataclass(frozen=True, slots=True)
class Swap:
    """Something staged that takes its place by itself; what is below it comes with it."""

    place: Place
    name: str
    path: str
    before: str
    """Kind of what stands there: ``f``, ``d``, ``l`` or empty."""


@dataclass(frozen=True, slots=True)
class StagedRemoval:
    """Something that leaves its place for staging, with all that is below it."""

    place: Place
    name: str
    path: str
    kind: EntryKind | None
    mode: int
    mtime_ns: int
    below: Mapping[str, EntryKind | None] | None
    """What may be found below it, by absolute path; None: whatever it is."""


@dataclass(slots=True)
class Plan:
    """All of one extraction, by kind of step."""

    places: list[Place] = field(default_factory=list)
    roots: dict[str, Root] = field(default_factory=dict)
    files: dict[str, list[Staged]] = field(default_factory=dict)
    """By digest of their content."""
    links: list[Staged] = field(default_factory=list)
    directories: list[Staged] = field(default_factory=list)
    """Parents first."""
    swaps: list[Swap] = field(default_factory=list)
    removals: list[StagedRemoval] = field(default_factory=list)
    paths_removed: int = 0
    """All that the removals take away, what is below them counted too."""
    left: Mapping[str, EntryKind] = field(default_factory=dict)
    """What this Distribution placed, has no more and leaves, by absolute path."""
    metadata: list[MetadataStep] = field(default_factory=list)
    """Of what stays."""
    located: list[tuple[Root, str]] = field(default_factory=list)
    """Root and path of each destination."""
    unchanged: dict[tuple[int, str], PathStat] = field(default_factory=dict)
    """Files whose content was read and found right, by destination number and entry path; as they will stand."""

    @property
    def file_count(self) -> int:
        """Files that will be written."""
        return sum(len(each) for each in self.files.values())

    @property
    def is_empty(self) -> bool:
        """Whether everything stands as it should."""
        return not (self.swaps or self.removals or self.metadata)

    def close(self) -> None:
        """Release every root."""
        for place in self.places:
            if place.staging is not None:
                place.staging.close()
        for root in self.roots.values():
            root.close()
