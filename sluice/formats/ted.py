"""The ``.ted`` file (docs/formats.md section 4): one revision's contents, whole or for holders of a base, as TED's ``distfile.ted``.

Layout: magic, payload (zstd frames one after another), index, length of the index, magic. The writer goes through it once; the index goes
first on the wire. Everything a reader allocates is bounded by the index, and the index by constants here, before a byte is decompressed.
What doesn't fit is a StoreCorruptError: to its readers a ``.ted`` is content at rest, its index was verified by signature before.
Frames of deltas and encryption are of later versions, which this reader refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from sluice.errors import NotFoundError, StoreCorruptError, TrustError
from sluice.formats.canonical import Fields, canonical_bytes, parse_canonical
from sluice.formats.zstd import decompress_frame, frame_max
from sluice.model.manifest import Manifest
from sluice.model.names import name_is_valid
from sluice.model.revision import RevisionNumber

MAGIC = b"SLUICET1"
END_MAGIC = b"TEDINDEX"
PAYLOAD_OFFSET = len(MAGIC)
BLOCK = 1024 * 1024
"""Bytes of payload with a digest of their own; the last block may be shorter."""
FRAME_MAX = 4 * 1024 * 1024
"""Most bytes of plaintext in a frame."""
INDEX_MAX = 256 * 1024 * 1024
"""Most bytes of an index: enough for about 3 TiB of payload."""
TRAILER = 4 + len(END_MAGIC)
"""Bytes behind the index."""

_DIGEST = re.compile("[0-9a-f]{64}")

Content = tuple[str, int, Iterator[bytes]]
"""Digest, size and bytes of a content. The bytes end in a StoreCorruptError unless they have that digest."""


@dataclass(frozen=True, slots=True)
class TedIndex:
    """What stands where in a ``.ted``; the TUF target that signs it."""

    distribution: str
    revision: RevisionNumber
    base: RevisionNumber | None
    """The revision whose contents are left out; None: all are there."""
    payload: int
    """Bytes of all frames."""
    plain: int
    """Bytes of all frames' plaintext."""
    blocks: tuple[str, ...]
    """BLAKE3 of each block of the payload."""
    frames: tuple[tuple[int, int], ...]
    """Length and plaintext length of each frame."""

    def block_length(self, number: int) -> int:
        """Bytes of one block, counted from 0."""
        return min(BLOCK, self.payload - number * BLOCK)


def index_bytes(index: TedIndex) -> bytes:
    """The one byte string of an index."""
    return canonical_bytes(_as_json(index))


def parse_index(data: bytes) -> TedIndex:
    """Read an index and check all its sums and limits. Raises StoreCorruptError."""
    try:
        fields = Fields(parse_canonical(data, limit=INDEX_MAX, what="an index", values=INDEX_MAX), what="an index")
        fields.constant("version", 1)
        index = TedIndex(
            distribution=fields.text("distribution"),
            revision=RevisionNumber.parse(fields.text("revision")),
            base=RevisionNumber.parse(fields.text("base")) if fields.optional("base") else None,
            payload=fields.number("payload"),
            plain=fields.number("plain"),
            blocks=_blocks(fields.items("blocks", limit=INDEX_MAX)),
            frames=_frames(fields.items("frames", limit=INDEX_MAX)),
        )
        fields.constant("block", BLOCK)
        if fields.optional("encryption"):
            raise StoreCorruptError("an index says the payload is encrypted, which this version can't read")
        fields.done()
    except (TrustError, NotFoundError) as error:
        raise StoreCorruptError(f"no index: {error.message}") from error
    if not name_is_valid(index.distribution):
        raise StoreCorruptError(f"an index: {index.distribution!r:.80} is no name")
    if sum(f[0] for f in index.frames) != index.payload or sum(f[1] for f in index.frames) != index.plain:
        raise StoreCorruptError(f"the index of {_name(index)}: its frames don't add up to its payload and plaintext")
    if len(index.blocks) != -(-index.payload // BLOCK):
        raise StoreCorruptError(f"the index of {_name(index)} has {len(index.blocks)} blocks for {index.payload} bytes")
    if index_bytes(index) != data:
        raise StoreCorruptError(f"the index of {_name(index)} isn't canonical")
    return index


def trailer(index: bytes) -> bytes:
    """What follows the payload: index, its length, magic. ``MAGIC``, payload and this are the whole file."""
    return index + len(index).to_bytes(4, "big") + END_MAGIC


def open_ted(path: str | Path) -> tuple[TedIndex, bytes]:
    """The index of a ``.ted`` file, parsed and as bytes. The payload isn't read. Raises StoreCorruptError, OSError."""
    with open(path, "rb") as file:
        magic = file.read(PAYLOAD_OFFSET)
        length = file.seek(0, 2)
        file.seek(max(0, length - TRAILER))
        tail = file.read(TRAILER)
        size = int.from_bytes(tail[:4], "big")
        if magic != MAGIC or tail[4:] != END_MAGIC or size > min(INDEX_MAX, length - PAYLOAD_OFFSET - TRAILER):
            raise StoreCorruptError(f"{path} is no whole .ted file", remedy="delete it: it is made again when needed")
        file.seek(length - TRAILER - size)
        data = file.read(size)
    index = parse_index(data)
    if PAYLOAD_OFFSET + index.payload + size + TRAILER != length:
        raise StoreCorruptError(f"{path} has {length} bytes, which isn't what its index says", remedy="delete it: it is made again")
    return index, data


def verify_payload(path: str | Path) -> TedIndex:
    """Read a ``.ted`` file through and check every block. Raises StoreCorruptError naming the first block that doesn't fit."""
    index, _ = open_ted(path)
    with open(path, "rb") as file:
        file.seek(PAYLOAD_OFFSET)
        for number, digest in enumerate(index.blocks):
            if blake3(file.read(index.block_length(number))).hexdigest() != digest:
                raise StoreCorruptError(f"{path}: block {number} no longer has its digest", remedy="delete it: it is made again")
    return index


def needed_contents(manifest: Manifest, base: Manifest | None = None) -> list[tuple[str, int]]:
    """The contents a ``.ted`` of ``manifest`` holds for those who have ``base``, as (digest, size) in their order."""
    held = set() if base is None else {digest for digest, _ in base.contents()}
    return [content for content in manifest.contents() if content[0] not in held]


def read_contents(read: Callable[[int], bytes], index: TedIndex, needed: Sequence[tuple[str, int]]) -> Iterator[Content]:
    """Decode a payload, content by content, in at most a few frames' memory.

    Args:
        read: Gives the next N bytes of the payload, as a file's ``read`` does; fewer mean it has ended.
        needed: What ``needed_contents`` says for the index's revision and base.
    Yields:
        Each content. Its bytes must be taken before the next content is asked for; what isn't taken is skipped, but verified.
    Raises:
        StoreCorruptError: Sizes don't add up, a frame isn't what the index says, or a content doesn't have its digest (named); also
            while a content's bytes are taken.
    """
    name = _name(index)
    total = sum(size for _, size in needed)
    if total != index.plain:
        raise StoreCorruptError(f"the .ted of {name} holds {index.plain} bytes where its manifest needs {total}")
    pieces = _Plaintext(read, index, name)
    for digest, size in needed:
        content = _verified(pieces, digest, size, name)
        yield digest, size, content
        for _ in content:
            pass


class TedWriter:
    """Writes a ``.ted`` in one pass: frames, then ``finish``."""

    def __init__(self, write: Callable[[bytes], Any], *, distribution: str, revision: RevisionNumber, base: RevisionNumber | None) -> None:
        self._write = write
        self._of = (distribution, revision, base)
        self._blocks: list[str] = []
        self._frames: list[tuple[int, int]] = []
        self._hash = blake3()
        self._in_block = 0
        write(MAGIC)

    def frame(self, data: bytes, plain: int) -> None:
        """Append one zstd frame of ``plain`` bytes of plaintext."""
        self._frames.append((len(data), plain))
        view = memoryview(data)
        while view:
            part = view[: BLOCK - self._in_block]
            self._hash.update(part)
            self._in_block += len(part)
            view = view[len(part) :]
            if self._in_block == BLOCK:
                self._end_block()
        self._write(data)

    def finish(self) -> tuple[TedIndex, bytes]:
        """Write the index; the file is whole then. Returns it, parsed and as bytes."""
        if self._in_block:
            self._end_block()
        distribution, revision, base = self._of
        payload, plain = sum(f[0] for f in self._frames), sum(f[1] for f in self._frames)
        index = TedIndex(distribution, revision, base, payload, plain, tuple(self._blocks), tuple(self._frames))
        data = index_bytes(index)
        self._write(trailer(data))
        return index, data

    def _end_block(self) -> None:
        self._blocks.append(self._hash.hexdigest())
        self._hash = blake3()
        self._in_block = 0


class _Plaintext:
    """The plaintext of a payload, frame by frame, handed out in pieces."""

    def __init__(self, read: Callable[[int], bytes], index: TedIndex, name: str) -> None:
        self._read = read
        self._frames = iter(index.frames)
        self._name = name
        self._frame = b""
        self._at = 0

    def take(self, most: int) -> bytes:
        """One to ``most`` bytes; the sums were checked, so there are some."""
        if self._at == len(self._frame):
            length, plain = next(self._frames)
            data = self._read(length)
            if len(data) != length:
                raise StoreCorruptError(f"the .ted of {self._name} ends within a frame")
            self._frame, self._at = decompress_frame(data, plain, what=f"the .ted of {self._name}"), 0
        if self._at == 0 and most >= len(self._frame):
            piece = self._frame
        else:
            piece = self._frame[self._at : self._at + most]
        self._at += len(piece)
        return piece


def _verified(pieces: _Plaintext, digest: str, size: int, name: str) -> Iterator[bytes]:
    total, left = blake3(), size
    while left:
        piece = pieces.take(left)
        total.update(piece)
        left -= len(piece)
        yield piece
    if total.hexdigest() != digest:
        raise StoreCorruptError(f"the .ted of {name}: content {digest} doesn't have its digest")


def _blocks(items: list[Any]) -> tuple[str, ...]:
    for item in items:
        if not isinstance(item, str) or not _DIGEST.fullmatch(item):
            raise StoreCorruptError("an index has a block digest that is none")
    return tuple(items)


def _frames(items: list[Any]) -> tuple[tuple[int, int], ...]:
    found = []
    for item in items:
        if not isinstance(item, list) or len(item) != 2 or type(item[0]) is not int or type(item[1]) is not int:
            raise StoreCorruptError("an index has a frame of a kind that this version can't read")
        length, plain = item
        if not 0 < plain <= FRAME_MAX or not 0 < length <= frame_max(plain):
            raise StoreCorruptError(f"an index has a frame of {length} bytes for {plain}, beyond the limits")
        found.append((length, plain))
    return tuple(found)


def _as_json(index: TedIndex) -> dict[str, Any]:
    return {
        "version": 1,
        "distribution": index.distribution,
        "revision": str(index.revision),
        "base": None if index.base is None else str(index.base),
        "encryption": None,
        "payload": index.payload,
        "plain": index.plain,
        "block": BLOCK,
        "blocks": index.blocks,
        "frames": index.frames,
    }


def _name(index: TedIndex) -> str:
    return f"{index.distribution} {index.revision}"
