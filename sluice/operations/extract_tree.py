"""The tree that a Subscriber extracted before, as a source of contents: what a ``.ted`` leaves out is taken from there (C2).

It is believed only as far as it hashes right: anybody may have changed it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from blake3 import blake3

from sluice.errors import BaseDiffersError, DestinationError
from sluice.formats.ted import Content
from sluice.model.manifest import Entry, EntryKind, Manifest
from sluice.operations.extract_steps import below, full, hash_file
from sluice.ports import Filesystem, Root

NAMED_MAX = 20
"""Most paths that an error names."""

Source = tuple[int, Entry]
"""Destination number and entry of a file."""


class ExtractedTree:
    """What was extracted, and where to.

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

    def placed(self) -> Mapping[str, EntryKind]:
        """Absolute paths of all that was placed, and what each was."""
        if self._placed is None:
            self._placed = {}
            manifest = self._manifest()
            for number, destination in enumerate(manifest.destinations if manifest else ()):
                text = self._destinations[number]
                top = self._filesystem.locate(text, is_directory=destination.is_directory).path
                self._placed |= {below(top, entry.path): entry.kind for entry in destination.entries}
        return self._placed

    @contextmanager
    def contents(self, wanted: Collection[str]) -> Iterator[Iterator[Content]]:
        """The wanted contents, each verified before the first is handed out, and once more as its bytes are taken.

        Raises:
            BaseDiffersError: Some aren't in the tree any more; their paths are named. Also while a content's bytes are taken.
        """
        try:
            sources = self._sources(wanted)
            found = {digest: self._first_right(digest, sources.get(digest, [])) for digest in wanted}
            if missing := [digest for digest, source in found.items() if source is None]:
                raise self._differs(missing, sources)
            yield ((digest, source[1].size, self._read(source)) for digest, source in found.items() if source is not None)
        finally:
            for root, _ in self._roots.values():
                root.close()
            self._roots.clear()

    def _sources(self, wanted: Collection[str]) -> dict[str, list[Source]]:
        manifest = self._manifest()
        found: dict[str, list[Source]] = {}
        for number, destination in enumerate(manifest.destinations if manifest else ()):
            for entry in destination.entries:
                if entry.kind is EntryKind.FILE and entry.digest in wanted:
                    found.setdefault(entry.digest, []).append((number, entry))
        return found

    def _first_right(self, digest: str, sources: Sequence[Source]) -> Source | None:
        for source in sources:
            try:
                if hash_file(*self._at(source), source[1].size) == digest:
                    return source
            except DestinationError:  # gone, or something else now
                continue
        return None

    def _read(self, source: Source) -> Iterator[bytes]:
        root, path = self._at(source)
        total, left = blake3(), source[1].size
        for piece in root.read(path):
            total.update(piece)
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left or total.hexdigest() != source[1].digest:  # exchanged since it was found right
            raise self._differs([source[1].digest], {source[1].digest: [source]})

    def _at(self, source: Source) -> tuple[Root, str]:
        number, entry = source
        if number not in self._roots:
            manifest = self._manifest()
            is_directory = manifest is not None and manifest.destinations[number].is_directory
            located = self._filesystem.locate(self._destinations[number], is_directory=is_directory)
            self._roots[number] = (self._filesystem.open_root(located.directory), located.below)
        root, top = self._roots[number]
        return root, below(top, entry.path)

    def _differs(self, missing: Sequence[str], sources: Mapping[str, Sequence[Source]]) -> BaseDiffersError:
        paths = [full(*self._at(source)) for digest in missing for source in sources.get(digest, [])]
        more = f" and {len(paths) - NAMED_MAX} more" if len(paths) > NAMED_MAX else ""
        return BaseDiffersError(
            f"changed since it was extracted: {', '.join(sorted(paths)[:NAMED_MAX]) or 'all of it'}{more}", remedy="send the revision whole"
        )
