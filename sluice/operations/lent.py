"""Contents that a Subscriber was lent because its tree lacks them (docs/adr/0014): received beside a revision, kept until it is extracted.

They come in a whole ``.ted`` whose index nobody signed: it is believed only as far as each content has the digest, and the size, that a
signed manifest names. So what a sender can have stored here is bounded by the manifests and by LENT_MAX.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from sluice.durable import make_directory, replace_atomically, sync_directory
from sluice.errors import NotFoundError, StoreCorruptError, TamperedError, TrustError
from sluice.formats.canonical import Fields, canonical_bytes, parse_canonical
from sluice.formats.protocol import LACKS_MAX, MESSAGE_MAX
from sluice.formats.ted import BLOCK, FRAME_MAX, PAYLOAD_OFFSET, Content, open_ted, read_contents
from sluice.formats.ted_index import TedIndex, parse_index
from sluice.formats.zstd import decompress_frame, frame_max
from sluice.model.revision import RevisionNumber
from sluice.operations.held import LENT, TED, HeldDistribution
from sluice.operations.receive_blocks import BlockReceiver, check_room

LENT_MAX = 16
"""Most files that are lent for one revision."""
_PART = f"{LENT}arriving"


def place_of(held: HeldDistribution, revision: RevisionNumber) -> Path:
    """The directory of a revision that is held, extracted, or a delta that waits to be completed. Raises NotFoundError for any other."""
    arriving, status = held.receiving(revision), held.status()
    if (arriving / TED).exists():
        return arriving
    if str(revision) in status.received or (status.extracted and status.extracted.revision == str(revision)):
        return held.revision(revision)
    raise NotFoundError(f"{held.name} {revision} isn't here", remedy="send it first")


class LentReceiver:
    """One put of lent contents: ``begin`` with its index, ``feed`` until all is there, ``finish``. The caller holds the lock."""

    def __init__(self, held: HeldDistribution, revision: RevisionNumber, contents: Sequence[tuple[str, int]]) -> None:
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
        if len(_files(self._place)) >= LENT_MAX:
            raise TamperedError(f"{self._what}: {LENT_MAX} files were lent already", remedy="send the revision whole")
        for path in _files(self._place):
            if again := _digests(path).intersection(digest for digest, _ in self._contents):
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
            _verify(part, self._contents)
        except StoreCorruptError as error:
            part.unlink()
            raise TamperedError(f"{self._what} isn't what the manifest names: {error.message}", remedy="send the revision whole") from error
        taken = {path.stem for path in _files(self._place)}
        name = next(name for name in (f"{LENT}{number}" for number in range(LENT_MAX + 1)) if name not in taken)
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


class LentContents:
    """Everything that was lent beside one revision, verified as it is opened; what is damaged is removed, as if never lent."""

    def __init__(self, place: Path) -> None:
        self._files: list[_LentFile] = []
        self._where: dict[str, tuple[_LentFile, int, int]] = {}
        for path in _files(place):
            try:
                file = _LentFile(path)
            except (StoreCorruptError, TrustError, OSError):
                path.unlink()
                path.with_suffix(".json").unlink(missing_ok=True)
                continue
            self._files.append(file)
            start = 0
            for digest, size in file.contents:
                self._where.setdefault(digest, (file, start, size))
                start += size

    def __contains__(self, digest: object) -> bool:
        return digest in self._where

    def read(self, digest: str, offset: int, length: int) -> Iterator[bytes]:
        """A part of a content, which is here and has it, in pieces."""
        file, start, _ = self._where[digest]
        return file.read(start + offset, length)

    def contents(self, wanted: Collection[str]) -> Iterator[Content]:
        """Those that are here, verified once more as their bytes are taken."""
        given: set[str] = set()
        for file in self._files:
            for digest, size, pieces in file.all_contents():
                if digest in wanted and digest not in given:
                    given.add(digest)
                    yield digest, size, pieces

    def close(self) -> None:
        """Release the files; may be called twice."""
        for file in self._files:
            file.close()


class _LentFile:
    def __init__(self, path: Path) -> None:
        self.contents = _listed(path.with_suffix(".json"))
        self._name = str(path)
        self._index = _verify(path, self.contents)
        self._payload = list(accumulate((frame.length for frame in self._index.frames), initial=PAYLOAD_OFFSET))
        self._plain = list(accumulate((frame.plain for frame in self._index.frames), initial=0))
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed with us
        self._last = (-1, b"")

    def read(self, at: int, length: int) -> Iterator[bytes]:
        while length:
            number = bisect_right(self._plain, at) - 1
            start = at - self._plain[number]
            piece = self._frame(number)[start : start + length]
            yield piece
            at += len(piece)
            length -= len(piece)

    def all_contents(self) -> Iterator[Content]:
        self._file.seek(PAYLOAD_OFFSET)
        return read_contents(self._file.read, self._index, self.contents)

    def close(self) -> None:
        self._file.close()

    def _frame(self, number: int) -> bytes:
        if self._last[0] != number:
            frame = self._index.frames[number]
            data = os.pread(self._file.fileno(), frame.length, self._payload[number])
            self._last = number, decompress_frame(data, frame.plain, what=self._name)
        return self._last[1]


def remove_lent(place: Path) -> None:
    """Once the revision is extracted, or comes whole."""
    for path in place.glob(f"{LENT}*"):
        path.unlink()


def _files(place: Path) -> list[Path]:
    return sorted(place.glob(f"{LENT}*.ted"))


def _listed(path: Path) -> Sequence[tuple[str, int]]:
    fields = Fields(parse_canonical(path.read_bytes(), limit=MESSAGE_MAX, what=str(path), values=4 * LACKS_MAX), what=str(path))
    fields.constant("version", 1)
    return [(str(digest), int(size)) for digest, size in fields.items("contents", limit=LACKS_MAX)]


def _digests(path: Path) -> set[str]:
    """Of what a lent file has; none where that can't be read, since completing removes it then."""
    try:
        return {digest for digest, _ in _listed(path.with_suffix(".json"))}
    except (StoreCorruptError, TrustError, OSError):
        return set()


def _verify(path: Path, contents: Sequence[tuple[str, int]]) -> TedIndex:
    """Read a file through and hash every content. Raises StoreCorruptError."""
    index, _ = open_ted(path)
    with open(path, "rb") as file:
        file.seek(PAYLOAD_OFFSET)
        for _, _, pieces in read_contents(file.read, index, contents):
            for _ in pieces:
                pass
    return index
