"""The tree that a Subscriber extracted before, as a source of contents: what a ``.ted`` leaves out is taken from there (C2).

It is believed only as far as it hashes right: anybody may have changed it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from blake3 import blake3

from sluice.errors import BaseDiffersError, DestinationError, LockedTargetError
from sluice.formats.ted.file import Content
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.ports import Filesystem, Root
from sluice.subscriber.held.paths import below, full, hash_file
from sluice.subscriber.held.stat_cache import StatCache

NAMED_MAX = 20
"""Most paths that an error names."""

Source = tuple[int, Entry]
"""Destination number and entry of a file."""


class ExtractedTree:
    """What was extracted, and where to. Close it.

    Args:
        manifest: Of what was extracted; None: nothing was.
        destinations: Rendered, in its order.
    """

    def __init__(self, filesystem: Filesystem, manifest: Callable[[], Manifest | None], destinations: Sequence[str]) -> None:
        self._filesystem = filesystem
        self._manifest = manifest
        self._destinations = destinations
        self._roots: dict[int, tuple[Root, str]] = {}
        self._placed: dict[str, EntryKind] | None = None
        self._right: dict[str, Source] = {}
        """Where contents were found right."""

    def placed(self) -> Mapping[str, EntryKind]:
        """Absolute paths of all that was placed, and what each was."""
        if self._placed is None:
            self._placed = {below(top, entry.path): entry.kind for top, destination in self.tops() for entry in destination.entries}
        return self._placed

    def tops(self) -> Sequence[tuple[str, Destination]]:
        """The destinations by their absolute paths without links; one that leads elsewhere, or nowhere, by now is left out."""
        manifest, found = self._manifest(), []
        for number, destination in enumerate(manifest.destinations if manifest else ()):
            with suppress(DestinationError):
                found.append((full(*self._root(number)), destination))
        return found

    def find(self, wanted: Collection[str], *, seen: StatCache | None = None, look: Callable[[], object] = lambda: None) -> list[str]:
        """Look for contents, and remember where they are.

        Args:
            seen: What needn't be read again; None: everything is.
            look: Called before each file.
        Returns:
            Those that aren't there any more, in the manifest's order.
        """
        sources = self._sources(wanted)
        return [digest for digest, each in sources.items() if not self._is_right(digest, each, seen, look)]

    def contents(self, wanted: Collection[str]) -> Iterator[Content]:
        """The wanted contents, each verified before the first is handed out, and once more as its bytes are taken.

        Raises:
            BaseDiffersError: Some aren't in the tree any more; their paths are named. Also while a content's bytes are taken.
        """
        if missing := self.find(wanted):
            raise self.differs(missing)
        for digest in wanted:
            yield digest, self._right[digest][1].size, self._verified(self._right[digest])

    def read(self, digest: str, offset: int, length: int) -> Iterator[bytes]:
        """A part of a content that ``find`` found. Raises BaseDiffersError where the file ends before."""
        source = self._right[digest]
        root, path = self._at(source)
        left = length
        for piece in root.read(path, offset, length):
            left -= len(piece)
            yield piece
        if left:
            raise self._differs([source])

    def differs(self, missing: Collection[str]) -> BaseDiffersError:
        """What to say of contents that ``find`` didn't find."""
        return self._differs([source for each in self._sources(missing).values() for source in each])

    def close(self) -> None:
        """Release every root; may be called twice."""
        for root, _ in self._roots.values():
            root.close()
        self._roots.clear()

    def _sources(self, wanted: Collection[str]) -> dict[str, list[Source]]:
        names = frozenset(wanted)
        found: dict[str, list[Source]] = {}
        manifest = self._manifest()
        for number, destination in enumerate(manifest.destinations if manifest else ()):
            for entry in destination.entries:
                if entry.digest in names and entry.kind is EntryKind.FILE:
                    found.setdefault(entry.digest, []).append((number, entry))
        for digest in wanted:
            found.setdefault(digest, [])
        return found

    def _is_right(self, digest: str, sources: Sequence[Source], seen: StatCache | None, look: Callable[[], object]) -> bool:
        for source in sources:
            look()
            try:
                root, path = self._at(source)
                found = root.find(path) if seen is not None else None
                known = seen.digest(full(root, path), found) if seen is not None and found is not None else ""
                if (known or hash_file(root, path, source[1].size)) == digest:
                    self._right[digest] = source
                    return True
            except (DestinationError, LockedTargetError):  # gone, something else now, or not to be read
                continue
        return False

    def _verified(self, source: Source) -> Iterator[bytes]:
        root, path = self._at(source)
        total, left = blake3(), source[1].size
        for piece in root.read(path):
            total.update(piece)
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left or total.hexdigest() != source[1].digest:  # exchanged since it was found right
            raise self._differs([source])

    def _at(self, source: Source) -> tuple[Root, str]:
        root, top = self._root(source[0])
        return root, below(top, source[1].path)

    def _root(self, number: int) -> tuple[Root, str]:
        if number not in self._roots:
            manifest = self._manifest()
            is_directory = manifest is not None and manifest.destinations[number].is_directory
            located = self._filesystem.locate(self._destinations[number], is_directory=is_directory)
            self._roots[number] = (self._filesystem.open_root(located.directory), located.below)
        return self._roots[number]

    def _differs(self, sources: Sequence[Source]) -> BaseDiffersError:
        paths = sorted(full(*self._at(source)) for source in sources)
        more = f" and {len(paths) - NAMED_MAX} more" if len(paths) > NAMED_MAX else ""
        return BaseDiffersError(
            f"changed since it was extracted: {', '.join(paths[:NAMED_MAX]) or 'all of it'}{more}",
            remedy="the next send brings what lacks",
        )
