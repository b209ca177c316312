"""Apply a delta: new contents from frames and the base's contents. All that an agent needs of deltas.

Whoever calls has verified the frames' figures by signature and the payload by its blocks. Still nothing is allocated beyond the
figures, a patch is held against them before its library sees it, and whatever doesn't fit is a StoreCorruptError. That the plaintext
is the right one is the caller's to check, by the digests of the signed manifest.

Memory at the largest frames (``model.GROUP_MAX``, ``model.PATCH_MAX``): docs/adr/0013.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator, Sequence

from sluice.delta.patch import check_patch
from sluice.errors import StoreCorruptError
from sluice.formats.ted.frame import PATCH_MAX, Frame, FrameKind, Range, check_frame
from sluice.formats.zstd import decompress_frame, decompress_wide

_LZMA_MEMORY = PATCH_MAX + 16 * 1024 * 1024
"""Bytes a decoder of lzma may take: a dictionary as large as the largest patch, and its tables."""


def apply_frame(frame: Frame, data: bytes, reference: bytes, *, what: str = "a delta") -> bytes:
    """The plaintext of one frame.

    Args:
        data: Its payload.
        reference: What it was made from; empty for a plain frame.
        what: Names the ``.ted`` in errors.
    Raises:
        StoreCorruptError: Figures, payload and reference don't fit each other, or the payload is damaged.
    """
    return b"".join(_pieces(frame, data, [reference], what))


def read_delta(
    read: Callable[[int], bytes],
    frames: Sequence[Frame],
    ranges: Sequence[Sequence[Range]],
    reference: Callable[[Sequence[Range]], bytes],
    *,
    small: bool = False,
    what: str = "a delta",
) -> Iterator[bytes]:
    """The plaintext of a payload's frames in pieces, holding one frame and its reference at a time.

    Args:
        read: Gives the next N bytes of the payload, as a file's ``read`` does; the recipe was read before.
        ranges: What each frame with a reference refers to, in the frames' order.
        reference: Gives the bytes of these ranges one after another.
        small: Whether the delta is for agents with little memory.
        what: Names the ``.ted`` in errors.
    Raises:
        StoreCorruptError: Something isn't as the frames say.
    """
    if len(ranges) != sum(frame.kind is not FrameKind.PLAIN for frame in frames):
        raise StoreCorruptError(f"{what}: its recipe has the references of {len(ranges)} frames")
    following = iter(ranges)
    for frame in frames:
        check_frame(frame, small=small, what=what)
        data = read(frame.length)
        if len(data) != frame.length:
            raise StoreCorruptError(f"{what} ends within a frame")
        held = [b"" if frame.kind is FrameKind.PLAIN else reference(next(following))]
        yield from _pieces(frame, data, held, what)


def _pieces(frame: Frame, data: bytes, held: list[bytes], what: str) -> Iterator[bytes]:
    """``held`` is the reference, in a list that is emptied, so that it can go as soon as it isn't needed."""
    check_frame(frame, small=False, what=what)
    reference = held.pop()
    if len(data) != frame.length or len(reference) != frame.reference:
        raise StoreCorruptError(
            f"{what}: a frame has {len(data)} bytes and {len(reference)} of reference, not what was signed: {tuple(frame)}"
        )
    match frame.kind:
        case FrameKind.PLAIN:
            yield decompress_frame(data, frame.plain, what=what)
        case FrameKind.PREFIX:
            pieces = decompress_wide(data, frame.plain, what=what, prefix=reference)
            del reference
            yield from pieces
        case FrameKind.HDIFF:
            yield _patched(frame, data, reference, what)
        case FrameKind.COPY:
            yield reference


def _patched(frame: Frame, data: bytes, reference: bytes, what: str) -> bytes:
    if frame.codec == "zstd":
        patch = b"".join(decompress_wide(data, frame.patch, what=what))
    else:
        patch = _decompress_lzma(data, frame.patch, what)
    check_patch(patch, plain=frame.plain, reference=frame.reference, what=what)
    try:
        import hdiffpatch
    except ImportError as error:
        raise StoreCorruptError(f"{what} has frames of HDiffPatch, which isn't installed here", remedy="send it anew") from error
    try:
        plain = hdiffpatch.apply(reference, patch)
    except (hdiffpatch.HDiffPatchError, ValueError) as error:
        raise StoreCorruptError(f"{what}: a patch is damaged: {error}") from error
    if len(plain) != frame.plain:
        raise StoreCorruptError(f"{what}: a patch gives {len(plain)} bytes where {frame.plain} were announced")
    return plain


def _decompress_lzma(data: bytes, plain: int, what: str) -> bytes:
    try:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)
        found = decoder.decompress(data, max_length=plain + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise StoreCorruptError(f"{what}: a frame is damaged: {error}") from error
    if not decoder.eof or decoder.unused_data or len(found) != plain:
        raise StoreCorruptError(f"{what}: a frame has more or fewer than its {plain} bytes")
    return found
