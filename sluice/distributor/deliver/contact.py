"""Record what a contact with a Subscriber's agent shows, compared with what is believed of it (``rules/belief.py``).

Every call makes a ``Contact`` before it calls, so that what the ledger knew by then is never newer than the agent's answer. What another
run records meanwhile stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from sluice.distributor.context import DistributorContext
from sluice.errors import AgentMissingError, NotFoundError, UnknownDistributorError
from sluice.model.belief import Belief, Doubt, HeldState, Seen
from sluice.model.event import Event, EventKind, JsonValue
from sluice.model.known import Known
from sluice.model.site import Subscriber
from sluice.model.state import CurrentState
from sluice.ports import Clock, Ledger
from sluice.rules.belief import compare, twins_sentence
from sluice.rules.retry import moment
from sluice.sender.hello import AgentHello
from sluice.trust.roles import TIMESTAMP

_Change = Callable[[CurrentState], CurrentState]


@dataclass(frozen=True, slots=True)
class Told:
    """What a person is told of a contact."""

    doubts: Mapping[str, str]
    """By Distribution, also those of earlier contacts that still stand."""
    twins: str


@dataclass
class Contact:
    """One call of a Subscriber's agent by one Distributor."""

    ledger: Ledger
    clock: Clock
    distributor: str
    subscriber: Subscriber
    flow_run: str = ""
    known: Known = field(init=False)
    """As of before the call."""

    def __post_init__(self) -> None:
        self.known = self.ledger.known(self.distributor, self.subscriber.name)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Call within it: a host that has no agent of this Subscriber any more, or one that knows nothing, is recorded too."""
        try:
            yield
        except (AgentMissingError, UnknownDistributorError, NotFoundError) as error:
            if not isinstance(error, NotFoundError) or error.is_reported:  # as the agent says: its identity is gone
                self.forget(f"its agent was gone: {error.message}")
            raise

    def heard(self, hello: AgentHello, *, about: str = "", looks: bool = False) -> Told:
        """Compare its hello and record doubts and news.

        Args:
            about: The Distribution that it was asked about; empty: all.
            looks: The call was only a look: it is recorded, and what it confirms counts as seen. Otherwise what follows is recorded.
        """
        at = self.clock.now()
        asked = frozenset({about}) if about else None
        metadata = (hello.trust or {}).get(TIMESTAMP, 0)
        seen = Seen(at, str(self.subscriber.address), hello.agent, hello.identity, metadata, hello.distributions, asked)
        belief, doubts = compare(self.known, seen)
        before = self.known.belief
        is_news = before is None or _lasting(before) != _lasting(belief)
        standing = {name: state.doubt for name, state in self.known.states.items() if state.doubt}
        result = Told(standing | {name: doubt.text for name, doubt in doubts.items()}, twins_sentence(self.subscriber.name, belief, at))
        if not (doubts or is_news or looks):
            return result
        changes = self._doubting(doubts, at, above=hello.sequence)
        if looks:
            changes |= {name: self._seeing(name, seen.pairs.get(name, HeldState()), at) for name in self.known.states if name not in doubts}
        identity = hello.identity
        told: dict[str, JsonValue] = {"agent": hello.agent, "address": seen.address, "metadata": metadata}
        told |= {"key": identity.key, "directory": identity.directory, "host": identity.host} if identity else {}
        events = [self._event(at, EventKind.DOUBTED, name, {"message": doubt.text}) for name, doubt in doubts.items()]
        events += [self._event(at, EventKind.SEEN, "", told)] if is_news or looks else []
        self.ledger.believe(self.distributor, self.subscriber.name, belief, events, changes)
        return result

    def forget(self, why: str) -> None:
        """Believe nothing of it any more: it was set up anew, or is gone. ``why`` says so in the past tense; its time is put before it."""
        at = self.clock.now()
        why = f"at {moment(at)} {why}"
        doubts = {name: Doubt(why, None, None, 0) for name, state in self.known.states.items() if state.held or state.extracted}
        changes = self._doubting(doubts, at)
        events = [self._event(at, EventKind.DOUBTED, name, {"message": why}) for name in doubts]
        if events or self.known.belief is not None:
            self.ledger.believe(self.distributor, self.subscriber.name, None, events, changes)

    def _doubting(self, doubts: Mapping[str, Doubt], at: datetime, *, above: int = 0) -> dict[str, _Change]:
        """Return the changes that raise doubts; an order number is passed over for them."""
        order = self.ledger.next_sequence(self.distributor, self.subscriber.name, above=above) if doubts else 0
        return {
            name: self._unless_changed(name, partial(CurrentState.raise_doubt, doubt=replace(doubt, order=order), at=at))
            for name, doubt in doubts.items()
        }

    def _seeing(self, name: str, claim: HeldState, at: datetime) -> _Change:
        return self._unless_changed(name, lambda state: replace(state, seen_at=at) if claim.extracted == state.extracted else state)

    def _unless_changed(self, name: str, change: _Change) -> _Change:
        """Leave a state as it is that another run changed since before the call."""
        before = _attested(self.known.states[name])
        return lambda state: change(state) if _attested(state) == before else state

    def _event(self, at: datetime, kind: EventKind, distribution: str, data: Mapping[str, JsonValue]) -> Event:
        event = Event(at, kind, self.distributor, distribution, subscriber=self.subscriber.name)
        return replace(event, flow_run=self.flow_run, data=data)


def _attested(state: CurrentState) -> tuple[object, ...]:
    return state.distributor, state.held, state.extracted, state.sequence, state.doubt


def _lasting(belief: Belief) -> tuple[object, ...]:
    """Return the part of a belief that a contact changes only if there is news."""
    machines = [(each.instance, each.host, each.address) for each in belief.machines]
    return belief.agent, belief.key, belief.directory, machines, belief.twins_at


def contact_in(context: DistributorContext, subscriber: Subscriber) -> Contact:
    """Make the contact of a run, before its call."""
    return Contact(context.ledger, context.clock, context.distributor.name, subscriber, context.flow_run)
