"""What a delta is made of, as data: contents to read from, ranges of them, frames of a ``.ted``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


class FrameKind(StrEnum):
    """How a frame's plaintext is made."""

    PLAIN = "zstd"
    """From itself."""
    PREFIX = "prefix"
    """One zstd frame with the reference as its prefix."""
    HDIFF = "hdiff"
    """An HDiffPatch patch of the reference, compressed."""
    COPY = "copy"
    """It is the reference."""


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
    """What compresses the patch, HDIFF only: ``zstd`` or ``lzma``."""


class Blob(Protocol):
    """One content, readable anywhere."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Range:
    """Part of an old content."""

    content: int
    """Its position among the base's contents."""
    offset: int
    length: int
    """In bytes; 0: to its end."""
