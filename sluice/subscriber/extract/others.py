"""The destinations of other Distributions on this Subscriber, of any Distributor, by their status files.

Read anew for each extraction that removes something. If they can't be known, the extraction is refused: then nothing is removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sluice.errors import DestinationError, SluiceError, StoreCorruptError
from sluice.formats.manifest.document import parse_header, parse_manifest
from sluice.formats.orders import parse_order
from sluice.model.manifest import EntryKind
from sluice.ports import Filesystem, PathStat
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.journal import Journal
from sluice.subscriber.extract.mounts import all_mount_points
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.subscriber.held.path_lists import STOOD
from sluice.subscriber.held.paths import below, is_below, overlap


@dataclass(frozen=True)
class OtherDestination:
    """One destination of another Distribution."""

    top: str
    """Real path."""
    held: DistributionDirectory
    number: int
    """From 0, in its manifest's order."""
    shown: Sequence[tuple[str, str]]
    """``Filesystem.places`` and real path of its directory and of each mount point in it."""

    def path_of(self, place: str) -> str | None:
        """Return the real path by which it has what lies at a place: the destination itself, or something that was placed in it."""
        for each, path in self.shown:
            if place == each or is_below(place, each):
                found = below(path, place.removeprefix(each).lstrip("/"))
                if found == self.top or (is_below(found, self.top) and found in self._placed):
                    return found
        return None

    def counts_as_placed(self, place: str) -> bool:
        """Whether its Distribution has a directory that, as far as it knows, didn't stand before: older agents had no list of those."""
        path = self.path_of(place)
        return path is not None and path not in self._stood

    @cached_property
    def _stood(self) -> frozenset[str]:
        return frozenset(STOOD.read(self.held))

    @cached_property
    def _placed(self) -> frozenset[str]:
        """Real paths; none if its first extraction is under way."""
        try:
            manifest = parse_manifest(self.held.manifest_path.read_bytes())
        except FileNotFoundError:
            return frozenset()
        except StoreCorruptError as error:
            raise _unknown(self.held, error) from error
        if self.number >= len(manifest.destinations):
            return frozenset()
        return frozenset(below(self.top, entry.path) for entry in manifest.destinations[self.number].entries)


class Owned:
    """Directories that no mirror may be, hold or lie in, by place, device and inode: a bind mount gives them other paths."""

    def __init__(self, context: ExtractionContext, others: Sequence[OtherDestination]) -> None:
        self._filesystem = context.filesystem
        self._owners: list[OtherDestination | None] = [None, *others]
        self._tops = [context.working_directory, *(each.top for each in others)]
        self._around: dict[tuple[int, int], OtherDestination | None] = {}
        """None: the agent's working directory."""
        self._holders: dict[tuple[int, int], OtherDestination] = {}
        """Directories in which another Distribution has a file as its destination."""
        for path, other in zip(self._tops, self._owners, strict=True):
            found = self._stat(path)
            if found is not None and found.kind is EntryKind.DIRECTORY:
                self._around[found.device, found.inode] = other
            elif other is not None and (holder := self._stat(path.rpartition("/")[0] or "/")) is not None:
                self._holders[holder.device, holder.inode] = other

    def refuse_around(self, top: str) -> None:
        """Raise DestinationError if a directory that is mirrored lies in or around one of them."""
        mirrored, *places = self._filesystem.places([top, *self._tops])
        for place, owner in zip(places, self._owners, strict=True):
            if overlap(mirrored, place):
                raise shared_error(top, owner)

    def refuse_within(self, top: str, found: PathStat) -> None:
        """Raise DestinationError if a directory that is found in a mirrored one, or is that, is one of them."""
        identity = found.device, found.inode
        if found.kind is EntryKind.DIRECTORY and (identity in self._around or identity in self._holders):
            raise shared_error(top, self._around[identity] if identity in self._around else self._holders[identity])

    def _stat(self, path: str) -> PathStat | None:
        try:
            located = self._filesystem.locate(path, is_directory=False)
            with closing(self._filesystem.open_root(located.directory)) as root:
                return root.find(located.below)
        except DestinationError:  # what can't be reached has its path alone
            return None


def shared_error(top: str, other: OtherDestination | None) -> DestinationError:
    """Return the error for a mirrored directory that isn't its Distribution's alone; None: the agent's working directory lies there."""
    if other is None:
        return DestinationError(
            f"{top} can't be mirrored: the agent's working directory lies there", remedy="mirror a directory of its own"
        )
    return DestinationError(
        f"{top} can't be mirrored: {other.top} is a destination of {other.held.name}",
        remedy="mirror a directory of its own, or write synchronize: true",
    )


def known_destinations(context: ExtractionContext, renamed_from: str) -> Sequence[OtherDestination]:
    """Return the other destinations if all are known; none otherwise, if nothing is removed because of it."""
    try:
        return other_destinations(context, renamed_from)
    except DestinationError:
        return ()


def other_destinations(context: ExtractionContext, renamed_from: str) -> list[OtherDestination]:
    """Return every destination that isn't this Distribution's: extracted, or being extracted now. Raises DestinationError.

    Args:
        renamed_from: Its former name, whose destinations are its own; may be empty.
    """
    filesystem, ours = context.filesystem, {context.held.directory, context.held.directory.with_name(renamed_from or context.held.name)}
    every = sorted(Path(context.working_directory).glob("distributors/*/distributions/*"))
    others = [DistributionDirectory(directory) for directory in every if directory not in ours]
    found = [(_real(filesystem, held, number, text), held, number) for held in others for number, text in _destinations(held)]
    points = all_mount_points(filesystem) if found else ()
    within = [[top, *(each for each in points if is_below(each, top))] for top, _, _ in found]
    places = iter(filesystem.places([path for paths in within for path in paths]))
    return [OtherDestination(*each, [(next(places), path) for path in paths]) for each, paths in zip(found, within, strict=True)]


def _destinations(held: DistributionDirectory) -> Iterator[tuple[int, str]]:
    try:
        extracted = held.status().extracted
        beginning = Journal(held.journal).beginning()
        order = parse_order(beginning.order.encode()) if beginning else None
    except (SluiceError, OSError) as error:
        raise _unknown(held, error) from error
    yield from enumerate(extracted.destinations if extracted else ())
    yield from enumerate(order.destinations if order else ())


def _real(filesystem: Filesystem, held: DistributionDirectory, number: int, text: str) -> str:
    try:
        return filesystem.locate(text, is_directory=_is_directory(held, number)).path
    except DestinationError:  # a link on the way isn't trusted: only the text is known
        return "/" + "/".join(part for part in text.split("/") if part not in ("", "."))


def _is_directory(held: DistributionDirectory, number: int) -> bool:
    try:
        with held.manifest_path.open("rb") as file:
            manifest, _ = parse_header(file.readline().removesuffix(b"\n"))
    except (StoreCorruptError, OSError):
        return True
    return number >= len(manifest.destinations) or manifest.destinations[number].is_directory


def _unknown(held: DistributionDirectory, error: Exception) -> DestinationError:
    why = error.message if isinstance(error, SluiceError) else str(error)
    return DestinationError(
        f"nothing can be removed, since it isn't known where {held.name} was extracted to: {why}",
        remedy=f"look at {held.status_path}; if you delete it, {held.name} is received anew",
    )
