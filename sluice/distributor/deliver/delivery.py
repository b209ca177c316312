"""Deliver one assignment in one flow run, from its offer to its receipt, in blocking steps that keep the ledger true.

The steps of a try, in order: ``enter`` the send queue (claims the pair), ``call`` the host, ``ask`` for a slot and wait for the decision,
``transfer``, which may pause and gives the slot back; if it is to be extracted at once ``extract``, under the same claim; ``fail`` if one
of them raised, ``end`` always. The caller, an async task, does the waiting between them, which holds nothing. Every step may come from
another thread, one at a time. Everything that a step learns and gives back is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from sluice.distributor.context import DistributorContext, failure_data
from sluice.distributor.deliver.attempt import AttemptState
from sluice.distributor.deliver.contact import contact_in
from sluice.distributor.deliver.orders import Orders
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.send_queue.claim import Claim
from sluice.distributor.send_queue.watch import QueueWatch, SendCancelledError, Turn
from sluice.errors import BaseDiffersError, SluiceError
from sluice.model.agent_event import AgentEvent
from sluice.model.assignment import Assignment
from sluice.model.event import EventKind
from sluice.model.order import Demand
from sluice.model.recipe import RenderedRecipe
from sluice.model.state import CurrentState, Record, State
from sluice.model.ticket import Occupied, QueueLook
from sluice.ports import Progress
from sluice.rules.retry import Decision, GiveUp, RetryAt, after_failure, describe, failure_of
from sluice.sender.transfer import Remedy, Transfer


@dataclass(repr=False)  # a recipe's scripts may contain passwords
class Delivery:
    """The steps for one assignment that is due."""

    context: DistributorContext
    watch: QueueWatch
    assignment: Assignment
    new_transfer: Callable[[Remedy], Transfer]
    """Makes the transfer of a try; the argument is the remedy that an earlier extraction made necessary."""
    recipe: RenderedRecipe | None = None
    """Of the extraction that follows at once; None: it waits for the Extract schedule."""
    check: bool = False
    """Ask the host although receipts say that it holds the revision."""
    demand: Demand = Demand.DUE
    cancelled_under: tuple[str, ...] = ()
    """Names under which it waits: cancelling one stops it."""
    decision: Decision | None = field(default=None, init=False)
    """What follows the last failed try."""
    failed: DeliveryResult | None = field(default=None, init=False)
    """The last failed try."""

    def __post_init__(self) -> None:
        self._attempt = AttemptState(self.context, self.assignment, self.check, extracts=self.recipe is not None)
        self._claim = Claim(self.context, self.watch, self.assignment, self.close)
        self._remedy = Remedy.NONE
        self._is_still_extracted = False
        """Its receipt and now its agent say that it is extracted: nothing remains to be done."""
        self._transfer: Transfer | None = None
        self._look_error: SluiceError | None = None
        """Raised by a look, for the try that follows to fail with."""
        self._seconds_called = 0.0
        """How long the call took; the wait for a slot isn't part of a send's time."""
        self._why_whole = ""
        self._begun = self.context.clock.now()
        each = self.assignment
        self._result = DeliveryResult(each.subscriber, each.distribution, each.revision, State.WAITING)
        """What was moved so far, over all tries."""

    @property
    def next_try(self) -> datetime | None:
        """The time of the next try by the retry rule; None if there is none."""
        return self.decision.at if isinstance(self.decision, RetryAt) else None

    @property
    def is_claimed(self) -> bool:
        """Whether the pair is this run's."""
        return self._claim.is_held

    @property
    def extracts(self) -> bool:
        """Whether an extraction follows at once."""
        return self.recipe is not None and not self._is_still_extracted

    def offer(self) -> None:
        """Begin the run for this assignment, unless it is begun with others by ``offer_record``."""
        if (record := self.offer_record(self._attempt.read())) is not None:
            self.context.ledger.record_all([record])

    def offer_record(self, state: CurrentState) -> Record | None:
        """Make the record that begins the run: the count of retries starts anew; None if nothing begins.

        Args:
            state: As the ledger has it now.
        """
        record = self._attempt.offer_record(state)
        if record is not None:
            self._remedy = Remedy.MEND if self._attempt.base_mismatch(state) else Remedy.NONE
        return record

    def is_done_by_receipts(self) -> bool:
        """Whether by receipts nothing remains to be done but asking the host."""
        return self._attempt.is_done(self._attempt.read())

    def settled(self) -> DeliveryResult | None:
        """Return the end if nothing remains to be done: it was cancelled, or another run did it or offered a newer revision."""
        if cancelled := self.cancelled():
            return cancelled
        state, revision = self._attempt.read(), self.assignment.revision
        if newer := self._attempt.newer(state):
            return self._ended(state.state, f"{newer} was offered by another run meanwhile")
        if self.check:
            return None  # receipts aren't enough: the host is asked
        if state.extracted == revision and self._remedy is Remedy.NONE:
            return self._ended(State.INSTALLED, "done by another run")
        if state.held == revision and self.recipe is None:
            return self._ended(State.RECEIVED, "sent by another run")
        return None

    def cancelled(self) -> DeliveryResult | None:
        """Return the end if somebody cancelled a name that it waits under (I10)."""
        name = self._stopped_by(self.context.ledger.look(self.context.distributor.name)) if self.cancelled_under else None
        return None if name is None else self.cancel(name)

    def cancel(self, name: str) -> DeliveryResult:
        """End it: ``name`` was cancelled while it waited or was paused. Bytes that arrived stay there."""
        self.close()
        reason = f"{name} was cancelled"
        self._claim.leave(
            self._attempt.record(
                EventKind.CANCELLED, lambda s, at: s.reset_retries(at) if self._attempt.is_done(s) else s.cancel(reason, at)
            )
        )
        return self._ended(State.CANCELLED, reason)

    def enter(self) -> Occupied | None:
        """Claim the pair. Occupied: another run has it; enter again later."""
        return self._claim.enter()

    def call(self) -> bool:
        """Call the host; return whether it lacks the revision and so needs a slot. Raises TransportError, TrustError."""
        error, self._look_error = self._look_error, None
        if error is not None:
            raise error
        self.close()  # of a try before, whose tree wasn't the one the revision builds on
        begun, revision = self.context.clock.now(), self.assignment.revision
        transfer = self._transfer = self.new_transfer(self._remedy)
        contact = contact_in(self.context, transfer.subscriber)
        with contact.calling():
            hello = transfer.call()
        self._seconds_called = (self.context.clock.now() - begun).total_seconds()
        contact.heard(hello, about=self.assignment.distribution)
        state, there, sent = self._attempt.read(), hello.of(self.assignment.distribution), transfer.sent
        if transfer.needs_transfer:
            return True
        self._moved(sent)
        is_still_there = self.check and state.extracted == there.extracted == revision
        self._is_still_extracted = is_still_there and self.demand is Demand.DUE

        def change(state: CurrentState, at: datetime) -> CurrentState:
            if is_still_there:
                return state.confirm_installed(at, sent=sent)
            return state.mark_received(revision, sent=sent, resumed=0, at=at)

        self._arrived(self._attempt.record(EventKind.ALREADY_HELD, change))
        return False

    def look(self) -> DeliveryResult | None:
        """Call a host that by its receipts lacks nothing; None if there is something to do, which the next try then does.

        If it can't be called that try fails with the same error: no host is called twice for it.
        """
        try:
            if self.call() or self.extracts:
                return None
            return self.extract()
        except SluiceError as error:
            self._look_error = error
            return None
        finally:
            self.end()

    def ask(self, on_decision: Callable[[], None]) -> Turn:
        """Ask for a slot; ``on_decision`` is called, from another thread, when the turn got a new decision."""
        turn, revision = self._claim.turn, self.assignment.revision
        turn.ask(
            lambda: self._attempt.record(EventKind.SEND_STARTED, lambda s, at: s.begin_sending(revision, at)),
            stopped_by=self._stopped_by,
            on_decision=on_decision,
        )
        return turn

    def transfer(self, progress: Progress | None = None) -> DeliveryResult | None:
        """Send what is missing and give the slot back; return the end if it was cancelled in a pause.

        Raises as ``Transfer.transfer``.
        """
        begun, turn = self.context.clock.now(), self._claim.turn
        try:
            result = self._called_transfer().transfer(progress, turn)
        except SendCancelledError as cancelled:
            return self.cancel(cancelled.name)
        seconds = self._seconds_called + (self.context.clock.now() - begun - turn.paused).total_seconds()
        self._moved(result.sent, result.supplement)
        self._result = replace(self._result, resumed=result.resumed, base=result.base)
        self._why_whole = result.why_whole
        kind = EventKind.ALREADY_HELD if result.already_held else EventKind.SENT
        revision, sent, resumed = self.assignment.revision, result.sent, result.resumed
        self._arrived(
            self._attempt.record(kind, lambda s, at: s.mark_received(revision, sent=sent, resumed=resumed, at=at), result.as_event(seconds))
        )
        return None

    def extract(self, on_event: Callable[[AgentEvent], None] | None = None) -> DeliveryResult | None:
        """Order the extraction and return the end; None: the tree there isn't the one the revision builds on, so try again.

        Raises:
            TransportError, TrustError, ReadBackError: As ``Orders.give``.
        """
        if self._is_still_extracted:
            return self._ended(State.INSTALLED, "still held and extracted, says the Subscriber")
        if self.recipe is None:
            return self._ended(State.RECEIVED, "held; waits for the Extract schedule")
        orders = Orders(self.context, self._called_transfer().called, self.assignment, self.recipe, on_event, self.demand)
        result = orders.give(hand_over=self._claim.hand_over)
        if isinstance(result.error, BaseDiffersError) and self._remedy is not Remedy.WHOLE:
            self._remedy = Remedy.MEND if self._remedy is Remedy.NONE else Remedy.WHOLE
            return None
        if result.error is not None:
            self.decision = GiveUp()
            return self._ended(State.FAILED, result.error.message, result.error)
        return self._ended(State.INSTALLED, result.reason)

    def fail(self, error: SluiceError) -> DeliveryResult:
        """End a try that raised ``error``: the ledger decides what follows; see ``decision``."""
        sent = self._transfer.sent if self._transfer else 0
        resumed = self._transfer.resumed if self._transfer else 0
        self._moved(sent)
        failure, retry = failure_of(error), self.context.distributor.retry
        decisions: list[Decision] = []

        def change(state: CurrentState, at: datetime) -> CurrentState:
            changed, decision = after_failure(state, failure, retry, at, sent=sent, resumed=resumed)
            decisions.append(decision)
            if self._attempt.is_done(state):  # a host that couldn't be asked lost nothing
                return replace(changed, state=state.state, reason=state.reason, since=state.since)
            return changed

        self.close()
        state = self._claim.leave(self._attempt.record(EventKind.SEND_FAILED, change, failure_data(error)))
        self.decision = decisions[-1]
        self.failed = self._ended(state.state if state else State.FAILED, f"{describe(self.decision)}: {error}", error)
        return self.failed

    def close(self) -> None:
        """End the conversation; may be called twice, from any thread."""
        if self._transfer is not None:
            self._transfer.close()

    def end(self) -> None:
        """End the conversation and give back what wasn't given back by then; may be called twice."""
        self.close()
        self._claim.leave()

    def _stopped_by(self, seen: QueueLook) -> str | None:
        """Find a name it waits under that was cancelled since its run began."""
        return next((name for name in self.cancelled_under if name in seen.cancelled and seen.cancelled[name] >= self._begun), None)

    def _arrived(self, record: Record) -> None:
        """Record that it is held there: the claim stays only if an extraction follows."""
        if self.extracts:
            self._claim.release(record)
        else:
            self._claim.leave(record)

    def _called_transfer(self) -> Transfer:
        if self._transfer is None:
            raise ValueError("call first")
        return self._transfer

    def _moved(self, sent: int, supplement: int = 0) -> None:
        self._result = replace(self._result, bytes=self._result.bytes + sent, supplement=self._result.supplement + supplement)

    def _ended(self, state: State, reason: str, error: SluiceError | None = None) -> DeliveryResult:
        seconds = (self.context.clock.now() - self._begun).total_seconds()
        if self._why_whole and error is None:
            reason = f"{reason}; all of it was sent: {self._why_whole}"
        return replace(self._result, state=state, reason=reason, seconds=seconds, error=error)
