"""Hard links of a manifest, compared with those on disk (docs/formats.md section 8): which files may stay, and which are one in staging."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from sluice.errors import DestinationError
from sluice.model.manifest import EntryKind
from sluice.ports import PathStat, Root
from sluice.subscriber.extract.destinations import LocatedDestinations
from sluice.subscriber.extract.plan import Staged
from sluice.subscriber.held.paths import below, full


@dataclass(eq=False)
class _Group:
    """Files that are one by the manifest."""

    root: Root
    paths: list[str] = field(default_factory=list)
    """Relative to the root."""
    first: dict[int, Staged] = field(default_factory=dict)
    """By staging area, the one that the others there become links to."""

    @cached_property
    def is_whole(self) -> bool:
        """Whether all of them on one file system are one file there."""
        inodes: dict[int, int] = {}
        for path in self.paths:
            try:
                found = self.root.find(path)
            except DestinationError:  # something is in the place of a directory above it: told when that is compared
                return False
            if found is None or found.kind is not EntryKind.FILE or inodes.setdefault(found.device, found.inode) != found.inode:
                return False
        return True


class HardLinks:
    """The groups of a manifest's files, by real path."""

    def __init__(self, located: LocatedDestinations) -> None:
        self._groups: dict[str, _Group] = {}
        """Of files with several names."""
        self._holders: dict[tuple[int, int], object] = {}
        """By device and inode of a file with several names, the group or path that it was first met for."""
        for at in located:
            for entry in at.destination.entries:
                if entry.link:
                    first = below(at.base, entry.link)
                    group = self._groups.setdefault(full(at.root, first), _Group(at.root, [first]))
                    group.paths.append(at.path(entry))
                    self._groups[full(at.root, at.path(entry))] = group

    def may_stay(self, path: str, found: PathStat) -> bool:
        """Whether a file on disk is one with all that it must be one with, and with nothing else of the manifest."""
        group = self._groups.get(path)
        if group is not None and not group.is_whole:
            return False
        holder = group or path
        return found.links == 1 or self._holders.setdefault((found.device, found.inode), holder) == holder

    def stage(self, path: str, item: Staged) -> Staged | None:
        """Return the file of its group that was staged in its area before, to which it becomes a link; None: it is the first."""
        group = self._groups.get(path)
        first = group.first.setdefault(item.area.number, item) if group is not None else item
        return None if first is item else first
