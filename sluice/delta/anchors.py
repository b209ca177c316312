"""Positions that content itself defines, so that they are found again wherever it moved: the ends of rare pairs of bytes.

Samples of the line tell which pairs are rare, but not too rare. An anchor's name are the bytes after it. ``re`` does all work per byte: it
searches for a fixed pair at several GB/s.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from itertools import pairwise

from sluice.delta.line import Line

NAME = 48
"""Bytes after an anchor that name it."""
_STEP = 4 * 1024 * 1024
_PAIRS = 4
_DISTANCE = 64 * 1024
"""Desired distance in bytes between two occurrences of a pair."""
_SAMPLES = 64
_SAMPLE = 4 * 1024
_MOST = 1 << 18
"""Most anchors kept: about 40 MB."""


class Anchors:
    """The anchors of a line, found in one pass, thinned evenly if there are many."""

    def __init__(self, line: Line) -> None:
        self._patterns = [re.compile(re.escape(pair)) for pair in _rare_pairs(line)]
        self._mask = 0
        self._positions: dict[bytes, int] = {}
        for start in range(0, line.size, _STEP):
            for at, name in self.found(line.read(start, _STEP + NAME)):
                self._positions.setdefault(name, start + at)
            while len(self._positions) > _MOST:
                self._mask = self._mask << 1 | 1
                self._positions = {name: at for name, at in self._positions.items() if not zlib.crc32(name) & self._mask}

    def found(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the positions of anchors in some bytes, in order, and their names."""
        ends = sorted(match.end() for pattern in self._patterns for match in pattern.finditer(data, 0, max(0, len(data) - NAME)))
        named = ((at, data[at : at + NAME]) for at in ends)
        return [(at, name) for at, name in named if not zlib.crc32(name) & self._mask]

    def position(self, name: bytes) -> int | None:
        """Return the position of the line's first anchor of this name; None if it has none."""
        return self._positions.get(name)


def _rare_pairs(line: Line) -> list[bytes]:
    count: Counter[tuple[int, int]] = Counter()
    apart = max(1, line.size // _SAMPLES)
    for number in range(min(_SAMPLES, -(-line.size // _SAMPLE))):
        sample = line.read(number * apart, _SAMPLE)
        count.update(pairwise(sample))
    aim = max(1, count.total() // _DISTANCE)
    ranked = sorted(count.items(), key=lambda each: (max(each[1], aim) / min(each[1], aim), each[0]))
    return [bytes(pair) for pair, _ in ranked if pair[0] != pair[1]][:_PAIRS]
