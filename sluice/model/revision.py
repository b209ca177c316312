"""Revisions: the numbered states of a Distribution (requirements C)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from sluice.errors import NotFoundError

_TEXT = re.compile(r"([1-9][0-9]{0,8})\.([1-9][0-9]{0,8})")


@total_ordering
@dataclass(frozen=True, slots=True)
class RevisionNumber:
    """``<baseline>.<number>``: 2.3 is the third revision of the second baseline; x.1 is a baseline. Ordered."""

    baseline: int
    number: int

    @classmethod
    def parse(cls, text: str) -> RevisionNumber:
        """Read ``"2.3"``; raise NotFoundError for anything else."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise NotFoundError(f"{text!r} isn't a revision number", remedy="write it as baseline.number, for example 2.3")
        return cls(int(match[1]), int(match[2]))

    @property
    def is_baseline(self) -> bool:
        """Whether it is the first of its baseline."""
        return self.number == 1

    def __str__(self) -> str:
        return f"{self.baseline}.{self.number}"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, RevisionNumber):
            return NotImplemented
        return (self.baseline, self.number) < (other.baseline, other.number)
