"""Apply a delta: make new contents from frames and the base's contents. An agent needs nothing else of deltas.

Callers have verified the frames' figures by signature and the payload by its blocks. Still nothing is allocated beyond the figures, a
patch is checked against them before its library gets it, and any mismatch is a StoreCorruptError. The caller checks that the plaintext
is the right one, by the digests of the signed manifest.

Memory at the largest frames (``GROUP_MAX``, ``PATCH_MAX``): docs/adr/0013.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator, Sequence

from sluice.delta.patch import check_patch
from sluice.errors import StoreCorruptError
from sluice.formats.ted.frame import PATCH_MAX, Frame, FrameKind, Range, check_frame
from sluice.formats.zstd import decompress_frame, decompress_wide

_BOOTSTRAP = "run `sluice subscriber bootstrap NAME` for this Subscriber, which installs it"
_LZMA_MEMORY = PATCH_MAX + 16 * 1024 * 1024
"""Most bytes of a decoder of lzma: a dictionary as large as the largest patch, and its tables."""


def apply_frame(frame: Frame, data: bytes, reference: bytes, *, what: str = "a delta") -> bytes:
    """Return the plaintext of one frame.

    Args:
        data: Its payload.
        reference: The bytes that it was made from; empty for a plain frame.
        what: Names the ``.ted`` in errors.
    Raises:
        StoreCorruptError: Figures, payload and reference don't match, or the payload is damaged.
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
    """Yield the plaintext of a payload's frames in pieces, holding one frame and its reference at a time.

    Args:
        read: Returns the next N bytes of the payload, as a file's ``read`` does; the recipe was read before.
        ranges: The ranges of each frame with a reference, in the frames' order.
        reference: Returns the bytes of these ranges one after another.
        small: Whether the delta is for agents with little memory.
        what: Names the ``.ted`` in errors.
    Raises:
        StoreCorruptError: Payload or references don't match the frames.
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
    """Yield a frame's plaintext. ``held`` is the reference in a list that is emptied, so that it is freed as early as possible."""
    check_frame(frame, small=False, what=what)
    reference = held.pop()
    if len(data) != frame.length or len(reference) != frame.reference:
        raise StoreCorruptError(
            f"{what}: a frame has {len(data)} bytes and {len(reference)} of reference, not the signed figures: {tuple(frame)}"
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
        raise StoreCorruptError(f"{what} has frames of HDiffPatch, which isn't installed here", remedy=_BOOTSTRAP) from error
    try:
        plain = hdiffpatch.apply(reference, patch)
    except (hdiffpatch.HDiffPatchError, ValueError) as error:
        raise StoreCorruptError(f"{what}: a patch is damaged: {error}") from error
    if len(plain) != frame.plain:
        raise StoreCorruptError(f"{what}: a patch makes {len(plain)} bytes, not the announced {frame.plain}")
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
