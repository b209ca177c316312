"""Places that content itself defines, so that they are found again wherever it moved: the ends of rare pairs of bytes.

Which pairs are rare, but not too rare, is sampled from the line. An anchor's name is what follows it. Everything per byte is done by
``re``, which searches for a fixed pair at several GB/s.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from itertools import pairwise

from sluice.delta.line import Line

NAME = 48
"""Bytes behind an anchor that name it."""
_STEP = 4 * 1024 * 1024
_PAIRS = 4
_DISTANCE = 64 * 1024
"""Bytes between two of the same pair that are aimed at."""
_SAMPLES = 64
_SAMPLE = 4 * 1024
_MOST = 1 << 18
"""Most anchors kept: about 40 MB."""


class Anchors:
    """The anchors of a line, found in one pass, thinned evenly where they are many."""

    def __init__(self, line: Line) -> None:
        self._patterns = [re.compile(re.escape(pair)) for pair in _rare_pairs(line)]
        self._mask = 0
        self._places: dict[bytes, int] = {}
        for start in range(0, line.size, _STEP):
            for at, name in self.found(line.read(start, _STEP + NAME)):
                self._places.setdefault(name, start + at)
            while len(self._places) > _MOST:
                self._mask = self._mask << 1 | 1
                self._places = {name: at for name, at in self._places.items() if not zlib.crc32(name) & self._mask}

    def found(self, data: bytes) -> list[tuple[int, bytes]]:
        """Where anchors are in some bytes, in order, and their names."""
        ends = sorted(match.end() for pattern in self._patterns for match in pattern.finditer(data, 0, max(0, len(data) - NAME)))
        named = ((at, data[at : at + NAME]) for at in ends)
        return [(at, name) for at, name in named if not zlib.crc32(name) & self._mask]

    def place(self, name: bytes) -> int | None:
        """Where the line has an anchor of this name, the first where there are several."""
        return self._places.get(name)


def _rare_pairs(line: Line) -> list[bytes]:
    count: Counter[tuple[int, int]] = Counter()
    apart = max(1, line.size // _SAMPLES)
    for number in range(min(_SAMPLES, -(-line.size // _SAMPLE))):
        sample = line.read(number * apart, _SAMPLE)
        count.update(pairwise(sample))
    aim = max(1, count.total() // _DISTANCE)
    ranked = sorted(count.items(), key=lambda each: (max(each[1], aim) / min(each[1], aim), each[0]))
    return [bytes(pair) for pair, _ in ranked if pair[0] != pair[1]][:_PAIRS]
