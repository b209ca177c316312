"""The tree that a Subscriber extracted before, as a source of the contents that a ``.ted`` leaves out (C2).

Only contents that hash right are believed: anybody may have changed the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from blake3 import blake3

from sluice.errors import BaseDiffersError, DestinationError, LockedTargetError
from sluice.formats.ted.file import Content
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.ports import Filesystem, Root
from sluice.subscriber.held.paths import below, full, hash_file
from sluice.subscriber.held.stat_cache import StatCache

NAMED_MAX = 20
"""Most paths that an error names."""
NEXT_SEND = "nothing to do: the next send brings the missing contents"
"""Remedy for contents that the tree lacks."""

Source = tuple[int, Entry]
"""Destination number and entry of a file."""


class ExtractedTree:
    """The extracted files at their destinations. Close it.

    Args:
        manifest: Of the extracted revision; None: nothing was extracted.
        destinations: Rendered, in its order.
    """

    def __init__(self, filesystem: Filesystem, manifest: Manifest | None, destinations: Sequence[str]) -> None:
        self.revision = manifest.revision if manifest else None
        self._filesystem = filesystem
        self._manifest_destinations = manifest.destinations if manifest else ()
        self._destinations = destinations
        self._roots: dict[int, tuple[Root, str]] = {}
        self._verified_sources: dict[str, Source] = {}
        """By digest, the file that had it when it was last read."""

    @cached_property
    def placed(self) -> Mapping[str, EntryKind]:
        """Kind of every entry as it was placed, by absolute path."""
        return {below(top, entry.path): entry.kind for top, destination in self.tops() for entry in destination.entries}

    def tops(self) -> Sequence[tuple[str, Destination]]:
        """The destinations by their absolute paths without links; one that leads elsewhere, or nowhere, by now is left out."""
        found = []
        for number, destination in enumerate(self._manifest_destinations):
            with suppress(DestinationError):
                found.append((full(*self._root(number)), destination))
        return found

    def find(
        self, wanted: Collection[str], *, cache: StatCache | None = None, before_read: Callable[[], object] = lambda: None
    ) -> list[str]:
        """Look for contents, and remember where they are.

        Args:
            cache: Of files that needn't be read again; None: every file is read.
            before_read: Called before each file.
        Returns:
            Those that aren't there any more, in the manifest's order.
        """
        sources = self._sources(wanted)
        return [digest for digest, each in sources.items() if not self._has(digest, each, cache, before_read)]

    def contents(self, wanted: Collection[str]) -> Iterator[Content]:
        """Yield the wanted contents, each verified before the first is yielded, and once more as its bytes are taken.

        Raises:
            BaseDiffersError: Some aren't in the tree any more; their paths are named. Also while a content's bytes are taken.
        """
        if missing := self.find(wanted):
            raise self.differs(missing)
        for digest in wanted:
            source = self._verified_sources[digest]
            yield digest, source[1].size, self._verified(source)

    def read(self, digest: str, offset: int, length: int) -> Iterator[bytes]:
        """Yield a part of a content that ``find`` found. Raises BaseDiffersError if the file ends before."""
        source = self._verified_sources[digest]
        root, path = self._at(source)
        remaining = length
        for piece in root.read(path, offset, length):
            remaining -= len(piece)
            yield piece
        if remaining:
            raise self._differs([source])

    def differs(self, missing: Collection[str]) -> BaseDiffersError:
        """Return the error for contents that ``find`` didn't find."""
        return self._differs([source for each in self._sources(missing).values() for source in each])

    def close(self) -> None:
        """Release every root; may be called twice."""
        for root, _ in self._roots.values():
            root.close()
        self._roots.clear()

    def _sources(self, wanted: Collection[str]) -> dict[str, list[Source]]:
        names = frozenset(wanted)
        found: dict[str, list[Source]] = {}
        for number, destination in enumerate(self._manifest_destinations):
            for entry in destination.entries:
                if entry.digest in names and entry.kind is EntryKind.FILE:
                    found.setdefault(entry.digest, []).append((number, entry))
        for digest in wanted:
            found.setdefault(digest, [])
        return found

    def _has(self, digest: str, sources: Sequence[Source], cache: StatCache | None, before_read: Callable[[], object]) -> bool:
        for source in sources:
            before_read()
            try:
                root, path = self._at(source)
                found = root.find(path) if cache is not None else None
                known = cache.digest(full(root, path), found) if cache is not None and found is not None else ""
                if (known or hash_file(root, path, source[1].size)) == digest:
                    self._verified_sources[digest] = source
                    return True
            except (DestinationError, LockedTargetError):  # gone, something else now, or not to be read
                continue
        return False

    def _verified(self, source: Source) -> Iterator[bytes]:
        root, path = self._at(source)
        total, remaining = blake3(), source[1].size
        for piece in root.read(path):
            total.update(piece)
            remaining -= len(piece)
            if remaining < 0:
                break
            yield piece
        if remaining or total.hexdigest() != source[1].digest:  # exchanged since it was verified
            raise self._differs([source])

    def _at(self, source: Source) -> tuple[Root, str]:
        root, top = self._root(source[0])
        return root, below(top, source[1].path)

    def _root(self, number: int) -> tuple[Root, str]:
        if number not in self._roots:
            is_directory = self._manifest_destinations[number].is_directory
            located = self._filesystem.locate(self._destinations[number], is_directory=is_directory)
            self._roots[number] = (self._filesystem.open_root(located.directory), located.below)
        return self._roots[number]

    def _differs(self, sources: Sequence[Source]) -> BaseDiffersError:
        paths = sorted(full(*self._at(source)) for source in sources)
        more = f" and {len(paths) - NAMED_MAX} more" if len(paths) > NAMED_MAX else ""
        return BaseDiffersError(f"changed since they were extracted: {', '.join(paths[:NAMED_MAX]) or 'all files'}{more}", remedy=NEXT_SEND)
