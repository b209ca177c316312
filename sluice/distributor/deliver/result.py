"""How one Subscriber and Distribution ended in one flow run, for its table and its end state."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.errors import SluiceError
from sluice.model.revision import RevisionNumber
from sluice.model.state import State


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """How it ended for one Subscriber: a row of the run's table."""

    subscriber: str
    distribution: str
    revision: RevisionNumber | None
    state: State
    reason: str = ""
    bytes: int = 0
    resumed: int = 0
    seconds: float = 0.0
    error: SluiceError | None = None
    was_tried: bool = True
    """False where it wasn't due."""
    base: RevisionNumber | None = None
    """Of the delta that was sent; None: everything, or nothing had to be."""
    lent: int = 0
    """Bytes of contents that its tree lacked."""

    @property
    def is_error(self) -> bool:
        """Whether somebody or the next run has to do something; what isn't applicable or inactive is none."""
        return self.error is not None
