"""Tell how far an agent is within a request: signs of life, and the milestones of an extraction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sluice.model.order import ActionReport, Failure


class ExtractPhase(StrEnum):
    """A phase of an extraction, in its order; an agent with the feature ``phases`` tells when each begins."""

    STAGE = "stage"
    """Compare the destinations, write new contents beside them and verify those."""
    PRE_ACTIONS = "pre actions"
    EXTRACT = "extract"
    """Wait for locked targets, then swap files in."""
    POST_ACTIONS = "post actions"
    ROLL_BACK = "roll back"
    """Undo everything after a failure."""


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """A sign of life of a step that lasts, of an agent or while a send is prepared; or a milestone, told at once.

    A milestone's ``phase`` is one of ``ExtractPhase``. Nothing is decided by events: the signed receipt is the truth.
    """

    phase: str
    done: int = 0
    total: int = 0
    report: ActionReport | None = None
    """Of an action that has just ended."""
    failure: Failure | None = None
    """The reason why it is rolled back."""
