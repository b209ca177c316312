"""Deltas that somebody has changed and signed again: recipes, frames, patches, indexes and figures, as cases to be refused.

Every digest in them fits. Each case is a name, the index and the payload; what they are made of is ``sample()`` of tests/formats/deltas.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sluice.formats.ted.frame import GROUP_MAX, PATCH_MAX, Frame, FrameKind
from sluice.formats.ted.index import index_bytes, parse_index
from sluice.formats.zstd import compress_frame, decompress_wide
from tests.formats.damage import BINARY, NUMBERS, TEXT, damaged
from tests.formats.deltas import Delta

Case = tuple[str, bytes, bytes]
"""Name, index and payload."""


def recipes(delta: Delta, seed: int, count: int) -> Iterator[Case]:
    """The recipe's plaintext is damaged and compressed again."""
    for name, data in damaged(delta.recipe, BINARY, seed, count):
        if data:
            yield name, *replace(delta, recipe=data).signed()


def frames(delta: Delta, seed: int, count: int) -> Iterator[Case]:
    """A frame's payload is damaged, with its length as the index says."""
    for number, data in enumerate(delta.data):
        if data:
            for name, other in damaged(data, BINARY, seed, count):
                if other:
                    yield f"frame {number}, {name}", *delta.with_frame(number, other).signed()


def patches(delta: Delta, seed: int, count: int) -> Iterator[Case]:
    """What HDiffPatch itself reads is damaged, and compressed again as it was."""
    for number, frame in enumerate(delta.frames):
        if frame.kind is FrameKind.HDIFF and frame.codec == "zstd":
            patch = b"".join(decompress_wide(delta.data[number], frame.patch, what="a patch"))
            for name, other in damaged(patch, BINARY, seed, count):
                if other:
                    changed = delta.with_frame(number, compress_frame(other))
                    of_its_size = changed.frames[number]._replace(patch=len(other))
                    figures = (*changed.frames[:number], of_its_size, *changed.frames[number + 1 :])
                    yield f"patch {number}, {name}", *replace(changed, frames=figures).signed()


def indexes(delta: Delta, seed: int, count: int) -> Iterator[Case]:
    """The index is damaged, and signed so."""
    index, payload = delta.signed()
    for name, data in damaged(index, TEXT, seed, count):
        yield name, data, payload


HOSTILE = (0, 1, 2, 2**31, 2**32 - 1, 2**63 - 1, GROUP_MAX, GROUP_MAX + 1, PATCH_MAX, PATCH_MAX + 1)
"""Figures, each in the place of every figure of every frame."""


def figures(delta: Delta) -> Iterator[Case]:
    """Frames that say something else of themselves."""
    index, payload = delta.signed()
    true = parse_index(index)
    for number, frame in enumerate(true.frames):
        for field in ("length", "plain", "reference", "patch"):
            for figure in (*HOSTILE, getattr(frame, field) + 1, getattr(frame, field) - 1):
                if figure != getattr(frame, field):
                    other = frame._replace(**{field: figure})
                    changed = (*true.frames[:number], other, *true.frames[number + 1 :])
                    plain = sum(each.plain for each in changed)
                    yield f"{field} of frame {number} is {figure}", index_bytes(replace(true, frames=changed, plain=plain)), payload
        for kind in FrameKind:
            for codec in ("", "zstd", "lzma"):
                other = Frame(frame.length, frame.plain, kind, frame.reference or 1, frame.patch or 1, codec)
                if other != frame:
                    changed = (*true.frames[:number], other, *true.frames[number + 1 :])
                    yield f"frame {number} is {kind} {codec}", index_bytes(replace(true, frames=changed)), payload


def bombs(delta: Delta) -> Iterator[Case]:
    """Little that becomes as much as the figures allow, and what wants more memory than that."""
    wide = compress_frame(bytes(GROUP_MAX))
    yield "a group of zeros", *with_group(delta, Frame(len(wide), GROUP_MAX, FrameKind.PREFIX, delta.frames[2].reference), wide)
    yield "more than a group", *with_group(delta, Frame(len(wide), 4096, FrameKind.PREFIX, delta.frames[2].reference), wide)
    patch = compress_frame(bytes(PATCH_MAX))
    for plain in (GROUP_MAX, 4096):
        lying = Frame(len(patch), plain, FrameKind.HDIFF, delta.frames[2].reference, min(PATCH_MAX, plain + plain // 8), "zstd")
        yield f"a patch of zeros for {plain}", *with_group(delta, lying, patch)
    for number in NUMBERS:
        head = b"HDIFF13&\0" + number * 11
        yield (
            f"a head of {number!r}",
            *with_group(delta, Frame(0, 4096, FrameKind.HDIFF, delta.frames[2].reference, len(head), "zstd"), compress_frame(head)),
        )


def with_group(delta: Delta, frame: Frame, data: bytes) -> tuple[bytes, bytes]:
    """Another frame in the place of the third."""
    figures = (*delta.frames[:2], frame._replace(length=len(data)), *delta.frames[3:])
    return replace(delta, frames=figures, data=(*delta.data[:2], data, *delta.data[3:])).signed()
