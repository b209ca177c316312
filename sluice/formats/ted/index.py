"""The index of a ``.ted`` (docs/formats.md section 4): the position of every part of it. It is the TUF target that signs everything else.

Version 1 is for whole files, or for contents that a base lacks in plain frames; version 2 for deltas. The figures here bound a reader's
memory, and constants here and in ``frame.py`` bound the figures, before a byte is decompressed. An index that breaks a rule is a
StoreCorruptError: it was verified by signature before. Encryption belongs to a later version, which this reader refuses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sluice.errors import StoreCorruptError, TrustError
from sluice.formats.canonical import Fields, canonical_bytes
from sluice.formats.ted.frame import FRAME_MAX, GROUP_MAX, Frame, FrameKind, check_frame
from sluice.formats.zstd import frame_max
from sluice.model.revision import RevisionNumber

BLOCK = 1024 * 1024
"""Bytes of payload with a digest of their own; the last block may be shorter."""
RECIPE_MAX = 64 * 1024 * 1024
"""Most bytes of a recipe, decompressed."""
INDEX_MAX = 256 * 1024 * 1024
"""Most bytes of an index: enough for about 3 TiB of payload."""
DELTA_INDEX_MAX = 32 * 1024 * 1024
"""Most bytes of a delta's index: enough for about 400 GiB of payload. Beyond it everything is sent."""
DELTA_FRAMES_MAX = 65_536
"""Most frames of a delta."""
_DELTA_END = b'"version":2}'
"""The end of a delta's index: keys are sorted."""
_REFERENCES = 512
"""Most bytes of references that a delta may read for each byte that it makes; a part made from a whole group has at least 256 KiB."""
_DIGEST = re.compile("[0-9a-f]{64}")
_FIELDS = {FrameKind.PREFIX: 4, FrameKind.HDIFF: 6, FrameKind.COPY: 3}
"""Number of fields of a delta's frame in JSON; a plain one has two and no kind."""


@dataclass(frozen=True, slots=True)
class TedIndex:
    """The position of every part of a ``.ted``; the TUF target that signs it."""

    distribution: str
    revision: RevisionNumber
    base: RevisionNumber | None
    """The revision whose contents are left out; None: all contents are included."""
    payload: int
    """Bytes of the recipe and all frames."""
    plain: int
    """Bytes of all frames' plaintext."""
    blocks: tuple[str, ...]
    """BLAKE3 of each block of the payload."""
    frames: tuple[Frame, ...]
    recipe: tuple[int, int] | None = None
    """Length and plaintext length of the recipe, the first frame of a delta's payload; None: it isn't a delta (version 1)."""
    small: bool = False
    """Whether it is for agents with little memory: small groups, and zstd alone."""

    @property
    def version(self) -> int:
        """Version of the format."""
        return 1 if self.recipe is None else 2

    def block_length(self, number: int) -> int:
        """Return the bytes of a block; blocks are counted from 0."""
        return min(BLOCK, self.payload - number * BLOCK)


def index_bytes(index: TedIndex) -> bytes:
    """Return the one byte string of an index."""
    return canonical_bytes(_as_json(index))


def parse_index(data: bytes) -> TedIndex:
    """Read an index and check all its sums and limits. Raises StoreCorruptError."""
    # Before a list of millions is created: every frame begins with a bracket.
    if data.endswith(_DELTA_END) and (len(data) > DELTA_INDEX_MAX or data.count(b"[") > DELTA_FRAMES_MAX + 3):
        raise StoreCorruptError(f"an index of {len(data)} bytes is beyond the limit of a delta")
    try:
        with Fields.parse(data, limit=INDEX_MAX, what="an index", values=INDEX_MAX) as fields:
            version = fields.number("version", least=1, most=2)
            small = version == 2 and fields.flag("small")
            index = TedIndex(
                distribution=fields.name("distribution"),
                revision=fields.revision("revision"),
                base=fields.revision("base") if fields.optional("base") else None,
                payload=fields.number("payload"),
                plain=fields.number("plain"),
                blocks=_blocks(fields.items("blocks", limit=INDEX_MAX)),
                recipe=_recipe(fields.items("recipe", limit=2)) if version == 2 else None,
                frames=tuple(_frame(item, version == 2, small) for item in fields.items("frames", limit=INDEX_MAX)),
                small=small,
            )
            fields.constant("block", BLOCK)
            if fields.optional("encryption"):
                raise StoreCorruptError("an index says that the payload is encrypted, which this version can't read")
    except TrustError as error:
        raise StoreCorruptError(f"not an index: {error.message}") from error
    _check(index)
    if index_bytes(index) != data:
        raise StoreCorruptError(f"the index of {name_of(index)} isn't canonical")
    return index


def delta_fits(frames: Sequence[Frame], payload: int) -> bool:
    """Whether frames are few enough, and read little enough, for one delta; ``payload`` in bytes."""
    plain, reference = sum(frame.plain for frame in frames), sum(frame.reference for frame in frames)
    is_short = len(frames) <= DELTA_FRAMES_MAX and payload // BLOCK * 70 + len(frames) * 64 < DELTA_INDEX_MAX
    return is_short and reference <= _REFERENCES * plain + 4 * GROUP_MAX


def name_of(index: TedIndex) -> str:
    """Return Distribution and revision, for messages."""
    return f"{index.distribution} {index.revision}"


def _check(index: TedIndex) -> None:
    if index.recipe is not None and (index.base is None or index.base >= index.revision):
        raise StoreCorruptError(f"the index of {name_of(index)}: a delta from {index.base} is impossible")
    if index.recipe is not None and not delta_fits(index.frames, index.payload):
        raise StoreCorruptError(f"the index of {name_of(index)}: it has more frames, or they read more, than a delta's may")
    length = sum(f.length for f in index.frames) + (index.recipe[0] if index.recipe else 0)
    if length != index.payload or sum(f.plain for f in index.frames) != index.plain:
        raise StoreCorruptError(f"the index of {name_of(index)}: its frames don't add up to its payload and plaintext")
    if len(index.blocks) != -(-index.payload // BLOCK):
        raise StoreCorruptError(f"the index of {name_of(index)} has {len(index.blocks)} blocks for {index.payload} bytes")


def _blocks(items: list[Any]) -> tuple[str, ...]:
    for item in items:
        if not isinstance(item, str) or not _DIGEST.fullmatch(item):
            raise StoreCorruptError("an index has an invalid block digest")
    return tuple(items)


def _recipe(items: list[Any]) -> tuple[int, int]:
    if len(items) != 2 or not all(map(_is_figure, items)):
        raise StoreCorruptError("an index has a recipe that isn't two numbers")
    length, plain = items
    if not 0 < plain <= RECIPE_MAX or not 0 < length <= frame_max(plain):
        raise StoreCorruptError(f"an index has a recipe of {length} bytes for {plain}, beyond the limits")
    return length, plain


def _frame(item: Any, delta: bool, small: bool) -> Frame:
    if not isinstance(item, list) or len(item) < 2 or not all(map(_is_figure, (*item[:2], *item[3:5]))):
        raise _unknown()
    length, plain = item[:2]
    if len(item) == 2:
        if not 0 < plain <= FRAME_MAX or not 0 < length <= frame_max(plain):
            raise StoreCorruptError(f"an index has a frame of {length} bytes for {plain}, beyond the limits")
        return Frame(length, plain)
    kind = next((kind for kind, count in _FIELDS.items() if kind.value == item[2] and count == len(item)), None)
    if kind is None or not delta or (kind is FrameKind.HDIFF and not isinstance(item[-1], str)):
        raise _unknown()
    frame = Frame(length, plain, kind, *item[3:]) if kind is not FrameKind.COPY else Frame(length, plain, kind, plain)
    check_frame(frame, small=small, what="an index")
    return frame


def _is_figure(value: Any) -> bool:
    """Whether it is a whole number that fits a figure, so that errors may quote it."""
    return type(value) is int and value.bit_length() < 64


def _unknown() -> StoreCorruptError:
    return StoreCorruptError("an index has a frame of a kind that this version can't read")


def _as_json(index: TedIndex) -> dict[str, Any]:
    found: dict[str, Any] = {
        "version": index.version,
        "distribution": index.distribution,
        "revision": str(index.revision),
        "base": None if index.base is None else str(index.base),
        "encryption": None,
        "payload": index.payload,
        "plain": index.plain,
        "block": BLOCK,
        "blocks": index.blocks,
        "frames": [_frame_json(frame) for frame in index.frames],
    }
    if index.recipe is not None:
        found |= {"recipe": index.recipe, "small": index.small}
    return found


def _frame_json(frame: Frame) -> tuple[int | str, ...]:
    if frame.kind is FrameKind.PLAIN:
        return frame[:2]
    return (frame.length, frame.plain, frame.kind.value, *frame[3:])[: _FIELDS[frame.kind]]
