"""The ``.ted`` file (docs/formats.md section 4): one revision's contents, whole or for holders of a base, as TED's ``distfile.ted``.

Layout: magic, payload (frames one after another; a delta's recipe first), index, length of the index, magic. The writer writes it in one
pass; the index goes first on the wire. ``index.py`` defines the index and every limit. A file that breaks them is a StoreCorruptError:
to its readers a ``.ted`` is content at rest, its index was verified by signature before. ``delta/apply.py`` reads frames with a
reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from blake3 import blake3

from sluice.errors import StoreCorruptError
from sluice.formats.ted.frame import FRAME_MAX, Frame
from sluice.formats.ted.index import BLOCK, INDEX_MAX, TedIndex, index_bytes, name_of, parse_index
from sluice.formats.zstd import decompress_frame
from sluice.model.manifest import PLACEHOLDER, Manifest
from sluice.model.revision import RevisionNumber

MAGIC = b"SLUICET1"
END_MAGIC = b"TEDINDEX"
PAYLOAD_OFFSET = len(MAGIC)
TRAILER = 4 + len(END_MAGIC)
"""Bytes after the index."""

Content = tuple[str, int, Iterator[bytes]]
"""Digest, size and bytes of a content. Reading the bytes ends in a StoreCorruptError unless they have that digest."""


def trailer(index: bytes) -> bytes:
    """Return the bytes after the payload: index, its length, magic. ``MAGIC``, payload and trailer are the whole file."""
    return index + len(index).to_bytes(4, "big") + END_MAGIC


def open_ted(path: str | Path) -> tuple[TedIndex, bytes]:
    """Read the index of a ``.ted`` file, parsed and as bytes, but not the payload. Raises StoreCorruptError, OSError."""
    with open(path, "rb") as file:
        magic = file.read(PAYLOAD_OFFSET)
        length = file.seek(0, 2)
        file.seek(max(0, length - TRAILER))
        tail = file.read(TRAILER)
        size = int.from_bytes(tail[:4], "big")
        if magic != MAGIC or tail[4:] != END_MAGIC or size > min(INDEX_MAX, length - PAYLOAD_OFFSET - TRAILER):
            raise StoreCorruptError(f"{path} isn't a whole .ted file", remedy="delete it: it is made again when needed")
        file.seek(length - TRAILER - size)
        data = file.read(size)
    index = parse_index(data)
    if PAYLOAD_OFFSET + index.payload + size + TRAILER != length:
        raise StoreCorruptError(f"{path} has {length} bytes, not as many as its index says", remedy="delete it: it is made again")
    return index, data


def verify_payload(path: str | Path) -> TedIndex:
    """Read a ``.ted`` file through and check every block. Raises StoreCorruptError naming the first damaged block."""
    index, _ = open_ted(path)
    with open(path, "rb") as file:
        file.seek(PAYLOAD_OFFSET)
        for number, digest in enumerate(index.blocks):
            if blake3(file.read(index.block_length(number))).hexdigest() != digest:
                raise StoreCorruptError(f"{path}: block {number} no longer has its digest", remedy="delete it: it is made again")
    return index


def needed_contents(manifest: Manifest, base: Manifest | None = None) -> list[tuple[str, int]]:
    """Return the contents of a ``.ted`` of ``manifest`` for holders of ``base``, as (digest, size) in their order."""
    held = set() if base is None else {digest for digest, _ in base.contents()}
    return [content for content in manifest.contents() if content[0] not in held]


def read_contents(read: Callable[[int], bytes], index: TedIndex, needed: Sequence[tuple[str, int]]) -> Iterator[Content]:
    """Decode a payload of plain frames (version 1), content by content, in at most a few frames' memory.

    Args:
        read: Returns the next N bytes of the payload, as a file's ``read`` does; fewer at its end.
        needed: The ``needed_contents`` of the index's revision and base.
    Yields:
        Each content, as ``cut_contents``.
    Raises:
        StoreCorruptError: It is a delta, sizes don't add up, a frame differs from the index, or a content doesn't have its digest
            (named); also while a content's bytes are read.
    """
    if index.recipe is not None:
        raise StoreCorruptError(f"the .ted of {name_of(index)} is a delta from {index.base}, which can't be read alone")
    return cut_contents(_plaintext(read, index), index, needed)


def cut_contents(plaintext: Iterator[bytes], index: TedIndex, needed: Sequence[tuple[str, int]]) -> Iterator[Content]:
    """Cut the plaintext of a ``.ted`` into its contents.

    Args:
        plaintext: Pieces of ``index.plain`` bytes together; of a delta, those of ``delta.apply.read_delta``.
        needed: As for ``read_contents``. A placeholder in place of a digest (``#N``, of an outline) isn't compared: the caller hashes.
    Yields:
        Each content. Its bytes must be read before the next content is requested; unread bytes are skipped, but verified.
    Raises:
        StoreCorruptError: Sizes don't add up, or a content doesn't have its digest (named); also while a content's bytes are read.
    """
    name = name_of(index)
    total = sum(size for _, size in needed)
    if total != index.plain:
        raise StoreCorruptError(f"the .ted of {name} holds {index.plain} bytes, but its manifest needs {total}")
    pieces = _Pieces(plaintext, name)
    for digest, size in needed:
        content = _verified(pieces, digest, size, name)
        yield digest, size, content
        for _ in content:
            pass
    if any(plaintext):  # read to its end: only then a frame is checked for bytes behind it
        raise StoreCorruptError(f"the .ted of {name} holds more than its contents")


class TedWriter:
    """Writes a ``.ted`` in one pass: the recipe of a delta, frames, then ``finish``."""

    def __init__(
        self,
        write: Callable[[bytes], Any],
        *,
        distribution: str,
        revision: RevisionNumber,
        base: RevisionNumber | None,
        small: bool = False,
    ) -> None:
        self._write = write
        self._identity = (distribution, revision, base)
        self._small = small
        self._recipe: tuple[int, int] | None = None
        self._blocks: list[str] = []
        self._frames: list[Frame] = []
        self._hash = blake3()
        self._in_block = 0
        write(MAGIC)

    def recipe(self, data: bytes, plain: int) -> None:
        """Write the recipe's zstd frame of ``plain`` bytes of plaintext, before any other: it makes the file a delta."""
        self._recipe = len(data), plain
        self._append(data)

    def frame(self, data: bytes, plain: int) -> None:
        """Append one zstd frame of ``plain`` bytes of plaintext."""
        self.delta_frame(Frame(len(data), plain), data)

    def delta_frame(self, frame: Frame, data: bytes) -> None:
        """Append a frame of any kind; ``data`` has its ``length``."""
        self._frames.append(frame)
        self._append(data)

    def finish(self) -> tuple[TedIndex, bytes]:
        """Write the index and return it, parsed and as bytes; the file is whole then."""
        if self._in_block:
            self._end_block()
        payload = sum(f.length for f in self._frames) + (self._recipe[0] if self._recipe else 0)
        plain = sum(f.plain for f in self._frames)
        index = TedIndex(*self._identity, payload, plain, tuple(self._blocks), tuple(self._frames), self._recipe, self._small)
        data = index_bytes(index)
        self._write(trailer(data))
        return index, data

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            part = view[: BLOCK - self._in_block]
            self._hash.update(part)
            self._in_block += len(part)
            view = view[len(part) :]
            if self._in_block == BLOCK:
                self._end_block()
        self._write(data)

    def _end_block(self) -> None:
        self._blocks.append(self._hash.hexdigest())
        self._hash = blake3()
        self._in_block = 0


class _Pieces:
    """Plaintext, handed out in pieces of the requested length."""

    def __init__(self, plaintext: Iterator[bytes], name: str) -> None:
        self._plaintext = plaintext
        self._name = name
        self._piece = b""
        self._at = 0

    def take(self, most: int) -> bytes:
        """Return one to ``most`` bytes."""
        while self._at == len(self._piece):
            self._piece, self._at = b"", 0  # freed before the next is made: both may be as large as a group
            following = next(self._plaintext, None)
            if following is None:
                raise StoreCorruptError(f"the .ted of {self._name} ends before its contents do")
            self._piece = following
        most = min(most, FRAME_MAX)
        if self._at == 0 and most >= len(self._piece):
            piece = self._piece
        else:
            piece = self._piece[self._at : self._at + most]
        self._at += len(piece)
        return piece


def _plaintext(read: Callable[[int], bytes], index: TedIndex) -> Iterator[bytes]:
    name = name_of(index)
    for frame in index.frames:
        data = read(frame.length)
        if len(data) != frame.length:
            raise StoreCorruptError(f"the .ted of {name} ends within a frame")
        yield decompress_frame(data, frame.plain, what=f"the .ted of {name}")


def _verified(pieces: _Pieces, digest: str, size: int, name: str) -> Iterator[bytes]:
    total, remaining = blake3(), size
    known = digest[:1] != PLACEHOLDER
    while remaining:
        piece = pieces.take(remaining)
        if known:
            total.update(piece)
        remaining -= len(piece)
        yield piece
    if known and total.hexdigest() != digest:
        raise StoreCorruptError(f"the .ted of {name}: content {digest} doesn't have its digest")
