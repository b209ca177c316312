"""Make a delta: new contents from old ones, in groups, each by whichever way turned out smallest.

The same inputs give the same bytes: what is tried is decided by sizes, never by a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sluice.delta.candidates import smallest
from sluice.delta.model import GROUP_MAX, SMALL_GROUP_MAX, Blob, Frame, Range
from sluice.model.site import Effort

READ = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Made:
    """A frame with its payload, and what it refers to."""

    frame: Frame
    data: bytes
    reference: tuple[Range, ...]
    """Empty for a plain frame; ``default_reference`` where it is all the contents that are gone."""


def default_reference(gone: int) -> tuple[Range, ...]:
    """What a recipe says in one byte: every content of the base that the new manifest lacks, whole."""
    return tuple(Range(content, 0, 0) for content in range(gone))


def make_frames(
    old: Sequence[Blob],
    gone: int,
    new: Sequence[Blob],
    *,
    effort: Effort,
    small: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Iterator[Made]:
    """Frames whose plaintext is the concatenation of ``new``.

    Args:
        old: The base's contents: first those that the new manifest lacks, in the base's order, then others worth matching against.
        gone: How many of ``old`` are the first kind.
        new: The contents that the base lacks, in order of first appearance.
        effort: How much CPU it may cost.
        small: For agents with little memory: small groups, zstd alone.
        progress: Is told the bytes of ``new`` done so far.
    """
    most = SMALL_GROUP_MAX if small else GROUP_MAX
    total = sum(blob.size for blob in old[:gone])
    done = 0
    group = bytearray()
    for blob in new:
        at = 0
        while at < blob.size:
            piece = blob.read(at, min(READ, blob.size - at, most - len(group)))
            group += piece
            at += len(piece)
            done += len(piece)
            if len(group) == most:
                yield from _frames(old, gone, total, bytes(group), done, effort, small, most)
                group.clear()
                if progress is not None:
                    progress(done)
    if group:
        yield from _frames(old, gone, total, bytes(group), done, effort, small, most)
    if progress is not None:
        progress(done)


def _frames(old: Sequence[Blob], gone: int, total: int, plain: bytes, done: int, effort: Effort, small: bool, most: int) -> Iterator[Made]:
    if total <= most:
        ranges = default_reference(gone)
    else:
        parts: list[Range] = []
        left = most
        for content, blob in enumerate(old[:gone]):
            if left and blob.size:
                parts.append(Range(content, 0, min(left, blob.size)))
                left -= parts[-1].length
        ranges = tuple(parts)
    reference = b"".join(old[each.content].read(each.offset, each.length or old[each.content].size - each.offset) for each in ranges)
    for frame, data in smallest(plain, reference, effort, small=small):
        yield Made(frame, data, ranges if frame.reference else ())
