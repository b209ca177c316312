"""The recipe of a delta (docs/formats.md section 4): the manifest delta, and the ranges that make up each frame's reference.

It is the first frame of a delta's payload. Ranges refer to contents of the base manifest, which both sides have; nothing of them is
believed before their sums match the signed index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sluice.errors import StoreCorruptError
from sluice.formats.ted.frame import Frame, FrameKind, Range
from sluice.formats.ted.index import TedIndex, name_of
from sluice.formats.varint import Reader, put, zigzag
from sluice.formats.zstd import decompress_frame
from sluice.model.manifest import Manifest

RANGES_MAX = 2_000_000
"""Most ranges that all frames of a delta name together: as many as a manifest may have entries."""
_COUNT_MAX = 2**32
_SIZE_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """A delta's recipe as read: nothing is resolved against manifests yet."""

    manifest: bytes
    """The manifest delta (``formats/manifest/delta.py``)."""
    references: tuple[tuple[Range, ...], ...]
    """Ranges of each frame with a reference, by ordinal of ``base.contents()``; () is every content that the new manifest lacks."""


def recipe_bytes(recipe: Recipe) -> bytes:
    """Return the bytes of a recipe, not compressed."""
    out = bytearray()
    put(out, len(recipe.manifest))
    out += recipe.manifest
    for ranges in recipe.references:
        put(out, len(ranges))
        before = 0
        for each in ranges:
            put(out, zigzag(each.content - before))
            put(out, each.offset)
            put(out, each.length)
            before = each.content
    return bytes(out)


def parse_recipe(data: bytes, frames: Sequence[Frame]) -> Recipe:
    """Read a recipe for an index's frames. Raises StoreCorruptError."""
    reader = Reader(data, what="a recipe")
    manifest = reader.take(reader.number(len(data)))
    references: list[tuple[Range, ...]] = []
    remaining = RANGES_MAX
    for frame in frames:
        if frame.kind is not FrameKind.PLAIN:
            references.append(_ranges(reader, remaining))
            remaining -= len(references[-1])
    reader.end()
    return Recipe(manifest, tuple(references))


def read_recipe(read: Callable[[int], bytes], index: TedIndex) -> Recipe:
    """Read the recipe of a delta from the beginning of its payload; ``read`` is at the first frame afterwards.

    Args:
        read: As for ``read_contents``.
    Raises:
        StoreCorruptError: It isn't a delta, or is damaged or cut off.
    """
    if index.recipe is None:
        raise StoreCorruptError(f"the .ted of {name_of(index)} isn't a delta")
    length, plain = index.recipe
    data = read(length)
    if len(data) != length:
        raise StoreCorruptError(f"the .ted of {name_of(index)} ends within its recipe")
    return parse_recipe(decompress_frame(data, plain, what=f"the recipe of {name_of(index)}"), index.frames)


def gone_contents(base: Manifest, new: Manifest) -> list[int]:
    """Return the ordinals of the contents of ``base`` that ``new`` (or its outline) lacks: the default reference."""
    kept = {digest for digest, _ in new.contents()}
    return [ordinal for ordinal, (digest, _) in enumerate(base.contents()) if digest not in kept]


def resolved_references(recipe: Recipe, index: TedIndex, base: Manifest, new: Manifest) -> list[tuple[Range, ...]]:
    """Return the ranges of each frame's reference in full, for the frames that have one; ``delta.apply.read_delta`` takes them.

    Every range is within its content and longer than 0, and together they have the signed length.

    Args:
        new: The new manifest, or its outline.
    Raises:
        StoreCorruptError: A range or a length isn't so.
    """
    sizes = [size for _, size in base.contents()]
    default = tuple(Range(ordinal, 0, sizes[ordinal]) for ordinal in gone_contents(base, new) if sizes[ordinal])
    default_length = sum(each.length for each in default)  # once: many frames may name it
    found: list[tuple[Range, ...]] = []
    for frame, named in zip((frame for frame in index.frames if frame.kind is not FrameKind.PLAIN), recipe.references, strict=True):
        ranges = tuple(_within(each, sizes, name_of(index)) for each in named) or default
        if (sum(each.length for each in ranges) if named else default_length) != frame.reference:
            raise StoreCorruptError(f"the recipe of {name_of(index)}: a reference doesn't have the {frame.reference} bytes of the index")
        found.append(ranges)
    return found


def _ranges(reader: Reader, most: int) -> tuple[Range, ...]:
    count = reader.number(min(most, reader.remaining // 3))  # each takes at least three bytes
    found, content = [], 0
    for _ in range(count):
        content += reader.signed(_COUNT_MAX)
        found.append(Range(content, reader.number(_SIZE_MAX), reader.number(_SIZE_MAX)))
    return tuple(found)


def _within(each: Range, sizes: Sequence[int], name: str) -> Range:
    if 0 <= each.content < len(sizes):
        length = each.length or sizes[each.content] - each.offset
        if length > 0 and each.offset + length <= sizes[each.content]:
            return each if each.length else Range(each.content, each.offset, length)
    raise StoreCorruptError(f"the recipe of {name}: a reference isn't within a content of the base")
