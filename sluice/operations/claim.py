"""A pair of Subscriber and Distribution claimed in the send queue (D9, D10): one run at a time sends to it or has it extract.

Every step may come from another thread, one at a time, but for ``renew``, which runs beside them.
"""

from __future__ import annotations

from sluice.model.revision import RevisionNumber
from sluice.model.site import Distributor, Priority
from sluice.model.ticket import Occupied, Started, Ticket, Waiting
from sluice.ports import Clock, Ledger

LEASE_SECONDS = 30.0
"""How long a place in the queue outlives its holder's last sign of life."""


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
    ) -> None:
        """Nothing is claimed yet."""
        self._distributor, self._ledger, self._clock, self._flow_run = distributor, ledger, clock, flow_run
        self._subscriber, self._distribution, self._revision, self._priority = subscriber, distribution, revision, priority
        self._ticket: Ticket | None = None

    def enter(self) -> Occupied | None:
        """Claim the pair. Occupied: another run has it; enter again later."""
        found = self._ledger.enqueue(
            self._distributor.name,
            self._subscriber,
            self._distribution,
            self._revision,
            self._priority,
            self._flow_run,
            lease_seconds=LEASE_SECONDS,
            now=self._clock.now(),
        )
        if isinstance(found, Occupied):
            return found
        self._ticket = found
        return None

    def ask(self) -> Waiting | None:
        """Ask for a slot; None: it has one. Raises LeaseLostError."""
        if self._ticket is None:
            raise ValueError("enter first")
        found = self._ledger.try_start(
            self._ticket, limit=self._distributor.max_concurrent, lease_seconds=LEASE_SECONDS, now=self._clock.now()
        )
        self._ticket = found.ticket
        return None if isinstance(found, Started) else found

    def renew(self) -> None:
        """Keep the place; called every third of LEASE_SECONDS. Raises LeaseLostError."""
        if self._ticket is not None:
            self._ledger.renew(self._ticket, lease_seconds=LEASE_SECONDS, now=self._clock.now())

    def leave(self) -> None:
        """Give place and slot back; may be called twice."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._ledger.finish(ticket)
