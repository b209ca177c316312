"""A pair of Subscriber and Distribution claimed in the send queue (D9, D10): one run at a time sends to it or has it extract.

Every step may come from another thread, one at a time. The lease is kept by the process' ``QueueWatch``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sluice.distributor.context import DistributorContext
from sluice.distributor.send_queue.watch import QueueWatch, Turn
from sluice.model.assignment import Assignment
from sluice.model.state import CurrentState, Record
from sluice.model.ticket import Lost, Occupied, Ticket


@dataclass(slots=True)
class Claim:
    """One run's claim, taken and given back as often as its steps need it."""

    context: DistributorContext
    watch: QueueWatch
    assignment: Assignment
    on_lost: Callable[[], None] = lambda: None
    """Called from the watch's thread if the claim was given away: breaks off what is under way."""
    _turn: Turn | None = field(default=None, init=False)

    @property
    def turn(self) -> Turn:
        """Its ticket, kept by the watch. Only while it is held."""
        if self._turn is None:
            raise ValueError("enter first")
        return self._turn

    @property
    def is_held(self) -> bool:
        """Whether it was entered and not given back."""
        return self._turn is not None

    def enter(self) -> Occupied | None:
        """Claim the pair. Occupied: another run has it; enter again later."""
        found = self.context.ledger.enqueue(
            self.context.distributor.name,
            self.assignment,
            self.context.flow_run,
            lease_seconds=self.watch.lease_seconds,
            now=self.context.clock.now(),
        )
        if isinstance(found, Occupied):
            return found
        self._turn = self.watch.keep(found, self.on_lost)
        return None

    def release(self, record: Record) -> None:
        """Give the slot back, keep the claim and record what happened; ``is_held`` says whether it is still there."""
        turn = self.turn
        turn.has_slot = False
        if isinstance(self.context.ledger.release(turn.ticket, record), Lost):
            self.hand_over()
        self.watch.slot_freed()

    def leave(self, record: Record | None = None) -> CurrentState | None:
        """Give claim and slot back, and record what happened; may be called twice. Returns the new state, if one was recorded."""
        ledger, ticket = self.context.ledger, self.hand_over()
        if ticket is not None:
            state = ledger.finish(ticket, record)
            self.watch.slot_freed()
            return state
        return None if record is None else ledger.record(record.event, record.change)

    def hand_over(self) -> Ticket | None:
        """Hand the ticket to a caller that gives it back in a transaction of its own; None if there is none."""
        turn, self._turn = self._turn, None
        if turn is None:
            return None
        self.watch.drop(turn)
        return turn.ticket
