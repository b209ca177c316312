"""Packs, in which the Distributor's store keeps each content once (docs/formats.md section 3). Bytes only; ``infra/store`` has the files.

A pack's plaintext is its contents one after another; its frames cut that plaintext, so that whole frames can be copied into a ``.ted``.
A content larger than a frame begins a frame of its own. The index is named by its own digest, which reveals damage.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, BinaryIO

from blake3 import blake3

from sluice.errors import StoreCorruptError, TrustError
from sluice.formats.canonical import Fields, canonical_bytes
from sluice.formats.ted.frame import FRAME_MAX
from sluice.formats.zstd import compress_frame, frame_max

PACK_MAGIC = b"SLUICEP1"
PACK_PLAIN = 256 * 1024 * 1024
"""Bytes of plaintext after which the next content begins another pack, so that pruning can delete whole packs."""
PACK_INDEX_MAX = 256 * 1024 * 1024
"""Most bytes of a pack's index."""
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PackIndex:
    """The positions of frames and contents in a pack."""

    frames: tuple[tuple[int, int], ...]
    """Length and plaintext length of each frame."""
    contents: tuple[tuple[str, int, int], ...]
    """Digest, size and first byte in the plaintext of each content, in order."""
    _plain_starts: list[int] = field(init=False, repr=False, compare=False)
    _starts: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_plain_starts", list(accumulate((f[1] for f in self.frames), initial=0)))
        object.__setattr__(self, "_starts", list(accumulate((f[0] for f in self.frames), initial=len(PACK_MAGIC))))

    @property
    def plain(self) -> int:
        """Bytes of plaintext."""
        return self._plain_starts[-1]

    @property
    def length(self) -> int:
        """Bytes of the whole pack file."""
        return self._starts[-1]

    def spans(self, first: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Yield the frames of a range of the plaintext: each one's number, and the range's begin and end within it."""
        at, end = first, first + length
        number = bisect_right(self._plain_starts, at) - 1
        while at < end:
            start, plain = self._plain_starts[number], self.frames[number][1]
            yield number, at - start, min(plain, end - start)
            at, number = start + plain, number + 1

    def next_frame(self, position: int) -> int:
        """Return the first byte in the plaintext of the frame after the one that holds ``position``."""
        return self._plain_starts[bisect_right(self._plain_starts, position)]

    def frame_start(self, number: int) -> int:
        """Return a frame's first byte in the pack file."""
        return self._starts[number]


def pack_index_bytes(index: PackIndex) -> bytes:
    """Return the one byte string of an index."""
    return canonical_bytes({"version": 1, "frames": index.frames, "contents": index.contents})


def pack_name(data: bytes) -> str:
    """Return the name of the pack whose index has these bytes."""
    return blake3(data).hexdigest()


def parse_pack_index(data: bytes, name: str) -> PackIndex:
    """Read the index of the pack ``name``, with all sums and limits checked. Raises StoreCorruptError."""
    what = f"the index of pack {name}"
    if len(data) > PACK_INDEX_MAX or pack_name(data) != name:
        raise StoreCorruptError(f"{what} no longer has its digest")
    try:
        with Fields.parse(data, limit=PACK_INDEX_MAX, what=what, values=PACK_INDEX_MAX) as fields:
            fields.constant("version", 1)
            frames = fields.items("frames", limit=PACK_INDEX_MAX)
            contents = fields.items("contents", limit=PACK_INDEX_MAX)
    except TrustError as error:
        raise StoreCorruptError(error.message) from error
    index = PackIndex(tuple(_frames(frames, what)), tuple(_contents(contents, what)))
    if index.contents and index.contents[-1][1] + index.contents[-1][2] != index.plain:
        raise StoreCorruptError(f"{what}: contents and frames don't end together")
    return index


class PackWriter:
    """Writes one pack into an empty file, content by content."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frames: list[tuple[int, int]] = []
        self._contents: list[tuple[str, int, int]] = []
        self._pending = bytearray()
        self._plain = 0
        file.write(PACK_MAGIC)

    @property
    def plain(self) -> int:
        """Bytes of plaintext so far."""
        return self._plain

    def put(self, digest: str, size: int, pieces: Iterable[bytes]) -> None:
        """Append a content that isn't in this pack yet. If ``pieces`` raises, the pack is unchanged.

        Args:
            pieces: The content; the caller is responsible for its digest.
        Raises:
            StoreCorruptError: ``pieces`` has another size.
        """
        if size <= FRAME_MAX:
            data = b"".join(pieces)
            if len(data) != size:
                raise StoreCorruptError(f"content {digest} has {len(data)} bytes, not {size}")
            self._pending += data
            self._cut()
        else:
            self._put_large(digest, size, pieces)
        self._contents.append((digest, size, self._plain))
        self._plain += size

    def finish(self) -> PackIndex:
        """Write the pending bytes and return the index; the pack is whole then."""
        self._flush()
        return PackIndex(tuple(self._frames), tuple(self._contents))

    def _put_large(self, digest: str, size: int, pieces: Iterable[bytes]) -> None:
        self._flush()
        file_end, frames, done = self._file.tell(), len(self._frames), 0
        try:
            for piece in pieces:
                done += len(piece)
                if done > size:
                    break
                self._pending += piece
                self._cut()
            if done != size:
                raise StoreCorruptError(f"content {digest} has {done} bytes, not {size}")
        except BaseException:
            self._file.seek(file_end)
            self._file.truncate()
            del self._frames[frames:]
            self._pending.clear()
            raise

    def _cut(self) -> None:
        while len(self._pending) >= FRAME_MAX:
            with memoryview(self._pending) as view:
                self._frame(view[:FRAME_MAX])
            del self._pending[:FRAME_MAX]

    def _flush(self) -> None:
        if self._pending:
            with memoryview(self._pending) as view:
                self._frame(view)
            self._pending.clear()

    def _frame(self, plain: memoryview) -> None:
        frame = compress_frame(plain)
        self._frames.append((len(frame), len(plain)))
        plain.release()
        self._file.write(frame)


def _frames(items: list[Any], what: str) -> Iterator[tuple[int, int]]:
    for item in items:
        if not isinstance(item, list) or len(item) != 2 or type(item[0]) is not int or type(item[1]) is not int:
            raise StoreCorruptError(f"{what}: a frame isn't two numbers")
        length, plain = item
        if not 0 < plain <= FRAME_MAX or not 0 < length <= frame_max(plain):
            raise StoreCorruptError(f"{what}: a frame of {length} bytes for {plain} is beyond the limits")
        yield length, plain


def _contents(items: list[Any], what: str) -> Iterator[tuple[str, int, int]]:
    at = 0
    for item in items:
        if not isinstance(item, list) or len(item) != 3 or type(item[1]) is not int or type(item[2]) is not int:
            raise StoreCorruptError(f"{what}: a content isn't a digest and two numbers")
        digest, size, first = item
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or size < 0 or first != at:
            raise StoreCorruptError(f"{what}: a content has no digest or doesn't follow the one before")
        at += size
        yield digest, size, first
