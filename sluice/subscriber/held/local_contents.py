"""The contents that a Subscriber has besides a ``.ted``: those of its extracted tree and of supplements, as one source."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Sequence

from sluice.formats.ted.file import Content
from sluice.formats.ted.frame import Range
from sluice.model.manifest import Manifest
from sluice.subscriber.held.stat_cache import StatCache
from sluice.subscriber.held.supplement import SupplementContents
from sluice.subscriber.held.tree import ExtractedTree


class LocalContents:
    """Contents of an extracted tree and of supplements. Close it."""

    def __init__(self, tree: ExtractedTree, supplement: SupplementContents) -> None:
        self._tree = tree
        self._supplement = supplement

    def missing(
        self, wanted: Collection[str], *, cache: StatCache | None = None, before_read: Callable[[], object] = lambda: None
    ) -> list[str]:
        """Return those of these contents that are nowhere; afterwards the others can be read.

        Args:
            cache: Of files in the tree that needn't be read again; None: every file is read.
            before_read: Called before each file.
        """
        return self._tree.find([digest for digest in wanted if digest not in self._supplement], cache=cache, before_read=before_read)

    def require(self, wanted: Collection[str]) -> None:
        """Raise BaseDiffersError, which names paths, if any of these contents is missing."""
        if missing := self.missing(wanted):
            raise self._tree.differs(missing)

    def contents(self, wanted: Collection[str]) -> Iterator[Content]:
        """Yield the wanted contents, each verified.

        Raises:
            BaseDiffersError: Some don't verify any more; also while a content's bytes are taken.
        """
        yield from self._supplement.contents(wanted)
        yield from self._tree.contents([digest for digest in wanted if digest not in self._supplement])

    def reference_reader(self, base: Manifest) -> Callable[[Sequence[Range]], bytes]:
        """Return a function that reads ranges of the base's contents, none of them ``missing``, as ``delta.apply.read_delta`` asks."""
        digests = [digest for digest, _ in base.contents()]

        def read(ranges: Sequence[Range]) -> bytes:
            found = io.BytesIO()  # grows in place, and gives its bytes without a copy: a reference may be as large as memory allows
            for each in ranges:
                digest = digests[each.content]
                source = self._supplement if digest in self._supplement else self._tree
                for piece in source.read(digest, each.offset, each.length):
                    found.write(piece)
            return found.getvalue()

        return read

    def close(self) -> None:
        """Release everything; may be called twice."""
        self._tree.close()
        self._supplement.close()
