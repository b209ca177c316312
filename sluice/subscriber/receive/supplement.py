"""Receive a supplement: contents that a Subscriber's tree lacks (docs/adr/0014), each believed only by its signed digest and size."""

from __future__ import annotations

from collections.abc import Sequence

from sluice.durable import make_directory, replace_atomically, sync_directory
from sluice.errors import StoreCorruptError, TamperedError
from sluice.formats.canonical import canonical_bytes
from sluice.formats.ted.file import BLOCK
from sluice.formats.ted.frame import FRAME_MAX
from sluice.formats.ted.index import parse_index
from sluice.formats.zstd import frame_max
from sluice.model.revision import RevisionNumber
from sluice.subscriber.held.directory import LENT, DistributionDirectory
from sluice.subscriber.held.supplement import SUPPLEMENTS_MAX, digests_in, place_of, supplement_files, verify_file
from sluice.subscriber.receive.blocks import BlockReceiver, check_room

_PART = f"{LENT}arriving"


class SupplementReceiver:
    """One put of lent contents: ``begin`` with its index, ``feed`` until all is there, ``finish``. The caller holds the lock."""

    def __init__(self, held: DistributionDirectory, revision: RevisionNumber, contents: Sequence[tuple[str, int]]) -> None:
        """
        Args:
            contents: Digest and size of each, in their order, as signed manifests have them.
        """
        self._held = held
        self._place = place_of(held, revision)
        self._what = f"what is lent of {held.name} {revision}"
        self._contents = contents
        self._blocks = BlockReceiver(self._what)
        self._index_bytes = b""

    @property
    def offset(self) -> int:
        """Bytes of payload that are here and verified."""
        return self._blocks.offset

    @property
    def is_complete(self) -> bool:
        """Whether every block is here."""
        return self._blocks.is_complete

    def begin(self, data: bytes, payload: int, *, min_free: int = 0) -> int:
        """Check the index, then what arrived in earlier tries; returns where the sender goes on.

        Raises:
            TamperedError: It isn't the index of these contents, one of them lies here already, or too many were lent.
            NoSpaceError.
        """
        try:
            index = parse_index(data)
        except StoreCorruptError as error:
            raise TamperedError(f"{self._what}: {error.message}", remedy="the sender is broken or of another version") from error
        plain = sum(size for _, size in self._contents)
        if index.recipe is not None or index.base is not None or index.plain != plain or index.payload != payload:
            raise TamperedError(f"{self._what} has an index of other contents", remedy="the sender is broken or of another version")
        if len(supplement_files(self._place)) >= SUPPLEMENTS_MAX:
            raise TamperedError(f"{self._what}: {SUPPLEMENTS_MAX} files were lent already", remedy="send the revision whole")
        for path in supplement_files(self._place):
            if again := digests_in(path).intersection(digest for digest, _ in self._contents):
                raise TamperedError(f"{self._what}: {min(again)} lies in {path.name} already", remedy="complete it: that says what lacks")
        make_directory(self._place)
        self._blocks.open(self._place / _PART, index)
        check_room(self._held.directory, payload - self.offset + len(data), self._what, min_free=min_free)
        self._index_bytes = data
        return self.offset

    def feed(self, data: bytes) -> bool:
        """As ``BlockReceiver.feed``."""
        return self._blocks.feed(data)

    def finish(self) -> None:
        """All is here: verify every content, then keep it durably. Raises TamperedError: nothing is kept."""
        self._blocks.seal(self._index_bytes)
        part = self._place / _PART
        try:
            verify_file(part, self._contents)
        except StoreCorruptError as error:
            part.unlink()
            raise TamperedError(f"{self._what} isn't what the manifest names: {error.message}", remedy="send the revision whole") from error
        taken = {path.stem for path in supplement_files(self._place)}
        name = next(name for name in (f"{LENT}{number}" for number in range(SUPPLEMENTS_MAX + 1)) if name not in taken)
        replace_atomically(
            self._place / f"{name}.json", canonical_bytes({"version": 1, "contents": [list(each) for each in self._contents]})
        )
        part.rename(self._place / f"{name}.ted")
        sync_directory(self._place)

    def close(self) -> None:
        """The put is over; what arrived stays for the next."""
        self._blocks.close()


def index_max(contents: Sequence[tuple[str, int]]) -> int:
    """The most bytes that an index of these contents takes: honest frames are full, or end where a large content begins."""
    plain = sum(size for _, size in contents)
    large = sum(size > FRAME_MAX for _, size in contents)
    blocks, frames = frame_max(plain) // BLOCK + 2, plain // FRAME_MAX * 2 + 2 * large + 2
    return 4096 + 70 * blocks + 32 * frames
