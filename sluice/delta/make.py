"""Make a delta: new contents from old ones, in groups that bound memory, each in the way that turned out smallest.

Rules:
- The same inputs give the same bytes: sizes decide what is tried, never a clock.
- A change that fits into one group is one group, however many contents it has: they share one reference and one window. It is cut
  (``groups.py``) only if long runs are equal, or if it is larger than a group.
- Renames and copies of known contents never come here. A new content that resembles a retained one is matched by its size alone, and
  only if there is little else to make it from: matching by content would mean reading the whole base.

Left out: the bytes of a recipe (``formats/ted/recipe.py``); applying (``apply.py``), so that an agent needs nothing of this.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sluice.delta.candidates import smallest
from sluice.delta.groups import Part, parts
from sluice.delta.line import Blob, Line
from sluice.formats.ted.frame import GROUP_MAX, SMALL_GROUP_MAX, Frame, FrameKind, Range
from sluice.model.site import Effort

_COPY = 1024 * 1024
"""Fewest bytes of a copied run, if the change is larger than a group."""
_COPY_IN_GROUP = 8 * 1024 * 1024
"""The same if all fits into one group: a run costs few bytes then anyhow, and copies only save time."""
_FAR_MORE = 4 * 1024 * 1024
"""If the old contents are this much larger than four times the new ones, not all of them are referred to."""
_FAR_LESS = 8
"""If the new contents are this many times the old ones, retained contents are considered too."""
_SLOW_SHARE = 32
"""One of so many bytes may be tried in the slow ways whatever the part's size: few new bytes among many retained ones."""
_ALIKE = 16
"""Number of old contents considered for a new one, nearest in size."""


@dataclass(frozen=True, slots=True)
class DeltaFrame:
    """A frame with its payload and the ranges of its reference."""

    frame: Frame
    data: bytes
    reference: tuple[Range, ...]
    """Empty for a plain frame; ``default_reference`` if it is all contents that the new manifest lacks."""


def default_reference(gone: int) -> tuple[Range, ...]:
    """Return the reference that a recipe writes in one byte: every content of the base that the new manifest lacks, whole."""
    return tuple(Range(content, 0, 0) for content in range(gone))


def make_frames(
    old: Sequence[Blob],
    gone: int,
    new: Sequence[Blob],
    *,
    effort: Effort,
    small: bool = False,
    most: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Iterator[DeltaFrame]:
    """Yield frames whose plaintext is the concatenation of ``new``.

    Args:
        old: The base's contents: first those that the new manifest lacks, in the base's order, then others worth matching.
        gone: Number of ``old`` contents of the first kind.
        new: The contents that the base lacks, in order of first appearance.
        effort: How much CPU it may cost.
        small: For agents with little memory: small groups, zstd alone.
        most: Most bytes of a group's plaintext, and of its reference; by default as ``small`` asks.
        progress: Called with the bytes of ``new`` done so far.
    """
    limit = most or (SMALL_GROUP_MAX if small else GROUP_MAX)
    referred = _referred(old, gone, new)
    base, line = Line([old[each] for each in referred]), Line(new)
    done, slow = 0, (base.size + line.size) // _SLOW_SHARE
    for part in _cut(base, line, limit, new):
        if len(part.reference) == 1 and part.reference[0] == (0, base.size) and referred == list(range(gone)):
            ranges = default_reference(gone)
        else:
            found = (each for begin, end in part.reference for each in base.ranges(begin, end - begin))
            ranges = tuple(Range(referred[each.content], each.offset, each.length) for each in found)
        if is_slow := not part.is_copy and part.size <= slow:
            slow -= part.size
        for frame, data in _frames(part, base, line, effort, small=small, is_slow=is_slow):
            yield DeltaFrame(frame, data, ranges if frame.reference else ())
        done += part.length
        if progress is not None:
            progress(done)


def _cut(base: Line, line: Line, most: int, new: Sequence[Blob]) -> list[Part]:
    if not base.size:
        return [Part(at, min(most, line.size - at), (), False) for at in range(0, line.size, most)]
    if line.size and (base.size > most or line.size > most):
        return parts(base, line, most=most, shortest=min(_COPY, most))
    if max((blob.size for blob in new), default=0) >= _COPY_IN_GROUP:
        cut = parts(base, line, most=most, shortest=_COPY_IN_GROUP)
        if 2 * sum(part.length for part in cut if part.is_copy) >= line.size:
            return cut
    return [Part(0, line.size, ((0, base.size),), False)] if line.size else []


def _frames(part: Part, base: Line, line: Line, effort: Effort, *, small: bool, is_slow: bool) -> list[tuple[Frame, bytes]]:
    if part.is_copy:
        return [(Frame(0, part.length, FrameKind.COPY, part.length), b"")]
    reference = b"".join(base.read_whole(begin, end - begin) for begin, end in part.reference)
    return smallest(line.read_whole(part.at, part.length), reference, effort, small=small, is_slow=is_slow)


def _referred(old: Sequence[Blob], gone: int, new: Sequence[Blob]) -> list[int]:
    """Return the old contents that are worth referring to."""
    every = list(range(gone))
    total, wanted = sum(blob.size for blob in old[:gone]), sum(blob.size for blob in new)
    if total > _FAR_MORE + 4 * wanted:
        ranked = sorted(every, key=lambda each: old[each].size)
        alike = [_alike(old, ranked, blob.size) for blob in new if blob.size]
        return sorted({each for found in alike for each in found}) if all(alike) else every
    if _FAR_LESS * total < wanted:
        ranked = sorted(range(len(old)), key=lambda each: old[each].size)
        return sorted({*every, *(each for blob in new for each in _alike(old, ranked, blob.size))})
    return every


def _alike(old: Sequence[Blob], ranked: Sequence[int], size: int) -> list[int]:
    """Return the contents nearest in size, at least half and at most twice as large; ``ranked`` is sorted by size."""
    index = bisect_left(ranked, size, key=lambda each: old[each].size)
    near = ranked[max(0, index - _ALIKE // 2) : index + _ALIKE // 2]
    return [each for each in near if size <= 2 * old[each].size <= 4 * size]
