"""Read contents out of one pack, however damaged it is, and rebuild the index of a pack that lost it."""

from __future__ import annotations

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
        self._cached: tuple[int, bytes] = (-1, b"")
        self.read = 0
        """Bytes read from the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def content(self, digest: str, size: int, first: int) -> Iterator[bytes]:
        """Yield a content piece by piece; ends in a StoreCorruptError unless it has that digest."""
        hasher = blake3()
        for piece in self.pieces(first, size):
            hasher.update(piece)
            yield bytes(piece)
        _check(hasher.hexdigest(), digest)

    def check(self, digest: str, size: int, first: int) -> None:
        """Raise StoreCorruptError unless these bytes have that digest."""
        hasher = blake3()
        for piece in self.pieces(first, size):
            hasher.update(piece)
        _check(hasher.hexdigest(), digest)

    def is_at(self, digest: str, size: int, first: int) -> bool:
        """Whether these bytes are there and have that digest."""
        try:
            self.check(digest, size, first)
        except StoreCorruptError:
            return False
        return True

    def pieces(self, first: int, size: int) -> Iterator[memoryview]:
        """Yield a range of the plaintext, frame by frame. Raises StoreCorruptError if a frame can't be decompressed."""
        for number, start, end in self._index.spans(first, size):
            yield memoryview(self._plain(number))[start:end]

    def _plain(self, number: int) -> bytes:
        if self._cached[0] != number:
            length, plain = self._index.frames[number]
            self._file.seek(self._index.frame_start(number))
            data = self._file.read(length)
            self.read += len(data)
            self._cached = (number, decompress_frame(data, plain, what=f"frame {number}"))
        return self._cached[1]


def _check(found: str, digest: str) -> None:
    if found != digest:
        raise StoreCorruptError(f"content {digest} no longer has its digest")


def rebuild_index(path: Path, known: Mapping[str, int], after: Mapping[str, str]) -> PackIndex:
    """Make the index of a pack anew: its frames as they follow one another, and the contents that are recognised by their digests.

    Contents lie one after another, so each is looked for where the one before ends; behind one that isn't recognised, at the next frame.

    Args:
        known: Sizes of the contents that may be in it, by digest.
        after: By digest, the content that follows it in a manifest: the first guess.
    """
    index = PackIndex(tuple(_frame_lengths(path)), ())
    sizes: dict[int, set[str]] = {}
    for digest, size in known.items():
        sizes.setdefault(size, set()).add(digest)
    found: list[tuple[str, int, int]] = []
    at, guess = 0, ""
    with PackReader(path, index) as reader:
        while at < index.plain or known.get(guess) == 0:
            fits = guess in known and at + known[guess] <= index.plain and reader.is_at(guess, known[guess], at)
            digest = guess if fits else _any_at(reader, sizes, at, index.plain)
            if digest:
                found.append((digest, known[digest], at))
                at, guess = at + known[digest], after.get(digest, "")
            else:
                at, guess = index.next_frame(at), ""
    return PackIndex(index.frames, tuple(found))


def _frame_lengths(path: Path) -> Iterator[tuple[int, int]]:
    """Yield length and plaintext length of each frame, up to the first that is damaged."""
    with open(path, "rb") as file:
        at, length = len(PACK_MAGIC), file.seek(0, 2)
        while at < length:
            file.seek(at)
            frame = first_frame(file.read(frame_max(FRAME_MAX)), most=FRAME_MAX)
            if frame is None:
                return
            yield frame
            at += frame[0]


def _any_at(reader: PackReader, sizes: Mapping[int, set[str]], at: int, end: int) -> str:
    """Return the known content that begins at ``at``, or nothing. One pass: a digest at every size there is."""
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
