"""The ways to make a group's plaintext from its reference; the smallest is kept."""

from __future__ import annotations

import hdiffpatch

from sluice.delta.model import FRAME_MAX, PATCH_MAX, PATCH_SLACK, Frame, FrameKind
from sluice.formats.zstd import compress_frame, compress_wide
from sluice.model.site import Effort


def smallest(plain: bytes, reference: bytes, effort: Effort, *, small: bool) -> list[tuple[Frame, bytes]]:
    """The frames that cost least: one with the reference, or plain ones."""
    found = [_plain(plain, 9)]
    if reference:
        if plain == reference:
            return [(Frame(0, len(plain), FrameKind.COPY, len(reference)), b"")]
        data = compress_wide(plain, level=9, prefix=reference)
        found.append([(Frame(len(data), len(plain), FrameKind.PREFIX, len(reference)), data)])
        if not small and effort is not Effort.FAST:
            patch = hdiffpatch.diff(reference, plain, validate=False)
            if len(patch) <= min(PATCH_MAX, len(plain) + len(plain) // 8 + PATCH_SLACK):
                data = compress_wide(patch, level=19)
                found.append([(Frame(len(data), len(plain), FrameKind.HDIFF, len(reference), len(patch), "zstd"), data)])
    return min(found, key=lambda frames: sum(len(data) for _, data in frames))


def _plain(plain: bytes, level: int) -> list[tuple[Frame, bytes]]:
    frames = []
    for at in range(0, len(plain), FRAME_MAX):
        piece = plain[at : at + FRAME_MAX]
        data = compress_frame(piece, level=level)
        frames.append((Frame(len(data), len(piece)), data))
    return frames
