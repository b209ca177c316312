"""Receive a supplement: contents missing from a Subscriber's tree (docs/adr/0014), each believed only by its signed digest and size."""

from __future__ import annotations

from collections.abc import Sequence

from sluice.durable import make_directory, replace_atomically, sync_directory
from sluice.errors import StoreCorruptError, TamperedError
from sluice.formats.canonical import canonical_bytes
from sluice.formats.ted.frame import FRAME_MAX
from sluice.formats.ted.index import BLOCK, parse_index
from sluice.formats.zstd import frame_max
from sluice.model.revision import RevisionNumber
from sluice.subscriber.held.directory import SENDER_BROKEN, SUPPLEMENT_PREFIX, DistributionDirectory
from sluice.subscriber.held.supplement import SUPPLEMENTS_MAX, digests_in, supplement_directory, supplement_files, verify_file
from sluice.subscriber.receive.blocks import BlockReceiver, check_free_space

_PART = f"{SUPPLEMENT_PREFIX}arriving"


class SupplementReceiver(BlockReceiver):
    """One put of a supplement: ``begin`` with its index, ``feed`` until every block is here, ``finish``. The caller holds the lock."""

    def __init__(self, held: DistributionDirectory, revision: RevisionNumber, contents: Sequence[tuple[str, int]]) -> None:
        """
        Args:
            contents: Digest and size of each, in their order, as signed manifests have them.
        """
        super().__init__(f"the supplement of {held.name} {revision}")
        self._held = held
        self._directory = supplement_directory(held, revision)
        self._contents = contents
        self._index_bytes = b""

    def begin(self, data: bytes, payload: int, *, min_free: int = 0) -> int:
        """Check the index, then the blocks that arrived in earlier tries; returns the offset at which the sender goes on.

        Raises:
            TamperedError: It isn't the index of these contents, one of them is here already, or there are too many supplements.
            NoSpaceError.
        """
        try:
            index = parse_index(data)
        except StoreCorruptError as error:
            raise TamperedError(f"{self._name}: {error.message}", remedy=SENDER_BROKEN) from error
        plain = sum(size for _, size in self._contents)
        if index.recipe is not None or index.base is not None or index.plain != plain or index.payload != payload:
            raise TamperedError(f"{self._name} has an index of other contents", remedy=SENDER_BROKEN)
        if len(supplement_files(self._directory)) >= SUPPLEMENTS_MAX:
            remedy = f"run: sluice distribute {self._held.name} --rebaseline"
            raise TamperedError(f"{self._name}: there are {SUPPLEMENTS_MAX} files already", remedy=remedy)
        for path in supplement_files(self._directory):
            if again := digests_in(path).intersection(digest for digest, _ in self._contents):
                raise TamperedError(f"{self._name}: {min(again)} is in {path.name} already", remedy=SENDER_BROKEN)
        make_directory(self._directory)
        self.open(self._directory / _PART, index)
        check_free_space(self._held.directory, payload - self.offset + len(data), self._name, min_free=min_free)
        self._index_bytes = data
        return self.offset

    def finish(self) -> None:
        """Verify every content once all blocks are here, then keep it durably. Raises TamperedError: nothing is kept."""
        self.seal(self._index_bytes)
        part = self._directory / _PART
        try:
            verify_file(part, self._contents)
        except StoreCorruptError as error:
            part.unlink()
            raise TamperedError(f"{self._name} has other contents than the manifest: {error.message}", remedy=SENDER_BROKEN) from error
        taken = {path.stem for path in supplement_files(self._directory)}
        name = next(name for name in (f"{SUPPLEMENT_PREFIX}{number}" for number in range(SUPPLEMENTS_MAX + 1)) if name not in taken)
        replace_atomically(
            self._directory / f"{name}.json", canonical_bytes({"version": 1, "contents": [list(each) for each in self._contents]})
        )
        part.rename(self._directory / f"{name}.ted")
        sync_directory(self._directory)


def index_max(contents: Sequence[tuple[str, int]]) -> int:
    """Return the most bytes that an index of these contents takes: honest frames are full, or end where a large content begins."""
    plain = sum(size for _, size in contents)
    large = sum(size > FRAME_MAX for _, size in contents)
    blocks, frames = frame_max(plain) // BLOCK + 2, plain // FRAME_MAX * 2 + 2 * large + 2
    return 4096 + 70 * blocks + 32 * frames
