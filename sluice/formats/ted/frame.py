"""Frames of a ``.ted`` and ranges of the contents they refer to, as data, with the limits of every figure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sluice.errors import StoreCorruptError

FRAME_MAX = 4 * 1024 * 1024
"""Most bytes of plaintext in a plain frame."""
GROUP_MAX = 128 * 1024 * 1024
"""Most bytes of plaintext, and of reference, in a frame that has a reference."""
SMALL_GROUP_MAX = 16 * 1024 * 1024
"""The same if the agent has little memory; such a delta has no HDIFF frames, only zstd."""
PATCH_MAX = 48 * 1024 * 1024
"""Most bytes of an uncompressed patch: applying one holds the reference, the patch and the plaintext twice."""
PATCH_SLACK = 64 * 1024
"""Bytes that a patch may have beyond 9/8 of its plaintext; a real one never comes near."""
CODECS = ("zstd", "lzma")
"""Compressions of a patch."""


class FrameKind(StrEnum):
    """The way in which a frame's plaintext is made."""

    PLAIN = "zstd"
    """From the frame alone."""
    PREFIX = "prefix"
    """One zstd frame with the reference as its prefix."""
    HDIFF = "hdiff"
    """An HDiffPatch patch of the reference, compressed."""
    COPY = "copy"
    """The plaintext is the reference."""


class Frame(NamedTuple):
    """One frame of a ``.ted``, with every figure that bounds its reader; all are signed."""

    length: int
    """Bytes of payload."""
    plain: int
    """Bytes of plaintext."""
    kind: FrameKind = FrameKind.PLAIN
    reference: int = 0
    """Bytes of the reference."""
    patch: int = 0
    """Bytes of the patch, HDIFF only."""
    codec: str = ""
    """Compression of the patch, HDIFF only: ``zstd`` or ``lzma``."""


@dataclass(frozen=True, slots=True)
class Range:
    """Part of an old content."""

    content: int
    """Its position among the base's contents."""
    offset: int
    length: int
    """In bytes; 0: to its end."""


def check_frame(frame: Frame, *, small: bool, what: str) -> None:
    """Check a frame's figures against the limits, before anything of it is read.

    Args:
        small: Whether the delta is for agents with little memory.
        what: Names the ``.ted`` in errors.
    Raises:
        StoreCorruptError: A figure is out of bounds, or doesn't belong to the kind of frame.
    """
    most = SMALL_GROUP_MAX if small else GROUP_MAX
    if frame.kind is FrameKind.PLAIN:
        fits = frame.plain <= FRAME_MAX and not frame.reference
    else:
        fits = 0 < frame.plain <= most and 0 < frame.reference <= most
    if frame.kind is FrameKind.COPY:
        fits = fits and frame.length == 0 and frame.plain == frame.reference
    else:
        fits = fits and 0 < frame.length <= length_max(frame.plain)
    if frame.kind is FrameKind.HDIFF:
        fits = fits and not small and 0 < frame.patch <= min(PATCH_MAX, frame.plain + frame.plain // 8 + PATCH_SLACK)
        fits = fits and frame.codec in CODECS
    else:
        fits = fits and not frame.patch and not frame.codec
    if not fits or frame.plain < 0:
        raise StoreCorruptError(f"{what}: a frame's figures are out of bounds: {tuple(frame)}")


def length_max(plain: int) -> int:
    """Return the most bytes of payload of a frame with ``plain`` bytes of plaintext."""
    return plain + plain // 8 + PATCH_SLACK
