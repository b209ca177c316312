"""One Subscriber and Distribution in one flow run, from its offer to its receipt, in blocking steps that keep the ledger true.

The steps of a try, in order: ``enter`` the send queue (claims the pair), ``call`` the host, ``ask`` for a slot and wait until the turn
is told, ``transfer``, which may pause and gives the slot back; where it is to be extracted at once ``extract``, under the same claim;
``fail`` where one of them raised, ``end`` always. Who drives them (an async task) does the waiting between them, which holds nothing.
Every step may come from another thread, one at a time. What a step learns and what it gives back are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sluice.distributor.deliver.attempt import AttemptState
from sluice.distributor.deliver.orders import Ordering
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.plan.sends import SendTarget
from sluice.distributor.send_queue.claim import Claim
from sluice.distributor.send_queue.watch import QueueWatch, SendCancelledError, Turn
from sluice.errors import BaseDiffersError, SluiceError
from sluice.model.event import EventKind, JsonValue
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distributor
from sluice.model.state import CurrentState, Record, State
from sluice.model.ticket import Occupied, QueueLook
from sluice.ports import Clock, Progress
from sluice.rules.retry import Decision, GiveUp, RetryAt, after_failure, describe, failure_of
from sluice.sender.conversation import AgentEvent
from sluice.sender.transfer import Remedy, Transfer


class Delivery:
    """The steps for one target that is due."""

    def __init__(
        self,
        target: SendTarget,
        *,
        distributor: Distributor,
        ordering: Ordering,
        clock: Clock,
        sending: Callable[[Remedy], Transfer],
        recipe: RenderedRecipe | None,
        watch: QueueWatch,
        watched: tuple[str, ...] = (),
    ) -> None:
        """Nothing happens yet.

        Args:
            sending: Makes the sending of a try; the argument says what an earlier extraction made necessary.
            recipe: Of the extraction that follows at once; None: the Extract schedule's turn.
            watch: The send queue as this process sees it.
            watched: Names under which it waits: who cancels one stops it.
        """
        if target.revision is None:
            raise ValueError("only a target that is due can be delivered")
        self.target, self.revision = target, target.revision
        self.decision: Decision | None = None
        """What follows the last failed try."""
        self.failed: DeliveryResult | None = None
        """The last failed try."""
        self._distributor, self._ordering, self._clock = distributor, ordering, clock
        self._ledger, self._make, self._recipe, self._watched = ordering.ledger, sending, recipe, watched
        self._attempt = AttemptState(target, target.revision, ordering=ordering, extracts=recipe is not None)
        self._remedy = Remedy.NONE
        self._stands_there = False
        """Its receipt and now its agent say that it is extracted: nothing is left to do."""
        self._sending: Transfer | None = None
        self._met: SluiceError | None = None
        """What a look met."""
        self._claim = Claim(
            distributor,
            target.subscriber,
            target.distribution,
            target.revision,
            target.priority,
            ledger=ordering.ledger,
            clock=clock,
            flow_run=ordering.flow_run,
            watch=watch,
            lost=self.close,
        )
        self._bytes = self._resumed = self._lent = 0
        self._base: RevisionNumber | None = None
        self._why_whole = ""
        self._seconds_called = 0.0
        """What the call took; the wait for a slot isn't part of a send's time."""
        self._begun = clock.now()

    @property
    def next_try(self) -> datetime | None:
        """When the retry rule wants the next try; None where there is none."""
        return self.decision.at if isinstance(self.decision, RetryAt) else None

    def offer(self) -> None:
        """Begin the run's course, where it isn't begun with others by ``offered``."""
        if (record := self.offered(self._attempt.state())) is not None:
            self._ledger.record_all([record])

    def offered(self, state: CurrentState) -> Record | None:
        """What begins the run's course: the count of retries starts anew, unless this very run was started again; None: nothing.

        Args:
            state: As it stands.
        """
        if not self._attempt.begins_anew(state):
            return None
        self._remedy = Remedy.MEND if self._attempt.base_mismatch(state) else Remedy.NONE
        return self._attempt.offered(self._clock.now())

    def stands(self) -> bool:
        """Whether by receipts nothing is left to do, so that only asking the host is."""
        return self._attempt.stands(self._attempt.state())

    def settled(self) -> DeliveryResult | None:
        """The end, where there is nothing left to do: it was cancelled, or another run did it or offered a newer revision."""
        if cancelled := self.cancelled():
            return cancelled
        state = self._attempt.state()
        if newer := self._attempt.newer(state):
            return self._delivered(state.state, f"{newer} was offered by another run meanwhile")
        if self.target.check:
            return None  # receipts aren't enough: the host is asked
        if state.extracted == self.revision and self._remedy is Remedy.NONE:
            return self._delivered(State.INSTALLED, "done by another run")
        if state.held == self.revision and self._recipe is None:
            return self._delivered(State.RECEIVED, "sent by another run")
        return None

    def cancelled(self) -> DeliveryResult | None:
        """The end, where somebody cancelled what it waits under (I10)."""
        name = self._stopped_by(self._ledger.look(self._distributor.name)) if self._watched else None
        return None if name is None else self.cancel(name)

    def _stopped_by(self, seen: QueueLook) -> str | None:
        """A name it waits under that was cancelled since its run began."""
        return next((name for name in self._watched if name in seen.cancelled and seen.cancelled[name] >= self._begun), None)

    def cancel(self, name: str) -> DeliveryResult:
        """The end: ``name`` was cancelled while it waited or was paused. What arrived stays there."""
        self.close()
        now, reason = self._clock.now(), f"{name} was cancelled"
        self._claim.leave(
            self._attempt.record(
                EventKind.CANCELLED, now, lambda s: s.reset_retries(now) if self._attempt.stands(s) else s.cancel(reason, now)
            )
        )
        return self._delivered(State.CANCELLED, reason)

    def enter(self) -> Occupied | None:
        """Claim the pair. Occupied: another run has it; enter again later."""
        return self._claim.enter()

    def call(self) -> bool:
        """Call the host; whether it lacks the revision and so needs a slot. Raises TransportError, TrustError."""
        met, self._met = self._met, None
        if met is not None:
            raise met
        self._sending = self._make(self._remedy)
        begun = self._clock.now()
        there = self._sending.call().of(self.target.distribution)
        self._seconds_called = (self._clock.now() - begun).total_seconds()
        now, state, sent = self._clock.now(), self._attempt.state(), self._sending.sent
        if self._sending.needs_transfer:
            if self.revision in (state.held, state.extracted) and self.revision not in (there.held, there.extracted):
                gone = self._attempt.record(
                    EventKind.OFFERED, now, lambda s: self._attempt.offer(s.forget_extracted(self.revision, is_held=False), now)
                )
                self._ledger.record_all([gone])
            return True
        self._bytes += sent
        self._stands_there = self.target.check and state.extracted == there.extracted == self.revision

        def change(state: CurrentState) -> CurrentState:
            if self._stands_there:
                return state.confirm_installed(now, sent=sent)
            known = state if there.extracted == self.revision else state.forget_extracted(self.revision, is_held=True)
            return known.mark_received(self.revision, sent=sent, resumed=0, at=now)

        self._arrived(self._attempt.record(EventKind.ALREADY_HELD, now, change))
        return False

    def look(self) -> DeliveryResult | None:
        """Call a host that by its receipts lacks nothing; None where there is something to do, which the next try then does.

        Where it can't be called that try fails with what was met here: nobody is called twice for it.
        """
        try:
            if self.call() or self.extracts:
                return None
            return self.extract()
        except SluiceError as error:
            self._met = error
            return None
        finally:
            self.end()

    def ask(self, heard: Callable[[], None]) -> Turn:
        """Ask for a slot; ``heard`` is called, from another thread, when the turn was told something new."""
        turn = self._claim.turn
        turn.ask(self._sends_now, stopped_by=self._stopped_by, heard=heard)
        return turn

    def transfer(self, progress: Progress | None = None) -> DeliveryResult | None:
        """Send what is lacking and give the slot back; the end, where it was cancelled in a pause.

        Raises as ``Transfer.transfer``.
        """
        begun = self._clock.now()
        try:
            result = self._under_way().transfer(progress, self._claim.turn)
        except SendCancelledError as cancelled:
            return self.cancel(cancelled.name)
        now = self._clock.now()
        self._bytes += result.sent
        self._resumed, self._base, self._why_whole = result.resumed, result.base, result.why_whole
        self._lent += result.lent
        data = result.as_event(self._seconds_called + (now - begun).total_seconds())
        kind = EventKind.ALREADY_HELD if result.already_held else EventKind.SENT
        self._arrived(
            self._attempt.record(
                kind, now, lambda s: s.mark_received(self.revision, sent=result.sent, resumed=result.resumed, at=now), data
            )
        )
        return None

    @property
    def is_claimed(self) -> bool:
        """Whether the pair is this run's."""
        return self._claim.is_held

    @property
    def extracts(self) -> bool:
        """Whether an extraction follows at once."""
        return self._recipe is not None and not self._stands_there

    def extract(self, on_event: Callable[[AgentEvent], None] | None = None) -> DeliveryResult | None:
        """Order the extraction and return the end; None: the tree there isn't what the revision builds on, so try again.

        Raises:
            TransportError, TrustError, ReadBackError: As ``order_extract``.
        """
        if self._stands_there:
            return self._delivered(State.INSTALLED, "still held and extracted, says the Subscriber")
        if self._recipe is None:
            return self._delivered(State.RECEIVED, "held; waits for the Extract schedule")
        result = self._ordering.order_extract(
            self._under_way().called,
            self.target.distribution,
            self.revision,
            self._recipe,
            now=self._clock.now(),
            channel=self.target.channel,
            on_event=on_event,
            done=self._claim.hand_over,
        )
        if isinstance(result.error, BaseDiffersError) and self._remedy is not Remedy.WHOLE:
            self._remedy = Remedy.MEND if self._remedy is Remedy.NONE else Remedy.WHOLE
            return None
        if result.error is not None:
            self.decision = GiveUp()
            return self._delivered(State.FAILED, result.error.message, result.error)
        receipt = result.receipt
        return self._delivered(State.INSTALLED, f"{receipt.files_written} files written, {receipt.files_unchanged} unchanged")

    def fail(self, error: SluiceError) -> DeliveryResult:
        """A try raised ``error``: the ledger decides what follows; see ``decision``."""
        now = self._clock.now()
        sent = self._sending.sent if self._sending else 0
        resumed = self._sending.resumed if self._sending else 0
        self._bytes += sent
        failure = failure_of(error)
        decisions: list[Decision] = []

        def change(state: CurrentState) -> CurrentState:
            changed, decision = after_failure(state, failure, self._distributor.retry, now, sent=sent, resumed=resumed)
            decisions.append(decision)
            if self._attempt.stands(state):  # a host that couldn't be asked lost nothing
                return replace(changed, state=state.state, reason=state.reason, since=state.since)
            return changed

        self.close()
        data: dict[str, JsonValue] = {"code": failure.code, "message": failure.message[:1000]}
        state = self._claim.leave(self._attempt.record(EventKind.SEND_FAILED, now, change, data))
        self.decision = decisions[-1]
        stands = state.state if state else State.FAILED
        self.failed = self._delivered(stands, f"{describe(self.decision)}: {error}", error)
        return self.failed

    def close(self) -> None:
        """End the conversation; may be called twice, from any thread."""
        if self._sending is not None:
            self._sending.close()

    def end(self) -> None:
        """End the conversation and give back what wasn't given back by then; may be called twice."""
        self.close()
        self._claim.leave()

    def _sends_now(self) -> Record:
        now = self._clock.now()
        return self._attempt.record(EventKind.SEND_STARTED, now, lambda s: s.begin_sending(self.revision, now))

    def _arrived(self, record: Record) -> None:
        """It is there: the claim stays only where an extraction follows."""
        if self.extracts:
            self._claim.release(record)
        else:
            self._claim.leave(record)

    def _under_way(self) -> Transfer:
        if self._sending is None:
            raise ValueError("call first")
        return self._sending

    def _delivered(self, state: State, reason: str, error: SluiceError | None = None) -> DeliveryResult:
        seconds = (self._clock.now() - self._begun).total_seconds()
        if self._why_whole and error is None:
            reason = f"{reason}; all of it was sent: {self._why_whole}"
        return DeliveryResult(
            self.target.subscriber,
            self.target.distribution,
            self.revision,
            state,
            reason,
            self._bytes,
            self._resumed,
            seconds,
            error,
            base=self._base,
            lent=self._lent,
        )
