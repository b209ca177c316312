"""Have one Subscriber extract, or verify, what it holds, by its Extract schedule or by hand: outside of a delivery.

The steps: ``enter`` the send queue (claims the pair: Extract schedules that start together plan the same), ``settled`` while it waits and
once it has the claim, ``extract``, and ``leave`` always. Blocking; every step may come from another thread, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

from sluice.distributor.context import DistributorContext, failure_data, record_of
from sluice.distributor.deliver.contact import contact_in
from sluice.distributor.deliver.orders import ExtractResult, Orders
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.send_queue.claim import Claim
from sluice.distributor.send_queue.watch import QueueWatch
from sluice.errors import BaseDiffersError, SluiceError
from sluice.model.agent_event import AgentEvent
from sluice.model.assignment import Assignment
from sluice.model.event import EventKind
from sluice.model.feature import Feature
from sluice.model.order import Demand
from sluice.model.recipe import RenderedRecipe
from sluice.model.site import Subscriber
from sluice.model.state import CurrentState, State
from sluice.model.ticket import Occupied
from sluice.rules.retry import failure_of
from sluice.sender.supplement import SupplementSender
from sluice.sender.ted_choice import takes_deltas
from sluice.sender.transfer import Sender

IF_CHANGED = "the supplement of missing contents is sent now, and its tree is repaired"
"""Said in the ledger of a check that finds the tree changed."""


@dataclass(repr=False)  # a Subscriber's variables, and scripts, may contain passwords
class Extraction:
    """One extraction, or one check of what is extracted (C10)."""

    context: DistributorContext
    watch: QueueWatch
    sender: Sender
    subscriber: Subscriber
    assignment: Assignment
    recipe: Callable[[], RenderedRecipe]
    """Renders destinations and actions."""
    check: bool = False
    """It is extracted: its tree is verified and repaired."""
    demand: Demand = Demand.DUE

    def __post_init__(self) -> None:
        self._claim = Claim(self.context, self.watch, self.assignment)
        self._before: CurrentState | None = None
        """As it was when this one first came; its times are the host's, so they are compared with each other alone."""

    def enter(self) -> Occupied | None:
        """Claim the pair. Occupied: another run has it; enter again later."""
        self._before = self._before or self.context.ledger.state(*self.assignment.pair)
        return self._claim.enter()

    def leave(self) -> None:
        """Give the claim back, unless it was given back; may be called twice."""
        self._claim.leave()

    def settled(self) -> DeliveryResult | None:
        """Return the end if another run has done it meanwhile."""
        state = self.context.ledger.state(*self.assignment.pair)
        is_done = state.extracted == self.assignment.revision and self.demand is not Demand.FORCE
        if self.check:
            is_done = is_done and self._before is not None and state.read_back_at not in (None, self._before.read_back_at)
        return self._ended(State.INSTALLED, "done by another run") if is_done else None

    def extract(self, on_event: Callable[[AgentEvent], None] | None = None) -> DeliveryResult:
        """Call the agent and order the extraction; one that fails is recorded, so that a row of status says why (F1).

        Raises:
            SluiceError: The host can't be reached, or its receipt can't be believed.
        """
        begun = self.context.clock.now()
        try:
            result = self._order(on_event)
        except SluiceError as error:
            if self.watch.is_closed:  # its run ends: nothing is known of the host
                raise
            failure, data = failure_of(error), failure_data(error)
            record = record_of(
                self.context, EventKind.EXTRACT_FAILED, self.assignment, lambda state, at: state.fail_extracting(failure, at), data
            )
            self.context.ledger.record(record.event, record.change)
            raise
        seconds = (self.context.clock.now() - begun).total_seconds()
        if result.error is not None:
            return self._ended(State.FAILED, result.error.message, seconds, result.error)
        return self._ended(State.INSTALLED, result.reason, seconds)

    def _order(self, on_event: Callable[[AgentEvent], None] | None) -> ExtractResult:
        contact = contact_in(self.context, self.subscriber)
        with contact.calling():
            called = self.sender.call(self.subscriber, self.assignment.distribution)
        with closing(called) as call:
            contact.heard(call.hello, about=self.assignment.distribution)
            demand = self.demand
            if self.check and demand is Demand.DUE and Feature.VERIFY in call.hello.features:
                demand = Demand.VERIFY  # whatever the manifest says: the blueprint may say `verify` since it was built
            orders = Orders(self.context, call, self.assignment, self.recipe(), on_event, demand)
            if not self.check:
                return orders.give(hand_over=self._claim.hand_over)
            # The pair stays ours: a damaged tree may need contents.
            can_supplement = takes_deltas(call.hello)
            result = orders.give(if_changed=IF_CHANGED if can_supplement else "")
            if isinstance(result.error, BaseDiffersError) and can_supplement:
                with suppress(BaseDiffersError):  # the Channel's next start sends everything
                    supplement = SupplementSender(
                        call.conversation, self.assignment, None, self.sender.store, min_free=self.subscriber.min_free
                    )
                    before = call.conversation.sent
                    supplement.complete(on_event=on_event)
                    result = orders.give(supplement=call.conversation.sent - before)
            return result

    def _ended(self, state: State, reason: str, seconds: float = 0.0, error: SluiceError | None = None) -> DeliveryResult:
        each = self.assignment
        return DeliveryResult(each.subscriber, each.distribution, each.revision, state, reason, seconds=seconds, error=error)
