"""The Ledger port: events, current state and the send queue (docs/ledger.md). Adapter: ``infra/ledger/``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sluice.model.assignment import Assignment
from sluice.model.belief import Belief, BuildFailure
from sluice.model.event import Event, EventKind, RecordedEvent
from sluice.model.known import Known, LedgerSnapshot
from sluice.model.order import Receipt
from sluice.model.state import Built, CurrentState, ReceiptStored, Record
from sluice.model.ticket import Lost, Occupied, QueueLook, QueueTurn, Ticket


class Ledger(Protocol):
    """The truth over all flow runs: events, current state, built revisions, sequences, receipts, cancel flags, send queue.

    Used by many threads and processes at once; every call is one transaction and durable when it returns. All calls raise
    LedgerError: the database can't be reached, is full, or stayed locked beyond the bounds. Times are aware and in UTC.
    Source: TED's reporting database.
    """

    def record(
        self, event: Event, change: Callable[[CurrentState], CurrentState] | None = None, *, built: Built | None = None
    ) -> CurrentState | None:
        """Append an event and, in the same transaction, change the current state of its Subscriber and Distribution.

        Args:
            change: Makes the new state from the current one; a transition of ``CurrentState`` or ``rules.retry``. Pure: it
                may be called again. Needs ``event.subscriber`` and ``event.distribution``; ``flow_run`` is taken from the event.
            built: The built revision of the event, to become the Distribution's latest. Recording it twice is harmless.
        Returns:
            The new state; None without ``change``.
        """

    def record_all(self, records: Sequence[Record]) -> None:
        """Record several events with their changes in one transaction, in their order."""

    def events(
        self,
        *,
        subscriber: str = "",
        distribution: str = "",
        kinds: Collection[EventKind] = (),
        after: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Sequence[RecordedEvent]:
        """Return events with a number above ``after``, oldest first unless ``newest_first``; empty names and no kinds match all."""

    def state(self, subscriber: str, distribution: str) -> CurrentState:
        """Return the current state of a pair; all defaults if it was never recorded."""

    def built(self, distribution: str) -> Built | None:
        """Return the latest revision that was recorded as built."""

    def failing(self) -> Mapping[str, BuildFailure]:
        """Return the Distributions whose last build, or signing after it, failed."""

    def states(self, *, distributions: Collection[str] = (), subscribers: Collection[str] = ()) -> Mapping[tuple[str, str], CurrentState]:
        """Return the recorded states by (subscriber, distribution), of these names alone; no names match all."""

    def snapshot(self, *, distributions: Collection[str] = (), subscribers: Collection[str] = ()) -> LedgerSnapshot:
        """Return the data that ``rules.reasons`` reads, as of one moment: states as above, and the whole queue of each sender that has a
        ticket of them.
        """

    def known(self, distributor: str, subscriber: str) -> Known:
        """Return what is known of one Subscriber, for ``rules.belief`` to compare with what a contact shows. Read it before the contact."""

    def believe(
        self,
        distributor: str,
        subscriber: str,
        belief: Belief | None,
        events: Sequence[Event],
        changes: Mapping[str, Callable[[CurrentState], CurrentState]],
    ) -> None:
        """Keep what is believed of a Subscriber's agent, None for nothing, and append events and change states, in one transaction.

        Args:
            changes: By Distribution, as in ``record``.
        """

    def next_sequence(self, distributor: str, subscriber: str, *, above: int = 0, record: Record | None = None) -> int:
        """Return the number of the next order: from 1, strictly increasing, never given twice, not even after a crash.

        Args:
            record: The change that the order begins; recorded together with its number.
            above: The last number that the Subscriber says it accepted: if this ledger was lost or restored from an older copy, numbers
                go on after it. A claim: it is ignored from CLAIMED_SEQUENCE_MAX on, so that no Subscriber can use the numbers up.
        """

    def accept_receipt(self, receipt: Receipt, envelope: str, event: Event, *, done: Ticket | None = None) -> ReceiptStored:
        """Keep a verified receipt verbatim, apply it to the current state and record ``event``, in one transaction.

        The same Subscriber, Distributor and sequence again changes nothing (KNOWN, or CONFLICT if the envelope differs:
        the first is kept and an event records it).

        Args:
            envelope: As received, JSON.
            done: A ticket that is finished in the same transaction: with the receipt its work is over.
        """

    def receipt(self, distributor: str, subscriber: str, sequence: int) -> str | None:
        """Return the envelope, as received; None if there is none."""

    def request_cancel(self, name: str, *, at: datetime, by: str = "") -> None:
        """Ask that waiting transfers of ``name`` (a Distribution or Channel) stop and running ones finish (I10).

        It concerns runs that had begun by ``at``, which read it by ``look``. Runs that begin later aren't stopped by it.
        """

    def enqueue(self, sender: str, assignment: Assignment, holder: str, *, lease_seconds: float, now: datetime) -> Ticket | Occupied:
        """Claim a pair of Subscriber and Distribution, before its host is called. The ticket delays no other until ``take_turns``.

        Args:
            sender: The Distributor, or the parent that forwards.
            holder: The flow run's id.
        Returns:
            The ticket; or Occupied while another live one has the pair, even one of the same holder.
        """

    def tickets(self, sender: str) -> Sequence[Ticket]:
        """List a sender's tickets, by number."""

    def look(self, sender: str) -> QueueLook:
        """Return whether the queue changed, for waiting runs: a read of a few rows, whatever the length of the queue."""

    def take_turns(
        self,
        sender: str,
        kept: Collection[int],
        asking: Collection[int],
        began: Callable[[int], Record],
        *,
        limit: int | None,
        now: datetime,
        told: Collection[int] = (),
    ) -> QueueTurn:
        """Decide on the whole queue of a sender and save the slots that it gives to ``asking``, all in one transaction.

        Strict priorities, first come first served within one, at most ``limit`` over all flow runs (``rules/dispatch.py``). Those
        whose lease ran out are removed, so that their late holders find no row. Only reads if nothing is to be saved.

        Args:
            kept: Numbers of all own tickets: they are live, however late their renewal is.
            asking: Those of them whose hosts answer and that want a slot, or want theirs back after a pause.
            began: Returns the record of a ticket that begins to transfer; not called for one that goes on.
            limit: The sender's ``max_concurrent``; None is UNLIMITED_IN_PROCESS for each holder.
            told: Those of them that know that they wait: no verdict says it again.
        Returns:
            Verdicts on those of ``kept``.
        """

    def pause(self, ticket: Ticket, *, now: datetime) -> None:
        """Give up the slot of a running transfer in mid-transfer; ``take_turns`` gives it back. Raises LeaseLostError."""

    def renew(self, numbers: Collection[int], *, lease_seconds: float, now: datetime) -> frozenset[int]:
        """Renew leases, at least every third of their length. Returns the numbers still in the queue: other runs took over the rest."""

    def release(self, ticket: Ticket, record: Record) -> Ticket | Lost:
        """Give the slot back, keep the claim, and record the event, which is recorded even if the claim was lost."""

    def finish(self, ticket: Ticket, record: Record | None = None) -> CurrentState | None:
        """Give slot and claim back, also before waiting for a retry (D10), and record the event; returns the new state.

        Harmless if they were lost or given back.
        """

    def close(self) -> None:
        """Release connections; the ledger may not be used afterwards."""
