"""What a Subscriber has besides a ``.ted``: its extracted tree and what it was lent, as if they were one."""

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
    """Contents of an extracted tree and of lent files. Close it."""

    def __init__(self, tree: ExtractedTree, lent: SupplementContents) -> None:
        self._tree = tree
        self._lent = lent

    def lacking(self, wanted: Collection[str], *, seen: StatCache | None = None, look: Callable[[], object] = lambda: None) -> list[str]:
        """Those of these contents that are nowhere; afterwards, where the others are is known.

        Args:
            seen: What of the tree needn't be read again; None: everything is.
            look: Called before each file.
        """
        return self._tree.find([digest for digest in wanted if digest not in self._lent], seen=seen, look=look)

    def require(self, wanted: Collection[str]) -> None:
        """Raise BaseDiffersError, which names paths, where any of these contents is lacking."""
        if missing := self.lacking(wanted):
            raise self._tree.differs(missing)

    def contents(self, wanted: Collection[str]) -> Iterator[Content]:
        """The wanted contents, each verified.

        Raises:
            BaseDiffersError: Some aren't right any more; also while a content's bytes are taken.
        """
        yield from self._lent.contents(wanted)
        yield from self._tree.contents([digest for digest in wanted if digest not in self._lent])

    def reference(self, base: Manifest) -> Callable[[Sequence[Range]], bytes]:
        """Gives the bytes of ranges of the base's contents, of which none may be ``lacking``, as ``delta.apply.read_delta`` wants them."""
        digests = [digest for digest, _ in base.contents()]

        def read(ranges: Sequence[Range]) -> bytes:
            found = io.BytesIO()  # grows in place, and gives its bytes without a copy: a reference may be as large as memory allows
            for each in ranges:
                digest = digests[each.content]
                source = self._lent if digest in self._lent else self._tree
                for piece in source.read(digest, each.offset, each.length):
                    found.write(piece)
            return found.getvalue()

        return read

    def close(self) -> None:
        """Release everything; may be called twice."""
        self._tree.close()
        self._lent.close()
