"""Cut a change into groups: parts of the new line of bytes, each with the parts of the old line it is made from.

Long equal runs are copied and cost only their position. Of the rest, a part between such runs is made from the old bytes around its
position; larger ones from all old bytes that no copy took, as long as those fit into a group; else from the bytes that runs and sizes
point to. Nothing in a group is larger than its limit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sluice.delta.line import Line
from sluice.delta.trace import Run, Trace

_SLACK = 16 * 1024
"""Old bytes taken on both sides of an equal run."""
_LOCAL = 256 * 1024
"""Most bytes of a part that is made from the bytes around it."""
_SHORT_RUNS = 1 << 18
"""Most runs below ``_LOCAL`` that are remembered."""
_SIMILAR = 4
"""Number of old contents of about its size that a new one may refer to."""

Span = tuple[int, int]
"""Begin and end, in a line."""


class Part(NamedTuple):
    """Consecutive bytes of the new line."""

    at: int
    length: int
    reference: tuple[Span, ...]
    """Spans of the old line, apart from each other, in order."""
    is_copy: bool
    """Whether the part equals its reference."""

    @property
    def size(self) -> int:
        """Bytes of the part and its reference."""
        return self.length + sum(end - begin for begin, end in self.reference)


def parts(old: Line, new: Line, *, most: int, shortest: int) -> list[Part]:
    """Cut the whole new line into parts.

    Args:
        most: Most bytes of a part, and of its reference.
        shortest: Fewest bytes of a run that is copied.
    """
    copies, runs = _runs(old, new, shortest)
    rest = _rest(copies, old.size)
    within_one_group = sum(end - begin for begin, end in rest) <= most
    found: list[Part] = []
    before, at = None, 0
    for after in [*copies, None]:
        end = new.size if after is None else after.new
        # Half a group, if not all of the old fits into one: its reference may have twice as much.
        for begin in range(at, end, most if within_one_group else most // 2):
            length = min(end - begin, most if within_one_group else most // 2)
            is_local = length <= _LOCAL and (before is not None or after is not None)
            if within_one_group and not is_local:
                reference = rest
            else:
                reference = _reference(old, new, begin, length, (before, after), runs, most)
            found.append(Part(begin, length, reference, False))
        if after is not None:
            for begin in range(0, after.length, most):
                length = min(most, after.length - begin)
                found.append(Part(after.new + begin, length, ((after.old + begin, after.old + begin + length),), True))
            before, at = after, after.new + after.length
    return found


def _runs(old: Line, new: Line, shortest: int) -> tuple[list[Run], list[Run]]:
    copies, runs, short = [], [], 0
    for run in Trace(old, new):
        if run.length >= shortest:
            copies.append(run)
        elif run.length > _LOCAL or short < _SHORT_RUNS:
            runs.append(run)
            short += run.length <= _LOCAL
    return copies, runs


def _rest(copies: Sequence[Run], size: int) -> tuple[Span, ...]:
    """Return the spans of the old line that no copy took, with some slack."""
    found, at = [], 0
    for begin, end in [*sorted((run.old, run.old + run.length) for run in copies), (size, size)]:
        if begin > at:
            found.append((max(0, at - _SLACK), min(size, begin + _SLACK)))
        at = max(at, end)
    return _merged(found)


def _reference(
    old: Line, new: Line, at: int, length: int, around: tuple[Run | None, Run | None], runs: Sequence[Run], most: int
) -> tuple[Span, ...]:
    """Return the spans from which a part is likely made, the likeliest first, up to the limit."""
    before, after = around
    wanted: list[Span] = []
    first = bisect_left(runs, at, key=lambda run: run.new + run.length)
    matched = 0
    for run in runs[first : bisect_left(runs, at + length, lo=first, key=lambda run: run.new)]:
        wanted.append((run.old - _SLACK, run.old + run.length + _SLACK))
        matched += run.length
    near = min(length, most // 4)
    if before is not None:
        wanted.append((before.old + before.length - _SLACK, before.old + before.length + near + _SLACK))
    if after is not None:
        wanted.append((after.old - near - _SLACK, after.old + _SLACK))
    if 2 * matched < length and length > _LOCAL:
        wanted += _similar(old, new, at, length)
        middle = old.size * (at + length // 2) // max(1, new.size)
        wanted.append((middle - length, middle + length))
    return _limited(wanted, old.size, most)


def _similar(old: Line, new: Line, at: int, length: int) -> Iterator[Span]:
    """Yield old contents of about the sizes of the small ones in a part."""
    by_size = sorted((size, start) for start, size in old.within(0, old.size) if size <= _LOCAL)
    for _, size in new.within(at, at + length):
        if size <= _LOCAL:
            index = bisect_left(by_size, (size, 0))
            for similar, start in by_size[max(0, index - _SIMILAR // 2) : index + _SIMILAR // 2]:
                yield start, start + similar


def _limited(wanted: Sequence[Span], size: int, most: int) -> tuple[Span, ...]:
    taken: list[Span] = []
    remaining = most
    for begin, end in wanted:
        begin, end = max(0, begin), min(size, end, max(0, begin) + remaining)
        if end > begin:
            taken.append((begin, end))
            remaining -= end - begin
    return _merged(taken)


def _merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return tuple(found)
