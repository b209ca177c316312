"""The brake on removals (C9): how much of a destination one revision may remove before somebody must allow it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RemovalLimit:
    """``max_removals:`` of a destination. A removal is unusual if it is above both figures."""

    percent: int = 50
    """Of the files that are in the destination; 100: nothing is unusual."""
    files: int = 10

    def allows(self, removed: int, *, of: int) -> bool:
        """Whether ``removed`` of ``of`` files may go unasked."""
        return removed <= self.files or removed * 100 <= self.percent * of


USUAL = RemovalLimit()
"""When ``max_removals:`` is left out."""
