"""Staging areas: on each file system that an extraction changes, a directory in which everything new is made before it is swapped in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sluice.errors import DestinationError
from sluice.model.limits import Limits
from sluice.ports import PathStat, Root
from sluice.subscriber.extract.journal import AreaRecord
from sluice.subscriber.extract.steps import TRIED_AGAIN
from sluice.subscriber.held.paths import below, full


@dataclass
class StagingArea:
    """One of them."""

    number: int
    root: Root
    staging_path: str
    """Of the staging directory, relative to ``root``."""
    holder: PathStat | None = None
    """The directory around it, if the agent may give it its time back."""
    staging: Root | None = None
    """Once it was made."""
    is_used: bool = False
    """Whether anything is staged there."""
    needed: int = 0
    """Bytes that will be written there."""

    @property
    def opened(self) -> Root:
        """The open staging directory."""
        if self.staging is None:
            raise DestinationError(f"{self.root.path} has no staging directory")
        return self.staging

    @property
    def holder_path(self) -> str:
        """The directory around the staging directory, relative to ``root``."""
        return self.staging_path.rpartition("/")[0]

    @property
    def holder_name(self) -> str:
        """The same as an absolute path."""
        return full(self.root, self.holder_path)

    def device(self) -> int:
        """Number of the file system that it is on."""
        found = self.root.find(self.holder_path)
        if found is None:
            raise DestinationError(f"{full(self.root, self.holder_path)} is gone", remedy=TRIED_AGAIN)
        return found.device

    def room(self) -> tuple[int | None, int | None]:
        """Bytes that may be written there, and files that may be made; None if its file system doesn't count them."""
        holder = self.root.open_below(self.holder_path)
        try:
            return holder.free(), holder.free_files()
        finally:
            holder.close()

    @cached_property
    def limits(self) -> Limits:
        """What its file system can hold."""
        holder = self.root.open_below(self.holder_path)
        try:
            return holder.limits()
        finally:
            holder.close()

    def record(self) -> AreaRecord:
        """Return its record for the journal."""
        if self.holder is None:
            return AreaRecord(self.root.path, self.staging_path)
        return AreaRecord(self.root.path, self.staging_path, self.holder.mode, self.holder.mtime_ns)


class StagingAreas:
    """Those of one extraction, added when a path first needs one.

    Args:
        name: Of every staging directory.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.all: list[StagingArea] = []
        self._areas: dict[tuple[str, str], StagingArea] = {}
        self._points: dict[tuple[str, str], str] = {}
        self._mounts: dict[str, Sequence[str]] = {}
        self._renamed: set[tuple[str, str]] = set()
        """By root and path, directories in which names come, go or are exchanged."""
        self._next = 0

    def area_for(self, root: Root, directory: str) -> StagingArea:
        """Return the area for names in ``directory``: at the nearest mount point above it.

        That is beside the destination, unless the agent may only write in the destination itself.
        """
        point = self._points.get((root.path, directory))
        if point is None:
            point = self._points[root.path, directory] = self._point(root, directory)
        area = self._areas.get((root.path, point))
        if area is None:
            area = StagingArea(len(self.all), root, below(point, self.name))
            holder = root.find(point)
            area.holder = holder if holder is not None and holder.is_mendable else None
            self._areas[root.path, point] = area
            self.all.append(area)
        return area

    def reserve(self, root: Root, path: str) -> tuple[StagingArea, str]:
        """Return the area, and a name in it, for whatever comes to a path or leaves it."""
        directory = path.rpartition("/")[0]
        area, name = self.area_for(root, directory), f"{self._next:x}"
        self._next += 1
        area.is_used = True
        self._renamed.add((root.path, directory))
        return area, name

    def changes_names_in(self, root: Root, directory: str) -> bool:
        """Whether names in a directory come, go or are exchanged."""
        return (root.path, directory) in self._renamed

    def changes_time_of(self, root: Root, directory: str) -> bool:
        """Whether the time of a directory changes: because of names in it, or of a staging directory that stands in it meanwhile."""
        area = self._areas.get((root.path, directory))
        return (area is not None and area.is_used) or self.changes_names_in(root, directory)

    def _point(self, root: Root, directory: str) -> str:
        mounts = self._mounts.get(root.path)
        if mounts is None:
            mounts = self._mounts[root.path] = root.mounts()
        mount = max((m for m in mounts if directory == m or directory.startswith(f"{m}/")), key=len, default="")
        parts = directory.removeprefix(mount).strip("/").split("/")
        deeper = [below(mount, "/".join(parts[: depth + 1])) for depth in range(len(parts))] if parts != [""] else []
        return next((point for point in (mount, *deeper) if root.is_writable(point)), mount)
