"""Reads contents out of a pack one by one, however damaged it is, and finds out again what lies where in one whose index is lost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from blake3 import blake3

from sluice.errors import StoreCorruptError
from sluice.formats.pack import PACK_MAGIC, PackIndex
from sluice.formats.ted.frame import FRAME_MAX
from sluice.formats.zstd import decompress_frame, first_frame, frame_max


class PackReader:
    """One pack, open for reading; the last frame is kept decompressed. A context."""

    def __init__(self, path: Path, index: PackIndex) -> None:
        self._path, self._index = path, index
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by the context
        self._held: tuple[int, bytes] = (-1, b"")
        self.read = 0
        """Bytes read from the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def content(self, digest: str, size: int, first: int) -> Iterator[bytes]:
        """Its bytes, piece by piece; ends in a StoreCorruptError unless they have that digest."""
        hasher = blake3()
        for piece in self.pieces(first, size):
            hasher.update(piece)
            yield bytes(piece)
        if hasher.hexdigest() != digest:
            raise StoreCorruptError(f"content {digest} no longer has its digest")

    def pieces(self, first: int, size: int) -> Iterator[memoryview]:
        """A range of the plaintext. Raises StoreCorruptError where a frame can't be decompressed."""
        at, end = first, first + size
        while at < end:
            number, start = self._index.frame_at(at)
            piece = memoryview(self._plain(number))[at - start : end - start]
            yield piece
            at += len(piece)

    def _plain(self, number: int) -> bytes:
        if self._held[0] != number:
            length, plain = self._index.frames[number]
            self._file.seek(self._index.frame_start(number))
            data = self._file.read(length)
            self.read += len(data)
            self._held = (number, decompress_frame(data, plain, what=f"frame {number}"))
        return self._held[1]


def found_again(path: Path, known: Mapping[str, int], after: Mapping[str, str]) -> PackIndex:
    """The index of a pack that lost it: its frames as they follow one another, and the contents that are recognised by their digests.

    Contents lie one after another, so each is looked for where the one before ends; behind one that nobody knows, at the next frame.

    Args:
        known: Contents that may be in it, by digest: sizes.
        after: By digest, the content that follows it in a manifest: the first guess.
    """
    index = PackIndex(tuple(_frame_lengths(path)), ())
    sizes: dict[int, set[str]] = {}
    for digest, size in known.items():
        sizes.setdefault(size, set()).add(digest)
    found: list[tuple[str, int, int]] = []
    starts = [0]
    for _, plain in index.frames:
        starts.append(starts[-1] + plain)
    at, guess = 0, ""
    with PackReader(path, index) as reader:
        while at < index.plain or known.get(guess) == 0:
            digest = (
                guess
                if guess in known and _is_at(reader, guess, known[guess], at, index.plain)
                else _any_at(reader, sizes, at, index.plain)
            )
            if digest:
                found.append((digest, known[digest], at))
                at, guess = at + known[digest], after.get(digest, "")
            else:
                at, guess = starts[bisect_right(starts, at)], ""
    return PackIndex(index.frames, tuple(found))


def _frame_lengths(path: Path) -> Iterator[tuple[int, int]]:
    """Length and plaintext length of each frame, up to the first that is damaged."""
    with open(path, "rb") as file:
        at, length = len(PACK_MAGIC), file.seek(0, 2)
        while at < length:
            file.seek(at)
            frame = first_frame(file.read(frame_max(FRAME_MAX)), most=FRAME_MAX)
            if frame is None:
                return
            yield frame
            at += frame[0]


def _is_at(reader: PackReader, digest: str, size: int, at: int, end: int) -> bool:
    if at + size > end:
        return False
    hasher = blake3()
    try:
        for piece in reader.pieces(at, size):
            hasher.update(piece)
    except StoreCorruptError:
        return False
    return hasher.hexdigest() == digest


def _any_at(reader: PackReader, sizes: Mapping[int, set[str]], at: int, end: int) -> str:
    """The content that begins at ``at``; empty if it is none that is known. One pass, a digest at every size there is."""
    hasher, done = blake3(), 0
    for size in sorted(size for size in sizes if size and at + size <= end):
        try:
            for piece in reader.pieces(at + done, size - done):
                hasher.update(piece)
        except StoreCorruptError:
            return ""
        done = size
        if (digest := hasher.hexdigest()) in sizes[size]:
            return digest
    return ""
