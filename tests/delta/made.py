"""Contents in memory, and a delta made and applied."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from sluice.delta.apply import read_delta
from sluice.delta.make import DeltaFrame, make_frames
from sluice.formats.ted.frame import FrameKind, Range
from sluice.model.site import Effort


@dataclass
class Content:
    """A blob that counts what is read of it."""

    data: bytes
    taken: int = field(default=0)

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size
        self.taken += length
        return self.data[offset : offset + length]


def referred(old: Sequence[bytes], ranges: Sequence[Range]) -> bytes:
    return b"".join(old[each.content][each.offset :][: each.length or None] for each in ranges)


def made(
    old: Sequence[bytes],
    new: Sequence[bytes],
    *,
    gone: int | None = None,
    effort: Effort = Effort.DEFAULT,
    small: bool = False,
    most: int | None = None,
) -> list[DeltaFrame]:
    gone = len(old) if gone is None else gone
    contents = [Content(data) for data in old]
    return list(make_frames(contents, gone, [Content(data) for data in new], effort=effort, small=small, most=most))


def applied(old: Sequence[bytes], delta: Sequence[DeltaFrame], *, small: bool = False) -> bytes:
    payload = io.BytesIO(b"".join(each.data for each in delta))
    ranges = [each.reference for each in delta if each.frame.kind is not FrameKind.PLAIN]
    return b"".join(read_delta(payload.read, [each.frame for each in delta], ranges, lambda wanted: referred(old, wanted), small=small))


def cost(delta: Sequence[DeltaFrame]) -> int:
    return sum(len(each.data) for each in delta)
