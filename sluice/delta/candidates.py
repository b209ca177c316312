"""The ways to make a part from its reference; the smallest is kept.

What is tried depends on sizes and effort alone: seconds differ, bytes may not. Measured CPU per MB of plaintext with as much
reference: prefix 9 and 12 0.01 to 0.03 s, HDiffPatch 0.06 to 0.15 s with its patch's compression, prefix 19 0.3 s, bsdiff 0.1 to 0.3 s.
So by default the slow ways are for what is small, where they also gain most.

What is kept is applied before anybody gets it: an encoder that erred costs bytes here, never a send (0.01 s per MB or less).
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
"""Plaintext and reference up to here get everything by default too."""
_SMALL = 8 * 1024 * 1024
"""Beyond this a prefix only wins with the slow levels; by default it is then tried for what can't be compressed at all."""
_TINY_PATCH = 64 * 1024
_HALVED = PATCH_MAX // 2
"""More plaintext than this, of which as much is new, would give a patch that is too large: it is made in halves."""
_NO_GAIN = 0.97
"""What zstd with the reference can't bring below this was compressed already, and is new: no other way finds anything either."""
_IN_INDEX = {FrameKind.PLAIN: 8, FrameKind.PREFIX: 24, FrameKind.HDIFF: 36}
"""Bytes that a frame's figures take, about."""
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
"""How lzma models a patch. Trying harder than preset 6 saves 0.3 % and costs half as much again."""


def smallest(plain: bytes, reference: bytes, effort: Effort, *, small: bool, is_slow: bool = False) -> Frames:
    """The frames that cost least: one that refers to the reference, plain ones where none does better.

    Args:
        is_slow: What is tried for tiny parts may be tried whatever the size.
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
    """Whether an agent would make the plaintext of it. Halves were asked for each by itself; plain frames need no reference to go wrong."""
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
