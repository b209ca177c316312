"""The ledger's state: the latest revision of each Distribution, and the current state of each Subscriber with each Distribution.

Frozen data and its transitions. Every transition returns a new ``CurrentState`` and is pure, because a ledger may run it again
after a conflict. The table of states, with the transitions that lead to each:

============  =====================================================  ====================
state         means                                                  moved to by
============  =====================================================  ====================
waiting       offered; waits for a slot, a retry or the Channel      offer, fail_sending, raise_doubt
unavailable   as waiting, because its host doesn't answer            fail_sending
sending       bytes are sent                                         begin_sending
received      held whole and verified, not extracted                 mark_received, fail_extracting, raise_doubt
installing    the agent extracts                                     begin_extracting
installed     read back and signed (X2)                              apply_receipt, confirm_installed
failed        an administrator must act; the error has the remedy    fail_sending, fail_extracting, apply_receipt
cancelled     cancelled while it waited (I10)                        cancel
released      its host forgot that it placed anything; files stay    apply_receipt
not sent      no Channel                                             never stored: rules/reasons.py derives it
not joined    no Channel joins the two                               never stored
inactive      A7                                                     never stored
not applicable  platform (B20)                                       never stored
not built     there is no revision yet                               never stored
============  =====================================================  ====================

Tickets of the send queue are in ``model/ticket.py``; ``rules/retry.py`` decides about retries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sluice.errors import AgentVersionError, BaseDiffersError, StoreCorruptError
from sluice.model.belief import Doubt
from sluice.model.event import Event
from sluice.model.order import INSTALLED, Failure, Outcome, Receipt
from sluice.model.revision import RevisionNumber


class State(StrEnum):
    """The state of a Subscriber with a Distribution; the table is above."""

    WAITING = "waiting"
    UNAVAILABLE = "unavailable"
    SENDING = "sending"
    RECEIVED = "received"
    INSTALLING = "installing"
    INSTALLED = "installed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    NOT_SENT = "not sent"
    NOT_JOINED = "not joined"
    INACTIVE = "inactive"
    NOT_APPLICABLE = "not applicable"
    NOT_BUILT = "not built"


_UNUSABLE_CODES = frozenset({StoreCorruptError.__name__, BaseDiffersError.__name__})
"""Failures of an extraction that make the held revision unusable."""


@dataclass(frozen=True, slots=True)
class Built:
    """The latest revision of a Distribution, as recorded by its build."""

    distribution: str
    revision: RevisionNumber
    at: datetime
    files: int
    bytes: int
    """Total size of the manifest's distinct contents."""


class ReceiptStored(StrEnum):
    """The result of handing a receipt to the ledger."""

    NEW = "new"
    KNOWN = "known"
    """It was stored before; nothing changed."""
    CONFLICT = "conflict"
    """Another one is stored for that order; the first is kept, and an event records the conflict."""


@dataclass(frozen=True, slots=True)
class CurrentState:
    """The state of one Subscriber with one Distribution. A pair that the ledger doesn't know has all defaults."""

    subscriber: str
    distribution: str
    distributor: str = ""
    channel: str = ""
    """The Channel through which it was last offered."""
    held: RevisionNumber | None = None
    """Received whole and verified on the Subscriber."""
    extracted: RevisionNumber | None = None
    """Read back on the Subscriber, as its receipt says. If nothing is held, it was found damaged since and is sent again (C10)."""
    offered: RevisionNumber | None = None
    """The latest revision that was offered."""
    state: State = State.WAITING
    reason: str = ""
    since: datetime | None = None
    """When ``state`` was entered; None: never offered."""
    bytes_sent: int = 0
    """Bytes on the wire, over all sends."""
    bytes_last: int = 0
    """Bytes on the wire in the last send, including tries that failed."""
    bytes_resumed: int = 0
    """Bytes that the last try needn't send because they had arrived before (D8)."""
    attempts: int = 0
    """Failed tries since the count of retries began (D7)."""
    first_failure: datetime | None = None
    """When the count began."""
    next_try: datetime | None = None
    """None although attempts > 0: it waits for the Channel's next start."""
    error: Failure | None = None
    """The last failure; cleared by success."""
    sequence: int = 0
    """The last order that a receipt answered; 0 if none."""
    flow_run: str = ""
    """The flow run of the last change."""
    read_back_at: datetime | None = None
    """When every file of the extracted revision had been read and hashed, by receipts: none of those that stayed was read before then."""
    seen_at: datetime | None = None
    """When its agent last said, or attested, the same as is recorded here. A claim is no read back."""
    doubt: str = ""
    """Why what was believed doesn't hold any more (``rules/belief.py``); if nothing counts as extracted, ended by a receipt of every file
    that was read back. The receipt of an order from before it changes nothing."""
    doubt_order: int = 0
    """``Doubt.order`` of the last one."""

    def offer(self, revision: RevisionNumber, *, distributor: str, channel: str, at: datetime) -> CurrentState:
        """Offer a revision, because a Channel starts or a command asks for it: the count of retries begins again (D7).

        What another Distributor placed attests nothing for this one: each has its own record on the host.
        """
        if self.distributor not in ("", distributor):
            blank = CurrentState(self.subscriber, self.distribution, bytes_sent=self.bytes_sent)
            return blank.offer(revision, distributor=distributor, channel=channel, at=at)
        moved = self._to(State.WAITING, f"{revision} is offered through {channel}" if channel else f"{revision} is offered", at)
        moved = replace(moved, offered=revision, distributor=distributor, channel=channel)
        return _without_retries(replace(moved, bytes_last=0, bytes_resumed=0, error=None))

    def reset_retries(self, at: datetime) -> CurrentState:
        """Keep the state and begin the count of retries again: a revision was asked for that the Subscriber has already."""
        return _without_retries(replace(self, error=None, since=self.since or at))

    def confirm_installed(self, at: datetime, *, sent: int = 0) -> CurrentState:
        """Record that the Subscriber still has extracted the revision that its receipt attests."""
        moved = self._to(State.INSTALLED, f"{self.extracted} is installed", at, sent=sent)
        return _without_retries(replace(moved, held=self.extracted, error=None, seen_at=at))

    def raise_doubt(self, doubt: Doubt, at: datetime) -> CurrentState:
        """Take back what was believed, because the Subscriber's agent showed less, older or other: the pair is due again."""
        is_there = doubt.held is not None and doubt.held in (self.held, self.extracted, self.offered)
        moved = self._to(State.RECEIVED if is_there else State.WAITING, doubt.text, at)
        moved = replace(moved, held=doubt.held, extracted=doubt.extracted, sequence=doubt.sequence, doubt=doubt.text, since=at, seen_at=at)
        read_back_at = self.read_back_at if doubt.extracted else None
        return _without_retries(replace(moved, error=None, read_back_at=read_back_at, doubt_order=doubt.order))

    def begin_sending(self, revision: RevisionNumber, at: datetime) -> CurrentState:
        """Record that a transfer begins, in a slot. The count of retries stays."""
        return replace(self._to(State.SENDING, f"sending {revision}", at), offered=revision, next_try=None)

    def mark_received(self, revision: RevisionNumber, *, sent: int, resumed: int, at: datetime) -> CurrentState:
        """Record that the Subscriber holds a revision whole and verified: success clears errors and the count of retries.

        Args:
            sent: Bytes on the wire in this try; 0 if it was held before.
            resumed: Bytes that had arrived before this try.
        """
        moved = self._to(State.RECEIVED, f"{revision} is received", at, sent=sent, resumed=resumed)
        return _without_retries(replace(moved, held=revision, offered=revision, error=None, seen_at=at))

    def fail_sending(
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
        """Record a failed try to send. Callers use ``rules.retry.after_failure``, which decides and then calls this."""
        moved = self._to(state, reason, at, sent=sent, resumed=resumed)
        return replace(moved, attempts=self.attempts + 1, first_failure=self.first_failure or at, next_try=next_try, error=failure)

    def begin_extracting(self, revision: RevisionNumber, at: datetime, *, sent: int = 0) -> CurrentState:
        """Record that the order was handed over: the agent extracts, or verifies the extracted revision (C10).

        Args:
            sent: Bytes on the wire for a supplement of missing contents.
        """
        return self._to(State.INSTALLING, f"{'verifying' if revision == self.extracted else 'extracting'} {revision}", at, sent=sent)

    def fail_extracting(self, failure: Failure, at: datetime) -> CurrentState:
        """Record that an order couldn't be given, or that its receipt can't be believed. The next Extract tries again.

        A revision that was to be verified stays installed unless the failure contradicts it: the next start verifies it.
        """
        if self.extracted is not None and self.extracted == self.held:
            if self.state is State.INSTALLED:
                return self
            if self.state is State.INSTALLING and failure.retryable:
                return self._to(State.INSTALLED, f"{self.extracted} is installed", at)
        state = State.RECEIVED if failure.retryable else State.FAILED
        return replace(self._to(state, f"extracting {self.held or self.offered} failed", at), since=at, error=failure)

    def apply_receipt(self, receipt: Receipt) -> CurrentState:
        """Apply a verified receipt of the Subscriber. One older than the last, or than the doubt, changes nothing; nor does another
        Distributor's, which counts its own orders.
        """
        if self.distributor not in ("", receipt.distributor) or receipt.sequence <= max(self.sequence, self.doubt_order):
            return self
        failure, is_installed = receipt.failure, receipt.outcome in INSTALLED
        if is_installed and self.doubt and self.extracted is None and not receipt.is_of_all_files:
            failure = _unread(receipt)
            moved = self._to(State.FAILED, failure.message, receipt.finished)
            moved = replace(moved, held=receipt.revision, since=receipt.finished, error=failure, seen_at=receipt.finished)
        elif is_installed:
            is_check, count = self.extracted == receipt.revision, receipt.files_written
            done = "repaired" if receipt.files_unchanged else "written anew"
            repaired = f", {count} {'file' if count == 1 else 'files'} {done}" if is_check and count else ""
            if is_check and (others := receipt.paths_adjusted):
                repaired += f", {others} other {'path' if others == 1 else 'paths'} set right"
            moved = self._to(State.INSTALLED, f"{receipt.revision} is installed{repaired}", receipt.finished)
            since = self.since if self.state is State.INSTALLED and self.extracted == receipt.revision else receipt.finished
            read_back_at = receipt.finished if receipt.is_of_all_files else self.read_back_at
            moved = replace(moved, extracted=receipt.revision, held=receipt.revision, since=since, error=None)
            moved = replace(moved, read_back_at=read_back_at, seen_at=receipt.finished, doubt="")
        elif receipt.outcome is Outcome.RELEASED:
            moved = self._to(State.RELEASED, "released: its files stay", receipt.finished)
            moved = replace(moved, held=None, extracted=None, offered=None, since=receipt.finished, error=None)
            moved = replace(moved, read_back_at=None, seen_at=receipt.finished, doubt="")
        else:
            reason = failure.message if failure else f"{receipt.revision} {receipt.outcome}"
            moved = self._to(State.FAILED, reason, receipt.finished)
            # A revision that is damaged there, or builds on contents that are gone, must be sent again: it counts as not held (E4).
            is_unusable = failure is not None and failure.code in _UNUSABLE_CODES and self.held == receipt.revision
            remaining = None if self.extracted == receipt.revision else self.extracted
            moved = replace(moved, error=failure, since=receipt.finished, held=remaining if is_unusable else self.held)
        return _without_retries(replace(moved, distributor=receipt.distributor, sequence=receipt.sequence))

    def hand_over(self, distributor: str) -> CurrentState:
        """Forget what is there, because the same Distributor's Distribution of another name took it over."""
        if distributor != self.distributor:
            return self
        known = CurrentState(self.subscriber, self.distribution, distributor)
        return replace(known, bytes_sent=self.bytes_sent, sequence=self.sequence, seen_at=self.seen_at)

    def cancel(self, reason: str, at: datetime) -> CurrentState:
        """Record that it was cancelled while it waited (I10)."""
        return _without_retries(self._to(State.CANCELLED, reason, at))

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


def _unread(receipt: Receipt) -> Failure:
    message = f"{receipt.revision} is extracted, says the agent of {receipt.subscriber}, which is too old to read it back"
    return Failure(AgentVersionError.__name__, message, f"run: sluice subscriber bootstrap {receipt.subscriber}", retryable=False)


def _without_retries(state: CurrentState) -> CurrentState:
    return replace(state, attempts=0, first_failure=None, next_try=None)


@dataclass(frozen=True, slots=True)
class Record:
    """An event and the change of its pair's state, which one transaction records, together with everything else that a call does."""

    event: Event
    change: Callable[[CurrentState], CurrentState] | None = None
    """Pure: it may be called again. None: only the event."""
