"""The Ledger port: what happened, and who may send (docs/ledger.md). Adapter: ``infra/ledger/``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind, RecordedEvent
from sluice.model.order import Receipt
from sluice.model.state import Built, CurrentState, LedgerSnapshot, ReceiptStored, Record
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
            change: From the state as it stands to the new one; a transition of ``CurrentState`` or ``rules.retry``. Pure: it
                may be called again. Needs ``event.subscriber`` and ``event.distribution``; ``flow_run`` is taken from the event.
            built: The revision the event says was built, to be the Distribution's latest. Recording it twice is harmless.
        Returns:
            The new state; None without ``change``.
        """
        ...

    def record_all(self, records: Sequence[Record]) -> None:
        """Several such, in one transaction, in their order."""
        ...

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
        """Events with a number above ``after``, oldest first unless the newest are asked for; empty names and no kinds match all."""
        ...

    def state(self, subscriber: str, distribution: str) -> CurrentState:
        """As it stands; all defaults for a pair that was never recorded."""
        ...

    def built(self, distribution: str) -> Built | None:
        """The latest revision recorded as built."""
        ...

    def snapshot(self) -> LedgerSnapshot:
        """Everything ``rules.reasons`` reads, of one moment."""
        ...

    def next_sequence(self, distributor: str, subscriber: str, *, above: int = 0, record: Record | None = None) -> int:
        """The number of the next order: from 1, strictly increasing, never given twice, also after a crash.

        Args:
            record: What the order begins; recorded with its number.
            above: The last one the Subscriber says it accepted: where this ledger was lost or is an older one, it goes on after that.
                A claim: from CLAIMED_SEQUENCE_MAX on it is left out of account, so that nobody can use the numbers up.
        """
        ...

    def accept_receipt(self, receipt: Receipt, envelope: str, event: Event, *, done: Ticket | None = None) -> ReceiptStored:
        """Keep a verified receipt verbatim, apply it to the current state and record ``event``, in one transaction.

        The same Subscriber, Distributor and sequence again changes nothing (KNOWN, or CONFLICT where the envelope differs:
        the first stays and an event says so).

        Args:
            envelope: As received, JSON.
            done: Given back in the same transaction: with the receipt its work is over.
        """
        ...

    def receipt(self, distributor: str, subscriber: str, sequence: int) -> str | None:
        """The envelope, as received; None if there is none."""
        ...

    def request_cancel(self, name: str, *, at: datetime, by: str = "") -> None:
        """Ask that what waits under ``name`` (a Distribution or Channel) stops and what runs finishes (I10).

        Meant are runs that had begun by ``at``; ``look`` tells them. Those that begin later aren't stopped by it.
        """
        ...

    def enqueue(self, sender: str, assignment: Assignment, holder: str, *, lease_seconds: float, now: datetime) -> Ticket | Occupied:
        """Claim a pair of Subscriber and Distribution, before its host is called. Stands in nobody's way until ``take_turns``.

        Args:
            sender: The Distributor, or the parent that forwards.
            holder: The flow run's id.
        Returns:
            The ticket; or Occupied while another live one has the pair, be it the same holder's.
        """
        ...

    def look(self, sender: str) -> QueueLook:
        """What changed, for who waits: a read of a few rows, whatever the length of the queue."""
        ...

    def take_turns(
        self,
        sender: str,
        kept: Collection[int],
        asking: Collection[int],
        began: Callable[[int], Record],
        *,
        limit: int | None,
        now: datetime,
    ) -> QueueTurn:
        """Decide on the whole queue of a sender and save what it gives to those who ask, all in one transaction.

        Strict priorities, first come first served within one, at most ``limit`` over all flow runs (``rules/dispatch.py``). Those
        whose lease ran out are removed, so that their late holders find no row. A read where nothing is to be saved.

        Args:
            kept: Numbers of all own tickets: they live, however late their renewal is.
            asking: Those of them whose hosts answer and that want a slot, or want theirs back after a pause.
            began: What to record of one that begins to transfer; not asked for one that goes on.
            limit: The sender's ``max_concurrent``; None is UNLIMITED_IN_PROCESS for each holder.
        Returns:
            Verdicts on everybody. A number of ``asking`` that has none was given away.
        """
        ...

    def pause(self, ticket: Ticket, *, now: datetime) -> None:
        """Give the slot of a running transfer away in mid-transfer; ``take_turns`` gives it back. Raises LeaseLostError."""
        ...

    def renew(self, numbers: Collection[int], *, lease_seconds: float, now: datetime) -> frozenset[int]:
        """Keep leases alive, at least every third of their length. Returns those that are in the queue: the others were given away."""
        ...

    def release(self, ticket: Ticket, record: Record) -> Ticket | Lost:
        """Give the slot back and keep the claim, and record what happened; recorded too where the claim was lost."""
        ...

    def finish(self, ticket: Ticket, record: Record | None = None) -> CurrentState | None:
        """Give slot and claim back, also before waiting for a retry (D10), and record what happened; returns the new state.

        Harmless where they were lost or given back.
        """
        ...

    def close(self) -> None:
        """Release connections; the ledger may not be used afterwards."""
        ...
