"""Compare mode, time, owner and extended attributes on disk with those that a manifest asks for (B2).

Owners are names; one that this host doesn't know is an error before anything is changed. Extended attributes count as a whole: if any entry
of a destination has some, or had in the revision before, each of its files and directories has exactly its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sluice.errors import DestinationError
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.ports import Filesystem, Owner, PathStat, Xattrs
from sluice.subscriber.extract.areas import StagingAreas
from sluice.subscriber.extract.destinations import LocatedDestination
from sluice.subscriber.extract.steps import MetadataStep
from sluice.subscriber.held.paths import full


class Metadata:
    """The owners and attributes of one manifest.

    Args:
        previous: Destinations of the revision that is extracted.
    """

    def __init__(self, filesystem: Filesystem, manifest: Manifest, previous: Collection[Destination], areas: StagingAreas) -> None:
        self._filesystem = filesystem
        self._areas = areas
        self._owners: dict[str, Owner] = {}
        had = {destination.template for destination in previous if _has_xattrs(destination)}
        self._with_xattrs = {n for n, each in enumerate(manifest.destinations) if each.template in had or _has_xattrs(each)}

    def owner(self, entry: Entry, name: str) -> Owner | None:
        """The owner of an entry at the absolute path ``name``; None: the agent, or whoever has it.

        Raises:
            DestinationError: Nobody has that name here.
        """
        if not entry.owner:
            return None
        if entry.owner not in self._owners:
            try:
                self._owners[entry.owner] = self._filesystem.owner(entry.owner)
            except DestinationError as error:
                raise DestinationError(f"{name} is to belong to {entry.owner}: {error.message}", remedy=error.remedy) from error
        return self._owners[entry.owner]

    def xattrs(self, at: LocatedDestination, entry: Entry) -> Xattrs | None:
        """All attributes of an entry; None: its destination's attributes don't count."""
        return entry.xattrs if at.number in self._with_xattrs else None

    def step(self, at: LocatedDestination, entry: Entry, found: PathStat, *, touched: bool = False) -> MetadataStep | None:
        """Return the step that mends a file or directory that stays; None if nothing differs.

        Args:
            touched: Its time will differ.
        """
        root, path = at.root, at.path(entry)
        owner, wanted = self.owner(entry, full(root, path)), self.xattrs(at, entry)
        is_moved = owner is not None and owner != found.owner
        xattrs = root.xattrs(path) if wanted is not None or is_moved else ()
        is_mended = wanted is not None and wanted != xattrs
        if not (touched or is_moved or is_mended) and (found.mode, found.mtime_ns) == (entry.mode, entry.mtime_ns):
            return None
        is_directory = entry.kind is EntryKind.DIRECTORY
        area = self._areas.area_for(root, path if is_directory else path.rpartition("/")[0])
        mtime_ns = area.limits.time(entry.mtime_ns)
        if not (touched or is_moved or is_mended) and (found.mode, found.mtime_ns) == (entry.mode, mtime_ns):
            return None
        step = MetadataStep(area.number, path, is_directory, entry.mode, mtime_ns, found.mode, found.mtime_ns)
        if is_moved:  # which takes capabilities away: they are set again here, or when it is undone
            step = replace(step, owner=owner, owner_before=found.owner)
        return replace(step, xattrs=wanted, xattrs_before=xattrs) if is_moved or is_mended else step


def _has_xattrs(destination: Destination) -> bool:
    return any(entry.xattrs for entry in destination.entries)
