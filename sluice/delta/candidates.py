"""Try the ways to make a part from its reference, and keep the smallest.

Only sizes and effort decide which ways are tried: seconds differ, bytes may not. Measured CPU per MB of plaintext with as much
reference: prefix 9 and 12 0.01 to 0.03 s, HDiffPatch 0.06 to 0.15 s with its patch's compression, prefix 19 0.3 s, bsdiff 0.1 to 0.3 s.
So by default the slow ways are for small parts, at which they also gain most.

A result is applied before it is used: an encoder's error costs bytes here, never a send (0.01 s per MB or less).
"""

from __future__ import annotations

import lzma

from sluice.delta.apply import apply_frame
from sluice.errors import StoreCorruptError
from sluice.formats.ted.frame import FRAME_MAX, PATCH_MAX, PATCH_SLACK, Frame, FrameKind
from sluice.formats.zstd import compress_frame, compress_wide
from sluice.model.site import Effort

Frames = list[tuple[Frame, bytes]]

_TINY = 512 * 1024
"""Bytes of plaintext and reference up to which all ways are tried by default too."""
_SMALL = 8 * 1024 * 1024
"""Bytes from which on a prefix only wins at the slow levels; by default it then only tests whether anything can be compressed."""
_TINY_PATCH = 64 * 1024
_HALVED = PATCH_MAX // 2
"""Plaintext with more bytes, of which as many are new, would need too large a patch: it is made in halves."""
_NO_GAIN = 0.97
"""Share of the plaintext below which zstd with the reference must come; else it is new and was compressed before: no way helps."""
_IN_INDEX = {FrameKind.PLAIN: 8, FrameKind.PREFIX: 24, FrameKind.HDIFF: 36}
"""Approximate bytes of a frame's figures in the index."""
_LEVELS = {Effort.FAST: 9, Effort.DEFAULT: 12, Effort.MAX: 19}
_LEVEL_MAX = 19
_LEVEL_PROBE = 3
_LEVEL_INCOMPRESSIBLE = 1
_LZMA = {
    Effort.DEFAULT: ({"preset": 6},),
    Effort.MAX: (
        {"preset": 9 | lzma.PRESET_EXTREME},
        {"preset": 9 | lzma.PRESET_EXTREME, "pb": 0},
        {"preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "pb": 0},
    ),
}
"""Models of lzma for a patch. More effort than preset 6 saves 0.3 % and costs half as much again."""


def smallest(plain: bytes, reference: bytes, effort: Effort, *, small: bool, is_slow: bool = False) -> Frames:
    """Return the frames that cost least: one with the reference, or plain ones if they are smaller.

    Args:
        is_slow: Whether the ways for tiny parts may be tried whatever the size.
    """
    tiny = (is_slow or len(plain) + len(reference) <= _TINY) and effort is not Effort.FAST
    if not reference:
        return _plain(plain, _LEVEL_INCOMPRESSIBLE if _is_incompressible(plain) else _LEVEL_MAX if tiny else _LEVELS[effort])
    is_probe = effort is Effort.DEFAULT and not small and len(plain) + len(reference) > _SMALL
    found = [_prefix(plain, reference, _LEVEL_MAX if tiny else _LEVEL_PROBE if is_probe else _LEVELS[effort])]
    if len(found[0][0][1]) > _NO_GAIN * len(plain) and not tiny:
        return _plain(plain, _LEVEL_INCOMPRESSIBLE)
    if not small and effort is not Effort.FAST:
        if len(plain) > _HALVED and len(found[0][0][1]) > _HALVED:
            return _halves(plain, reference, effort)
        import hdiffpatch

        patch = hdiffpatch.diff(reference, plain, validate=False)
        if len(patch) <= min(PATCH_MAX, len(plain) + len(plain) // 8 + PATCH_SLACK):
            found += _patches(patch, plain, reference, effort)
        elif len(plain) > _HALVED:
            found.append(_halves(plain, reference, effort))
    if tiny or effort is Effort.MAX:
        found.append(_plain(plain, _LEVEL_MAX))
    for frames in sorted(found, key=_size):
        if _is_right(frames, plain, reference):
            return frames
    return _plain(plain, _LEVELS[effort])


def _is_right(frames: Frames, plain: bytes, reference: bytes) -> bool:
    """Whether an agent would make the plaintext from it. Halves were checked each by itself; plain frames need no check."""
    (frame, data), *more = frames
    if more or frame.kind is FrameKind.PLAIN:
        return True
    try:
        return apply_frame(frame, data, reference) == plain
    except StoreCorruptError:
        return False


def _halves(plain: bytes, reference: bytes, effort: Effort) -> Frames:
    middle = len(plain) // 2
    return [frame for part in (plain[:middle], plain[middle:]) for frame in smallest(part, reference, effort, small=False)]


def _size(frames: Frames) -> int:
    return sum(len(data) + _IN_INDEX[frame.kind] for frame, data in frames)


def _is_incompressible(plain: bytes) -> bool:
    return all(len(compress_frame(plain[at : at + 65536], level=1)) > 64000 for at in range(0, len(plain), 1 << 20))


def _plain(plain: bytes, level: int) -> Frames:
    frames = []
    for at in range(0, len(plain), FRAME_MAX):
        piece = plain[at : at + FRAME_MAX]
        data = compress_frame(piece, level=level)
        frames.append((Frame(len(data), len(piece)), data))
    return frames


def _prefix(plain: bytes, reference: bytes, level: int) -> Frames:
    data = compress_wide(plain, level=level, prefix=reference)
    return [(Frame(len(data), len(plain), FrameKind.PREFIX, len(reference)), data)]


def _patches(patch: bytes, plain: bytes, reference: bytes, effort: Effort) -> list[Frames]:
    made = [("lzma", _lzma(patch, model)) for model in _LZMA[effort]]
    if len(patch) <= _TINY_PATCH or effort is Effort.MAX:
        made.append(("zstd", compress_wide(patch, level=_LEVEL_MAX)))
    return [[(Frame(len(data), len(plain), FrameKind.HDIFF, len(reference), len(patch), codec), data)] for codec, data in made]


def _lzma(patch: bytes, model: dict[str, int]) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": max(4096, len(patch)), **model}]
    return lzma.compress(patch, format=lzma.FORMAT_XZ, check=lzma.CHECK_NONE, filters=filters)
