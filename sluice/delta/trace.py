"""Follow a new line of bytes along an old one and find equal runs, wherever they moved.

Cheap if little changed: while both lines agree they are merely compared, a MiB at a time. After a difference they are compared again at
the same distance; only if that fails too, anchors are searched, for which the old line is indexed once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sluice.delta.anchors import Anchors
from sluice.delta.line import Line

_STEP = 1024 * 1024
_GRAIN = 4096
"""Shortest run that is reported, and the step in which agreement is searched again."""


class Run(NamedTuple):
    """Equal bytes of both lines."""

    new: int
    old: int
    length: int


class Trace:
    """Iterates over equal runs in the new line's order, without overlaps."""

    def __init__(self, old: Line, new: Line) -> None:
        self._old = old
        self._new = new
        self._anchors: Anchors | None = None
        self._window = (0, 0, list[tuple[int, bytes]]())

    def __iter__(self) -> Iterator[Run]:
        at = distance = 0
        while at < self._new.size:
            length = self._agree(at, at + distance)
            if length >= min(_GRAIN, self._new.size - at):
                yield Run(at, at + distance, length)
                at += length
                continue
            again = self._again(at, distance)
            if again is None:
                found = self._begins(at) or self._located(at)
                if found is None:
                    at += min(_STEP, self._new.size - at)
                    continue
                again, position = found
                distance = position - again
            at = again

    def _agree(self, new: int, old: int) -> int:
        """Count the equal bytes from these positions on."""
        length = 0
        while True:
            ours, theirs = self._new.read(new + length, _STEP), self._old.read(old + length, _STEP)
            if not ours or ours != theirs:
                return length + _common(ours, theirs)
            length += len(ours)

    def _again(self, at: int, distance: int) -> int | None:
        """Return the position within the next MiB at which both lines agree again at the same distance."""
        ours, theirs = self._new.read(at, _STEP), self._old.read(at + distance, _STEP)
        for step in range(_GRAIN, min(len(ours), len(theirs)) - _GRAIN, _GRAIN):
            if ours[step : step + _GRAIN] == theirs[step : step + _GRAIN]:
                return at + step
        return None

    def _begins(self, at: int) -> tuple[int, int] | None:
        """Return the position of an old content with the size and begin of the new one that begins here."""
        start, size = self._new.within(at, at + 1)[0]
        if start != at or size < _STEP:
            return None
        head = self._new.read(at, _GRAIN)
        same = (each for each, length in self._old.within(0, self._old.size) if length == size)
        return next(((at, each) for each in same if self._old.read(each, _GRAIN) == head), None)

    def _located(self, at: int) -> tuple[int, int] | None:
        """Return the next position within a MiB that anchors find in the old line, and that one."""
        if self._anchors is None:
            self._anchors = Anchors(self._old)
        begin, end, found = self._window
        if not begin <= at or at + _GRAIN > end:
            begin, end = at, at + 2 * _STEP
            found = self._anchors.found(self._new.read(at, 2 * _STEP))
            self._window = begin, end, found
        for offset, name in found:
            here = begin + offset
            if here < at or here > at + _STEP:
                continue
            position = self._anchors.position(name)
            if position is not None and self._new.read(here, _GRAIN) == self._old.read(position, _GRAIN):
                return here, position
        return None


def _common(one: bytes, other: bytes) -> int:
    """Count the first bytes that two byte strings share, by bisection."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
