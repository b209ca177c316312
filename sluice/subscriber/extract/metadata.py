"""Which owners and extended attributes a manifest asks for, and what of mode, time, owner and attributes differs on disk (B2).

Owners are names; who has no such name here is named before anything is changed. Extended attributes count as a whole: where any entry of
a destination has some, or had in the revision before, each of its files and directories has exactly its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from sluice.errors import DestinationError
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.ports import Filesystem, Owner, PathStat, Root, Xattrs
from sluice.subscriber.extract.journal import MetadataStep
from sluice.subscriber.extract.plan import Place
from sluice.subscriber.held.paths import full


class Metadata:
    """What one manifest asks for.

    Args:
        before: Destinations of the revision that is extracted.
    """

    def __init__(self, filesystem: Filesystem, manifest: Manifest, before: Collection[Destination]) -> None:
        self._filesystem = filesystem
        self._owners: dict[str, Owner] = {}
        had = {destination.template for destination in before if _has_xattrs(destination)}
        self._with_xattrs = {n for n, each in enumerate(manifest.destinations) if each.template in had or _has_xattrs(each)}

    def owner(self, root: Root, path: str, entry: Entry) -> Owner | None:
        """None: whoever extracts, or who has it. Raises DestinationError: nobody has that name here."""
        if not entry.owner:
            return None
        if entry.owner not in self._owners:
            try:
                self._owners[entry.owner] = self._filesystem.owner(entry.owner)
            except DestinationError as error:
                raise DestinationError(f"{full(root, path)} is to be {entry.owner}'s: {error.message}", remedy=error.remedy) from error
        return self._owners[entry.owner]

    def xattrs(self, number: int, entry: Entry) -> Xattrs | None:
        """All that it has; None: they aren't looked at in its destination."""
        return entry.xattrs if number in self._with_xattrs else None

    def step(
        self, number: int, root: Root, path: str, entry: Entry, found: PathStat, place: Callable[[], Place], *, touched: bool = False
    ) -> MetadataStep | None:
        """What mends a file or directory that stays; None where nothing differs.

        Args:
            number: Of its destination.
            place: Where it would be staged; asked for where something differs.
            touched: Its time will differ.
        """
        owner, wanted = self.owner(root, path, entry), self.xattrs(number, entry)
        is_moved = owner is not None and owner != found.owner
        standing = root.xattrs(path) if wanted is not None or is_moved else ()
        is_mended = wanted is not None and wanted != standing
        if not (touched or is_moved or is_mended) and (found.mode, found.mtime_ns) == (entry.mode, entry.mtime_ns):
            return None
        is_directory = entry.kind is EntryKind.DIRECTORY
        step = MetadataStep(place().number, path, is_directory, entry.mode, entry.mtime_ns, found.mode, found.mtime_ns)
        if is_moved:  # which takes capabilities away: they are set again here, or when it is taken back
            step = replace(step, owner=owner, owner_before=found.owner)
        return replace(step, xattrs=wanted, xattrs_before=standing) if is_moved or is_mended else step


def _has_xattrs(destination: Destination) -> bool:
    return any(entry.xattrs for entry in destination.entries)
