"""What the ledger knows: events, built revisions, and the current state of each Subscriber with each Distribution.

Frozen data and its transitions. Every transition returns a new ``CurrentState`` and is pure, because a ledger may run it again
after a conflict. The table of states, with who moves there:

============  =====================================================  ====================
state         means                                                  moved to by
============  =====================================================  ====================
waiting       offered; waits for a slot, a retry or the Channel      offered, tried_in_vain
unavailable   as waiting, because its host doesn't answer            tried_in_vain
sending       bytes go                                               sending
received      held whole and verified, not extracted                 received
installing    the agent extracts                                     installing
installed     read back and signed (X2)                              answered, still_installed
failed        somebody must look; the remedy is in the error         tried_in_vain, answered
cancelled     what waited was stopped (I10)                          cancelled
not sent      no Channel                                             never stored: rules/reasons.py derives it
not joined    no Channel joins the two                               never stored
inactive      A7                                                     never stored
not applicable  platform (B20)                                       never stored
not built     there is no revision yet                               never stored
============  =====================================================  ====================

The place in the send queue is in ``model/ticket.py``; the retry decision is made by ``rules/retry.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sluice.errors import BaseDiffersError, StoreCorruptError
from sluice.model.event import Event
from sluice.model.order import Failure, Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.ticket import Ticket


class State(StrEnum):
    """Where a Subscriber stands with a Distribution; the table is above."""

    WAITING = "waiting"
    UNAVAILABLE = "unavailable"
    SENDING = "sending"
    RECEIVED = "received"
    INSTALLING = "installing"
    INSTALLED = "installed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_SENT = "not sent"
    NOT_JOINED = "not joined"
    INACTIVE = "inactive"
    NOT_APPLICABLE = "not applicable"
    NOT_BUILT = "not built"


_HELD_IN_VAIN = frozenset({StoreCorruptError.__name__, BaseDiffersError.__name__})


@dataclass(frozen=True, slots=True)
class Built:
    """The latest revision of a Distribution, as it was built."""

    distribution: str
    revision: RevisionNumber
    at: datetime
    files: int
    bytes: int
    """Of the manifest's distinct contents."""


class ReceiptStored(StrEnum):
    """What became of a receipt handed to the ledger."""

    NEW = "new"
    KNOWN = "known"
    """It was stored before; nothing changed."""
    CONFLICT = "conflict"
    """Another one is stored for that order; the first stays, an event tells."""


@dataclass(frozen=True, slots=True)
class CurrentState:
    """Where one Subscriber stands with one Distribution. A pair the ledger hasn't met is all defaults."""

    subscriber: str
    distribution: str
    distributor: str = ""
    channel: str = ""
    """Through which it was last offered."""
    held: RevisionNumber | None = None
    """Received whole and verified on the Subscriber."""
    extracted: RevisionNumber | None = None
    """Read back on the Subscriber, as its receipt says. Where nothing is held it was found damaged since, and is sent again (C10)."""
    offered: RevisionNumber | None = None
    """The latest that was to be sent."""
    state: State = State.WAITING
    reason: str = ""
    since: datetime | None = None
    """When ``state`` was entered; None: never offered."""
    bytes_sent: int = 0
    """On the wire, over all sends."""
    bytes_last: int = 0
    """On the wire, in the last send, tries that broke off included."""
    bytes_resumed: int = 0
    """Of the last try: bytes that needn't be sent because they had arrived before (D8)."""
    attempts: int = 0
    """Failed tries since the count began (D7)."""
    first_failure: datetime | None = None
    """When the count began."""
    next_try: datetime | None = None
    """None while attempts > 0: waits for the Channel's next start."""
    error: Failure | None = None
    """The last one; cleared by success."""
    sequence: int = 0
    """Of the last order that a receipt answered; 0 is none."""
    flow_run: str = ""
    """Of the last change."""

    def offer(self, revision: RevisionNumber, *, distributor: str, channel: str, at: datetime) -> CurrentState:
        """A Channel starts, or somebody asks by hand: the count of retries begins anew (D7)."""
        moved = self._to(State.WAITING, f"{revision} is offered through {channel}" if channel else f"{revision} is offered", at)
        sequence = self.sequence if distributor == self.distributor else 0  # each Distributor counts its own orders
        moved = replace(moved, offered=revision, distributor=distributor, channel=channel, sequence=sequence)
        return replace(
            moved, bytes_last=0, bytes_resumed=0, attempts=0, first_failure=None, next_try=None, error=None
        )  # fmt: skip

    def check(self, at: datetime) -> CurrentState:
        """Somebody asks again for what is there already: the state stays, the count of retries begins anew."""
        return replace(self, attempts=0, first_failure=None, next_try=None, error=None, since=self.since or at)

    def still_installed(self, at: datetime, *, sent: int = 0) -> CurrentState:
        """The Subscriber, asked again, says that what its receipt swore still stands there."""
        moved = self._to(State.INSTALLED, f"{self.extracted} is installed", at, sent=sent)
        return replace(moved, held=self.extracted, attempts=0, first_failure=None, next_try=None, error=None)

    def gone(self, revision: RevisionNumber, *, is_held: bool) -> CurrentState:
        """The Subscriber, asked again, hasn't extracted this any more; ``is_held``: it still holds it."""
        extracted = None if self.extracted == revision else self.extracted
        return replace(self, held=extracted if self.held == revision and not is_held else self.held, extracted=extracted)

    def sending(self, revision: RevisionNumber, at: datetime) -> CurrentState:
        """It has a slot and its bytes begin to go. The count of retries stays."""
        return replace(self._to(State.SENDING, f"sending {revision}", at), offered=revision, next_try=None)

    def received(self, revision: RevisionNumber, *, sent: int, resumed: int, at: datetime) -> CurrentState:
        """The Subscriber holds it whole and verified: success clears errors and the count.

        Args:
            sent: Bytes on the wire in this try; 0 where it was held before.
            resumed: Bytes that had arrived before this try.
        """
        moved = self._to(State.RECEIVED, f"{revision} is received", at, sent=sent, resumed=resumed)
        return replace(moved, held=revision, offered=revision, attempts=0, first_failure=None, next_try=None, error=None)

    def tried_in_vain(
        self,
        failure: Failure,
        *,
        state: State,
        reason: str,
        next_try: datetime | None,
        at: datetime,
        sent: int = 0,
        resumed: int = 0,
    ) -> CurrentState:
        """A try to send failed. Callers take ``rules.retry.after_failure``, which decides and then calls this."""
        moved = self._to(state, reason, at, sent=sent, resumed=resumed)
        return replace(
            moved, attempts=self.attempts + 1, first_failure=self.first_failure or at, next_try=next_try, error=failure
        )  # fmt: skip

    def installing(self, revision: RevisionNumber, at: datetime, *, sent: int = 0) -> CurrentState:
        """The order was handed over; the agent extracts, or verifies what it extracted (C10).

        Args:
            sent: Bytes on the wire to lend it contents for that.
        """
        return self._to(State.INSTALLING, f"{'verifying' if revision == self.extracted else 'extracting'} {revision}", at, sent=sent)

    def extracted_in_vain(self, failure: Failure, at: datetime) -> CurrentState:
        """An order couldn't be given, or its receipt can't be believed. What is held stays held; the next Extract tries again.

        What was to be verified stays installed where nothing says otherwise: the next start verifies it.
        """
        if self.extracted is not None and self.extracted == self.held:
            if self.state is State.INSTALLED:
                return self
            if self.state is State.INSTALLING and failure.retryable:
                return self._to(State.INSTALLED, f"{self.extracted} is installed", at)
        state = State.RECEIVED if failure.retryable else State.FAILED
        return replace(self._to(state, f"extracting {self.held} failed", at), since=at, error=failure)

    def answered(self, receipt: Receipt) -> CurrentState:
        """The Subscriber's receipt, already verified. One older than the last changes nothing."""
        if receipt.sequence <= self.sequence:
            return self
        failure = receipt.failure
        if receipt.outcome in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED):
            is_check, count = self.extracted == receipt.revision, receipt.files_written
            mended = f", {count} {'file' if count == 1 else 'files'} mended" if is_check and count else ""
            moved = self._to(State.INSTALLED, f"{receipt.revision} is installed{mended}", receipt.finished)
            since = self.since if self.state is State.INSTALLED and self.extracted == receipt.revision else receipt.finished
            moved = replace(moved, extracted=receipt.revision, held=receipt.revision, since=since, error=None)
        else:
            reason = failure.message if failure else f"{receipt.revision} {receipt.outcome}"
            moved = self._to(State.FAILED, reason, receipt.finished)
            # What is damaged there, or builds on what isn't there any more, has to be sent again: it is as good as not held (E4).
            lost = failure is not None and failure.code in _HELD_IN_VAIN and self.held == receipt.revision
            left = None if self.extracted == receipt.revision else self.extracted
            moved = replace(moved, error=failure, since=receipt.finished, held=left if lost else self.held)
        return replace(
            moved, distributor=receipt.distributor, sequence=receipt.sequence, attempts=0, first_failure=None, next_try=None
        )  # fmt: skip

    def cancelled(self, reason: str, at: datetime) -> CurrentState:
        """It waited, and was stopped (I10)."""
        return replace(self._to(State.CANCELLED, reason, at), attempts=0, first_failure=None, next_try=None)

    def _to(self, state: State, reason: str, at: datetime, *, sent: int = 0, resumed: int | None = None) -> CurrentState:
        return replace(
            self,
            state=state,
            reason=reason,
            since=self.since if state is self.state and self.since is not None else at,
            bytes_sent=self.bytes_sent + sent,
            bytes_last=self.bytes_last + sent,
            bytes_resumed=self.bytes_resumed if resumed is None else resumed,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """An event and the change of its pair's state, which are recorded together: with each other, and with what else a call does."""

    event: Event
    change: Callable[[CurrentState], CurrentState] | None = None
    """Pure: it may be called again. None: only the event."""


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """Everything ``status`` and ``why`` read, as of one moment."""

    states: Mapping[tuple[str, str], CurrentState]
    """By (subscriber, distribution)."""
    built: Mapping[str, Built]
    """By Distribution."""
    tickets: tuple[Ticket, ...]
    """Of every sender, by number; those whose lease ran out included."""
