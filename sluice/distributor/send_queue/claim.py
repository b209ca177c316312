"""A pair of Subscriber and Distribution claimed in the send queue (D9, D10): one run at a time sends to it or has it extract.

Every step may come from another thread, one at a time. The lease is kept by the process' ``QueueWatch``.
"""

from __future__ import annotations

from collections.abc import Callable

from sluice.distributor.send_queue.watch import QueueWatch, Turn
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distributor, Priority
from sluice.model.state import CurrentState, Record
from sluice.model.ticket import Lost, Occupied, Ticket
from sluice.ports import Clock, Ledger


class Claim:
    """One run's claim, taken and given back as often as its steps need it."""

    def __init__(
        self,
        distributor: Distributor,
        subscriber: str,
        distribution: str,
        revision: RevisionNumber,
        priority: Priority,
        *,
        ledger: Ledger,
        clock: Clock,
        flow_run: str,
        watch: QueueWatch,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is claimed yet.

        Args:
            lost: Called from the watch's thread where the place was given away: breaks off what is under way.
        """
        self._distributor, self._ledger, self._clock, self._flow_run = distributor, ledger, clock, flow_run
        self._subscriber, self._distribution, self._revision, self._priority = subscriber, distribution, revision, priority
        self._watch, self._lost = watch, lost
        self._turn: Turn | None = None

    @property
    def turn(self) -> Turn:
        """Its place in the queue. Only while it is held."""
        if self._turn is None:
            raise ValueError("enter first")
        return self._turn

    @property
    def is_held(self) -> bool:
        """Whether it was entered and not given back."""
        return self._turn is not None

    def enter(self) -> Occupied | None:
        """Claim the pair. Occupied: another run has it; enter again later."""
        found = self._ledger.enqueue(
            self._distributor.name,
            self._subscriber,
            self._distribution,
            self._revision,
            self._priority,
            self._flow_run,
            lease_seconds=self._watch.lease_seconds,
            now=self._clock.now(),
        )
        if isinstance(found, Occupied):
            return found
        self._turn = self._watch.keep(found, self._lost)
        return None

    def release(self, record: Record) -> None:
        """Give the slot back, keep the claim and record what happened; ``is_held`` says whether it is still there."""
        turn = self.turn
        turn.runs = False
        if isinstance(self._ledger.release(turn.ticket, record), Lost):
            self.hand_over()
        self._watch.freed()

    def leave(self, record: Record | None = None) -> CurrentState | None:
        """Give place and slot back, and record what happened; may be called twice. Returns the new state, where one was recorded."""
        ticket = self.hand_over()
        if ticket is not None:
            state = self._ledger.finish(ticket, record)
            self._watch.freed()
            return state
        return None if record is None else self._ledger.record(record.event, record.change)

    def hand_over(self) -> Ticket | None:
        """The ticket, for whom gives it back in a transaction of theirs; None where there is none."""
        turn, self._turn = self._turn, None
        if turn is None:
            return None
        self._watch.drop(turn)
        return turn.ticket
