"""Contents laid end to end, read as one line of bytes, in bounded memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from sluice.formats.ted.frame import Range

_CHUNK = 4 * 1024 * 1024
"""Bytes read at a time: contents may be compressed in frames of this size."""
_CHUNKS = 4
"""Number of chunks that are kept."""


class Blob(Protocol):
    """A content with random access."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly these bytes."""


class Line:
    """Contents one after another; empty ones take no space."""

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self._blobs = blobs
        self._starts = list(accumulate((blob.size for blob in blobs), initial=0))
        self.size = self._starts.pop()
        self._chunks: dict[int, bytes] = {}

    def read(self, at: int, length: int) -> bytes:
        """Return bytes from ``at`` on, fewer at the end, none outside."""
        end = min(at + length, self.size)
        if at < 0 or at >= end:
            return b""
        first, last = at // _CHUNK, (end - 1) // _CHUNK
        if first == last:
            chunk, begin = self._chunk(first), first * _CHUNK
            return chunk[at - begin : end - begin]
        pieces = [self._chunk(number) for number in range(first, last + 1)]
        pieces[0] = pieces[0][at - first * _CHUNK :]
        pieces[-1] = pieces[-1][: end - last * _CHUNK]
        return b"".join(pieces)

    def read_whole(self, at: int, length: int) -> bytes:
        """Return bytes as ``read`` does, without keeping chunks: for long parts that are read once."""
        return b"".join(self._blobs[each.content].read(each.offset, each.length) for each in self.ranges(at, length))

    def ranges(self, at: int, length: int) -> tuple[Range, ...]:
        """Return the ranges of contents that make up these bytes."""
        found, end = [], min(at + length, self.size)
        content = bisect_right(self._starts, at) - 1
        while at < end:
            start, size = self._starts[content], self._blobs[content].size
            taken = min(end, start + size) - at
            if taken:
                found.append(Range(content, at - start, taken))
            at += taken
            content += 1
        return tuple(found)

    def within(self, at: int, end: int) -> list[tuple[int, int]]:
        """Return begin and size of each content that has bytes in this part."""
        if at >= end:
            return []
        first, last = bisect_right(self._starts, at) - 1, bisect_right(self._starts, end - 1)
        return [(self._starts[n], self._blobs[n].size) for n in range(first, last) if self._blobs[n].size]

    def _chunk(self, number: int) -> bytes:
        if number not in self._chunks:
            if len(self._chunks) == _CHUNKS:
                del self._chunks[next(iter(self._chunks))]
            self._chunks[number] = self.read_whole(number * _CHUNK, _CHUNK)
        return self._chunks[number]
