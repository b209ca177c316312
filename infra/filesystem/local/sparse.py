"""Write a file's content such that long runs of zeros take no space: images and databases stay as small as they were.

A run counts from 64 KiB on, as far as it fills whole blocks of 4 KiB of the file or goes on in the next piece. Each such run covers a
stretch of 32 KiB that begins at a multiple of that, so that for ordinary content one byte in 32 KiB is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from sluice.durable import EARLY, write_all, write_early

HOLE = 64 * 1024
"""Fewer zeros than this are written."""
_BLOCK = 4096
_STRETCH = HOLE // 2
_ZEROS = bytes(HOLE)


class SparseWriter:
    """Appends to a new file that is open for writing; call ``finish`` at the end. Both raise OSError."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._written = 0
        """Bytes of the file up to the zeros that end it."""
        self._zeros = 0
        """Zeros of a run that isn't written yet."""
        self._early = 0

    def write(self, piece: bytes | memoryview) -> None:
        """Append a piece."""
        done = 0
        for start, end in _runs(piece, self._written + self._zeros):
            self._append(piece[done:start])
            self._zeros += end - start
            done = end
        self._append(piece[done:] if done else piece)
        if self._written - self._early >= EARLY:
            write_early(self._fd, self._early, self._written - self._early)
            self._early = self._written

    def finish(self) -> None:
        """End the file."""
        if self._zeros < HOLE:
            self._write_zeros()
        else:
            os.ftruncate(self._fd, self._written + self._zeros)

    def _append(self, data: bytes | memoryview) -> None:
        if not data:
            return
        if self._zeros < HOLE:
            self._write_zeros()
        else:
            self._written = os.lseek(self._fd, self._zeros, os.SEEK_CUR)
            self._zeros = 0
        write_all(self._fd, data)
        self._written += len(data)

    def _write_zeros(self) -> None:
        write_all(self._fd, _ZEROS[: self._zeros])
        self._written += self._zeros
        self._zeros = 0


def _runs(piece: bytes | memoryview, offset: int) -> Iterator[tuple[int, int]]:
    """Yield runs of zeros in a piece that begins at ``offset`` of its file, as (start, end), each a stretch or more."""
    at, done = -offset % _STRETCH, -offset % _BLOCK
    while at + _STRETCH <= len(piece):
        if piece[at] or not _is_zero(piece, at, _STRETCH):
            at += _STRETCH
            continue
        start, end = at, at + _STRETCH
        while start - _BLOCK >= done and _is_zero(piece, start - _BLOCK, _BLOCK):
            start -= _BLOCK
        while _is_zero(piece, end, _STRETCH):
            end += _STRETCH
        at = end
        while _is_zero(piece, end, _BLOCK):
            end += _BLOCK
        if start < _BLOCK and _is_zero(piece, 0, start):
            start = 0  # it may go on from the piece before,
        if len(piece) - end < _BLOCK and _is_zero(piece, end, len(piece) - end):
            end = len(piece)  # and into the one after
        yield start, end
        done = end


def _is_zero(piece: bytes | memoryview, at: int, length: int) -> bool:
    """Whether the piece has so many bytes at a position, all of them zeros."""
    return at + length <= len(piece) and bytes(piece[at : at + length]) == _ZEROS[:length]
