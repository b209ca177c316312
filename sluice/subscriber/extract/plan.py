"""What an extraction would do, as data: ``planner.py`` makes it, ``staging.py`` and ``swap.py`` carry it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sluice.errors import SluiceError
from sluice.model.manifest import Entry, EntryKind
from sluice.ports import Owner, PathStat, Root, Xattrs
from sluice.subscriber.extract.areas import StagingArea
from sluice.subscriber.extract.changes import ChangeLog
from sluice.subscriber.extract.destinations import LocatedDestinations
from sluice.subscriber.extract.steps import MetadataStep

MENDED = -1
"""``ctime_ns`` of an unchanged file whose mode, owner or attributes are mended: it will have another."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Something to be made in staging."""

    area: StagingArea
    name: str
    """Path in the staging directory."""
    entry: Entry
    owner: Owner | None
    xattrs: Xattrs | None
    """All extended attributes; None: those that its directory gives it."""

    @property
    def staging(self) -> Root:
        """The open staging directory."""
        return self.area.opened


@dataclass(frozen=True, slots=True)
class Swap:
    """Something staged that is moved to its path, with everything below it."""

    area: StagingArea
    name: str
    path: str
    kind_before: str
    """Kind of whatever is at the path: ``f``, ``d``, ``l`` or empty."""


@dataclass(frozen=True, slots=True)
class StagedRemoval:
    """Something that is moved to staging, with everything below it."""

    area: StagingArea
    name: str
    found: PathStat
    expected_below: Mapping[str, EntryKind | None] | None
    """By absolute path, everything that may be found below it; None: anything."""

    @property
    def path(self) -> str:
        """Relative to the root."""
        return self.found.path

    @property
    def is_directory(self) -> bool:
        """Whether it has anything below it."""
        return self.found.kind is EntryKind.DIRECTORY


@dataclass(slots=True)
class Plan:
    """All of one extraction, by kind of step."""

    destinations: LocatedDestinations
    areas: Sequence[StagingArea]
    files: dict[str, list[Staged]] = field(default_factory=dict)
    """By digest of their content."""
    hard_links: list[tuple[Staged, Staged]] = field(default_factory=list)
    """Further names of staged files, each with the one that it is a link to, of the same area."""
    links: list[Staged] = field(default_factory=list)
    directories: list[Staged] = field(default_factory=list)
    """Parents first."""
    swaps: list[Swap] = field(default_factory=list)
    removals: list[StagedRemoval] = field(default_factory=list)
    paths_removed: int = 0
    """Number of paths that the removals take away, those below them included."""
    retained: Mapping[str, EntryKind] = field(default_factory=dict)
    """Paths that this Distribution placed, no longer has, and doesn't remove, by absolute path."""
    placed: dict[str, EntryKind] = field(default_factory=dict)
    """Paths that are placed anew and weren't foreign, by absolute path, if they stay after a failure: rollback is off."""
    stood: dict[str, EntryKind] = field(default_factory=dict)
    """The manifest's directories that stood before this Distribution placed anything there, by absolute path."""
    mounts: Mapping[str, EntryKind] = field(default_factory=dict)
    """The root, and the mount points above, at and below all destinations, former ones too, by absolute path; none: it can't be told."""
    foreign: set[str] = field(default_factory=set)
    """Absolute paths of files and directories that stay, and that this Distribution didn't place."""
    changes: ChangeLog = field(default_factory=ChangeLog)
    """For a dry run."""
    refusals: list[SluiceError] = field(default_factory=list)
    """Reasons for which nothing may be changed at all, by path."""
    metadata: list[MetadataStep] = field(default_factory=list)
    """Of files and directories that stay, and of new directories."""
    unchanged: dict[tuple[int, str], PathStat] = field(default_factory=dict)
    """Files whose content is right, by destination number and entry path; as they will be."""
    read: set[tuple[int, str]] = field(default_factory=set)
    """Those of the manifest's files that were read and hashed and not known by their stat, by the same; reading back adds the others."""

    @property
    def file_count(self) -> int:
        """Files that will be written."""
        return sum(len(each) for each in self.files.values()) + len(self.hard_links)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to change."""
        return not (self.swaps or self.removals or self.metadata)

    def require_allowed(self) -> None:
        """Raise the first refusal."""
        if self.refusals:
            raise self.refusals[0]

    def close(self) -> None:
        """Release every root."""
        for area in self.areas:
            if area.staging is not None:
                area.staging.close()
        self.destinations.close()
