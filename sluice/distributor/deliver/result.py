"""The end of one Subscriber and Distribution in one flow run, for its table and its end state."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.errors import SluiceError
from sluice.model.revision import RevisionNumber
from sluice.model.state import State


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """A row of the run's table."""

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
    """False if it wasn't due."""
    base: RevisionNumber | None = None
    """The revision that the delta builds on; None: everything was sent, or nothing had to be."""
    supplement: int = 0
    """Bytes of the supplement: contents that its tree lacked."""

    @property
    def is_error(self) -> bool:
        """Whether somebody or the next run has to act; not applicable and inactive are no errors."""
        return self.error is not None
