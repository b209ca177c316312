"""The outside world as the domain sees it. Adapters live in ``infra/`` (and ``agents/`` for what runs on a Subscriber).

One small port per kind of I/O. Adapters translate foreign exceptions into ``sluice.errors`` at one seam each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sluice.model.manifest import Entry, Manifest
from sluice.model.order import Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority, Subscriber
from sluice.model.state import Built, CurrentState, Event, LedgerSnapshot, ReceiptStored, RecordedEvent
from sluice.model.ticket import Occupied, Started, Ticket, Waiting

Progress = Callable[[int, int], None]
"""Called with (done, total) in the unit its receiver names; cheap, may be called often."""


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class Stream(Protocol):
    """A conversation's bytes in both directions, to one agent."""

    def write(self, data: bytes | memoryview) -> None:
        """Write everything. Raises ConnectionLostError or TransportTimeoutError."""
        ...

    def read(self, size: int) -> bytes:
        """One to ``size`` bytes; ``b""`` at the end. Raises ConnectionLostError or TransportTimeoutError."""
        ...

    def readable(self) -> bool:
        """Whether a read would return at once; never blocks."""
        ...

    def close(self) -> None:
        """End the conversation; may be called twice."""
        ...


class Transport(Protocol):
    """A way to Subscribers: SSH or local."""

    def connect(self, subscriber: Subscriber, *, timeout: float) -> Stream:
        """Start ``sluice-agent serve`` on the Subscriber and hold its stdin and stdout.

        Args:
            timeout: Seconds without progress until any call on the stream raises TransportTimeoutError.
        Raises:
            UnreachableError, HostKeyError, AuthenticationError, AgentMissingError, TransportTimeoutError.
        """
        ...


@dataclass(frozen=True, slots=True)
class TedFile:
    """A ``.ted`` of a revision at the Distributor."""

    revision: RevisionNumber
    base: RevisionNumber | None
    path: str
    """On this machine."""
    name: str
    """``distfile.ted`` or ``from-B.N.ted``: the last part of its TUF target."""
    index: bytes
    payload: int
    """Bytes; they begin at offset 8 of the file."""


class Store(Protocol):
    """The Distributor's revisions of its Distributions (docs/formats.md sections 1 to 4)."""

    def revisions(self, distribution: str) -> Sequence[RevisionNumber]:
        """Kept ones, oldest first."""
        ...

    def manifest(self, distribution: str, revision: RevisionNumber) -> Manifest:
        """Of a kept revision. Raises NotFoundError, StoreCorruptError."""
        ...

    def manifest_bytes(self, distribution: str, revision: RevisionNumber) -> bytes:
        """The bytes that are signed."""
        ...

    def teds(self, distribution: str, revision: RevisionNumber) -> Sequence[TedFile]:
        """Those made so far."""
        ...

    def ensure_ted(self, distribution: str, revision: RevisionNumber, base: RevisionNumber | None) -> TedFile:
        """The ``.ted`` from ``base``, made now if it is missing. Takes the Distribution's lock."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at a path below a destination."""

    entry: Entry
    """With an empty digest: contents aren't read."""
    device: int
    inode: int
    ctime_ns: int
    writable: bool
    """False where the file is immutable or locked against us (F2)."""


class Filesystem(Protocol):
    """Destinations on a Subscriber, treated as hostile: nothing here follows a link below a root.

    A root is an absolute destination path, opened once; every ``path`` is relative to it and uses ``/``. All calls raise
    DestinationError for links in the way, LockedTargetError for locked targets, NoSpaceError.
    """

    def open_root(self, path: str, *, create: bool) -> Root:
        """Open the directory ``path``, creating it and missing parents if asked."""
        ...


class Root(Protocol):
    """An open directory of a destination, or its staging directory."""

    def find(self, path: str) -> Found | None:
        """What stands there; None if nothing."""
        ...

    def walk(self, path: str) -> Iterator[Found]:
        """Everything below ``path``, a directory before what it holds; links aren't followed."""
        ...

    def read(self, path: str) -> Iterator[bytes]:
        """A regular file's content in pieces; DestinationError if it is anything else."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class Mailer(Protocol):
    """Notices by mail (C7)."""

    def send(self, to: Sequence[str], subject: str, text: str) -> None:
        """Hand one message to the server. Raises TransportError."""
        ...


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

    def events(self, *, subscriber: str = "", distribution: str = "", after: int = 0, limit: int = 1000) -> Sequence[RecordedEvent]:
        """Events with a number above ``after``, oldest first; empty names match all."""
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

    def next_sequence(self, distributor: str, subscriber: str) -> int:
        """The number of the next order: from 1, strictly increasing, never given twice, also after a crash."""
        ...

    def accept_receipt(self, receipt: Receipt, envelope: str, event: Event) -> ReceiptStored:
        """Keep a verified receipt verbatim, apply it to the current state and record ``event``, in one transaction.

        The same Subscriber, Distributor and sequence again changes nothing (KNOWN, or CONFLICT where the envelope differs:
        the first stays and an event says so).

        Args:
            envelope: As received, JSON.
        """
        ...

    def receipt(self, distributor: str, subscriber: str, sequence: int) -> str | None:
        """The envelope, as received; None if there is none."""
        ...

    def request_cancel(self, name: str, *, at: datetime, by: str = "") -> None:
        """Ask that what waits under ``name`` (a Distribution or Channel) stops and what runs finishes (I10)."""
        ...

    def cancel_requested(self, name: str) -> bool:
        """Whether that was asked since ``name`` last started; read before each target."""
        ...

    def clear_cancel(self, name: str) -> None:
        """``name`` starts anew."""
        ...

    def enqueue(
        self,
        sender: str,
        subscriber: str,
        distribution: str,
        revision: RevisionNumber,
        priority: Priority,
        holder: str,
        *,
        lease_seconds: float,
        now: datetime,
    ) -> Ticket | Occupied:
        """Claim a pair of Subscriber and Distribution, before its host is called. Stands in nobody's way until ``try_start``.

        Args:
            sender: The Distributor, or the parent that forwards.
            holder: The flow run's id.
        Returns:
            The ticket; or Occupied while another live one has the pair, be it the same holder's.
        """
        ...

    def try_start(self, ticket: Ticket, *, limit: int | None, lease_seconds: float, now: datetime) -> Started | Waiting:
        """Ask for a slot, once the host answers; ask again while Waiting. Each call keeps the lease alive.

        Strict priorities, first come first served within one, at most ``limit`` over all flow runs of the sender
        (``rules/dispatch.py``). Cheap while nothing changed: a read.

        Args:
            limit: The sender's ``max_concurrent``; None is UNLIMITED_IN_PROCESS for each holder.
        Raises:
            LeaseLostError: The lease ran out and the place was given away; enter again.
        """
        ...

    def renew(self, ticket: Ticket, *, lease_seconds: float, now: datetime) -> Ticket:
        """Keep a ticket's lease alive, at least every third of its length. Raises LeaseLostError as above."""
        ...

    def finish(self, ticket: Ticket) -> None:
        """Give slot and claim back; also before waiting for a retry (D10). Harmless where they were lost or given back."""
        ...

    def close(self) -> None:
        """Release connections; the ledger may not be used afterwards."""
        ...
