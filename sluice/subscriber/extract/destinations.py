"""The destinations of a manifest on this Subscriber, located and with their roots open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sluice.errors import DestinationError
from sluice.model.manifest import Destination, Entry, Manifest
from sluice.ports import Filesystem, Root
from sluice.rules.excludes import Excludes
from sluice.subscriber.held.paths import below, full, overlap


@dataclass(frozen=True, slots=True)
class LocatedDestination:
    """One destination and its path."""

    number: int
    """From 0, in the manifest's order."""
    destination: Destination
    root: Root
    base: str
    """Path relative to ``root``."""

    @property
    def top(self) -> str:
        """Real path."""
        return full(self.root, self.base)

    def path(self, entry: Entry) -> str:
        """Path of an entry relative to ``root``."""
        return below(self.base, entry.path)


class LocatedDestinations:
    """All destinations of a manifest. Close it.

    Args:
        paths: Rendered, in the manifest's order.
    Raises:
        DestinationError: Two of them overlap, one can't be located, or there are fewer or more than the manifest has; nothing stays open.
    """

    def __init__(self, filesystem: Filesystem, manifest: Manifest, paths: Sequence[str]) -> None:
        self.manifest = manifest
        self.roots: dict[str, Root] = {}
        """Open roots by real path."""
        self._filesystem = filesystem
        self._all: list[LocatedDestination] = []
        self._excludes: dict[int, Excludes] = {}
        try:
            self._locate(paths)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[LocatedDestination]:
        return iter(self._all)

    def open_root(self, directory: str) -> Root:
        """Open a directory by its real path; returns the same root each time."""
        if directory not in self.roots:
            self.roots[directory] = self._filesystem.open_root(directory)
        return self.roots[directory]

    def excludes(self, at: LocatedDestination) -> Excludes:
        """Return the excludes of a destination: they are compiled once, when they are first asked for."""
        if at.number not in self._excludes:
            self._excludes[at.number] = Excludes(at.destination.exclude)
        return self._excludes[at.number]

    def close(self) -> None:
        """Release every root."""
        for root in self.roots.values():
            root.close()

    def _locate(self, paths: Sequence[str]) -> None:
        destinations = self.manifest.destinations
        if len(paths) != len(destinations):
            raise DestinationError(f"{len(paths)} destinations are named, but the manifest has {len(destinations)}")
        for number, (path, destination) in enumerate(zip(paths, destinations, strict=True)):
            located = self._filesystem.locate(path, is_directory=destination.is_directory)
            root = self.open_root(located.directory)
            if not located.below and not destination.is_directory:
                raise DestinationError("a file can't take the place of the file system's root", remedy="choose another destination")
            self._all.append(LocatedDestination(number, destination, root, located.below))
        places = self._filesystem.places([at.top for at in self._all])
        # Sorted as directories, paths below another follow it at once: neighbours are enough, however many an unsigned rehearsal names.
        for one, other in _neighbours([(at.top, at.top) for at in self._all]):
            raise DestinationError(f"the destinations {one} and {other} overlap", remedy="separate them in the blueprint")
        for one, other in _neighbours(list(zip(places, (at.top for at in self._all), strict=True))):
            raise DestinationError(
                f"the destinations {one} and {other} are one directory, or one of them lies in the other, by way of a mount",
                remedy="unmount it, or separate them in the blueprint",
            )


def _neighbours(places: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the names of places of which one is or holds the other."""
    for (one, name), (other, other_name) in pairwise(sorted(places, key=lambda each: f"{each[0].rstrip('/')}/")):
        if overlap(one, other):
            yield name, other_name
