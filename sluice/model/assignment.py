"""The assignment of one revision to one Subscriber, which planning makes, and sending, queueing, extracting and recording take."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority


@dataclass(frozen=True, slots=True)
class Assignment:
    """One revision of a Distribution for one Subscriber, through a Channel, at a priority."""

    subscriber: str
    distribution: str
    revision: RevisionNumber
    channel: str = ""
    """Empty if no Channel joins the two, or it doesn't matter which."""
    priority: Priority = Priority.MEDIUM

    @property
    def pair(self) -> tuple[str, str]:
        """Subscriber and Distribution; the ledger keeps one state for each pair."""
        return self.subscriber, self.distribution

    @property
    def target(self) -> str:
        """``zone/1.2``: the revision as the agent protocol names it."""
        return f"{self.distribution}/{self.revision}"

    def __str__(self) -> str:
        return f"{self.subscriber} ← {self.distribution} {self.revision}"
