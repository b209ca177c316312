"""Predict what sends would move, in bytes and seconds, before anything is sent (C11). Nothing is changed, here or there.

The bytes are counted, not guessed: the code that sends talks to a simulated agent, with the ``.ted`` that would be sent and the metadata
that would be published. Only a ``.ted`` that isn't made yet (``is_exact`` says so) and the agent's hello are guessed. If a Subscriber's
tree was changed since its last receipt, it will need a supplement, of which nothing is known here. Bytes are those of the agents'
protocol, both ways; the overhead of SSH isn't counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from sluice.distributor.build.sign import sign
from sluice.distributor.deliver.orders import order_of
from sluice.distributor.predict.projected_store import Making, ProjectedStore
from sluice.distributor.predict.simulated_agent import SimulatedAgent
from sluice.formats.orders import order_bytes, parse_order, receipt_bytes
from sluice.model.agent_event import AgentEvent, ExtractPhase
from sluice.model.assignment import Assignment
from sluice.model.event import Event
from sluice.model.order import ActionReport, Outcome, Receipt
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.site import Subscriber
from sluice.model.state import CurrentState
from sluice.ports import TedStore
from sluice.rules.forecast import Forecast, SentBefore, foretell
from sluice.sender.conversation import Conversation
from sluice.sender.transfer import Sender, SendResult, Transfer
from sluice.trust.envelope import ORDER_WORD, RECEIPT_WORD, Envelope, seal
from sluice.trust.projected import ProjectedPublisher
from sluice.trust.roles import ROOT, TOP_ROLES, distribution_role


@dataclass(frozen=True, slots=True)
class Prediction:
    """One send, and the extraction that follows it at once."""

    link: str
    """The host it goes to, which has a line of its own."""
    base: RevisionNumber | None
    """The revision that the ``.ted`` builds on; None: a full one, or nothing but an order."""
    bytes: int
    """Both ways."""
    is_exact: bool
    """False: the ``.ted`` isn't made yet, and ``bytes`` is about the most it can be."""
    makes: bool
    """The send has to make its ``.ted`` first."""
    time: Forecast
    """Without the extraction."""


@dataclass
class Predictor:
    """Predicts the sends of one Distributor in the order they are asked for: each counts on the metadata of those before it.

    Use as a context: deltas that were made for it go afterwards.
    """

    distributor: str
    store: TedStore
    publisher: ProjectedPublisher
    states: Mapping[tuple[str, str], CurrentState]
    """By Subscriber and Distribution."""
    sends: Sequence[Event]
    """Events of sends that arrived, newest first."""
    longest_interval: timedelta
    """See ``rules/lifetimes.py``."""
    now: datetime
    making: Making | None = None
    """Makes deltas, if predictions may take the time to be exact."""
    links: Mapping[str, str] = field(default_factory=dict)
    """By Subscriber, see ``link_of``: sends to any of them say how long the next one over its link takes."""

    def __post_init__(self) -> None:
        self._sends: dict[str, list[Event]] = {}
        self._over: dict[str, list[SentBefore]] = {}
        """By link."""
        for event in self.sends:
            self._sends.setdefault(event.subscriber, []).append(event)
            self._over.setdefault(self.links.get(event.subscriber, event.subscriber), []).append(_sent_before(event))
        self._trust: dict[str, dict[str, int]] = {}
        """Metadata versions by role that predicted sends have brought, by Subscriber."""
        self._stack = ExitStack()
        self._store = ProjectedStore(self.store, self._stack, self.making)
        self._transfers: dict[Hashable, tuple[int, SendResult]] = {}
        """Bytes both ways of each transfer that was simulated: Subscribers in the same state get the same."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def predict(self, subscriber: Subscriber, assignment: Assignment, recipe: RenderedRecipe | None = None) -> Prediction:
        """Predict one send.

        Args:
            recipe: Of the extraction that follows at once; None: none does.
        Raises:
            TrustError: Nothing of it is signed.
            NotFoundError, StoreCorruptError.
        """
        distribution, revision = assignment.distribution, assignment.revision
        if not self.publisher.versions():  # the first send publishes first
            self._sign(distribution)
        trust = self._held(subscriber.name, distribution)
        state = self.states.get(assignment.pair, CurrentState(*assignment.pair))
        sent = self._sends.get(subscriber.name, [])
        agent = SimulatedAgent(
            subscriber,
            state,
            trust=trust,
            newest=self.publisher.versions(),
            small=any(event.data.get("small") is True for event in sent[:1]),
        )
        key = (distribution, revision, state.held, state.extracted, agent.small, tuple(sorted(trust.items())), subscriber.min_free)
        is_first = key not in self._transfers
        if is_first:
            self._transfers[key] = self._transfer(agent, assignment)
        moved, result = self._transfers[key]
        base, makes = result.base, is_first and result.makes
        ours = (*TOP_ROLES, distribution_role(distribution))
        now_held = {role: version for role, version in self.publisher.versions().items() if role in ours}
        self._trust.setdefault(subscriber.name, {}).update(now_held)
        if recipe is not None:
            moved += self._extraction(agent, assignment, recipe)
        before = self._over.get(self.links.get(subscriber.name, subscriber.name), [])
        return Prediction(
            link=link_of(subscriber),
            base=base,
            bytes=moved,
            is_exact=(distribution, revision, base, base is not None and agent.small) not in self._store.estimated,
            makes=makes,
            time=foretell(moved, is_delta=base is not None, makes=makes, before=before, now=self.now),
        )

    def _transfer(self, agent: SimulatedAgent, assignment: Assignment) -> tuple[int, SendResult]:
        sender = Sender(self.distributor, agent, self._store, self.publisher, self._sign, timeout=1)
        transfer = Transfer(sender, agent.subscriber, assignment)
        transfer.call()
        result = transfer.transfer()
        transfer.close()
        return agent.moved, result

    def _extraction(self, before: SimulatedAgent, assignment: Assignment, recipe: RenderedRecipe) -> int:
        agent = replace(before, receipt=self._receipt, milestones=_milestones(recipe))
        conversation = Conversation(agent, who=agent.subscriber.name)
        order = order_of(self.distributor, assignment, agent.state.sequence + 1, recipe, self.store, now=self.now)
        conversation.receipts(assignment.distribution)
        conversation.order(_unsigned(ORDER_WORD, order_bytes(order), key="0" * 64))
        conversation.acknowledge(assignment.distribution, order.sequence)
        return agent.moved

    def _receipt(self, envelope: Envelope) -> Envelope:
        order = parse_order(envelope["payload"].encode())
        files = len(list(self._store.manifest(order.distribution, order.revision).contents()))
        receipt = Receipt(
            distributor=order.distributor,
            subscriber=order.subscriber,
            sequence=order.sequence,
            distribution=order.distribution,
            revision=order.revision,
            outcome=Outcome.INSTALLED,
            started=self.now,
            finished=self.now,
            files_written=1,
            files_unchanged=files,
            bytes_written=1000,
            read_back="0" * 64,
            files_read=files,
        )
        return _unsigned(RECEIPT_WORD, receipt_bytes(receipt), key="receipt")

    def _held(self, subscriber: str, distribution: str) -> dict[str, int]:
        """Find the metadata versions that it holds by its last sends; nothing but the root before the first."""
        sent = self._sends.get(subscriber, [])
        found = dict(self.publisher.held_since(distribution, sent[0].at)) if sent else {}
        role = distribution_role(distribution)
        found.pop(role, None)
        for event in sent:
            if event.distribution == distribution:
                own = self.publisher.held_since(distribution, event.at)
                found |= {role: own[role]} if role in own else {}
                break
        brought = {each: version for each, version in self._trust.get(subscriber, {}).items() if each in (*TOP_ROLES, role)}
        return {ROOT: self.publisher.versions()[ROOT], **found, **brought}

    def _sign(self, distribution: str) -> object:
        return sign((distribution,), store=self._store, publisher=self.publisher, now=self.now, longest_interval=self.longest_interval)


def link_of(subscriber: Subscriber) -> str:
    """Name the line that sends to a Subscriber take: its host."""
    return subscriber.address.host or "this machine"


def _milestones(recipe: RenderedRecipe) -> list[AgentEvent]:
    """List what an agent tells of an extraction that goes well."""
    found = [AgentEvent(ExtractPhase.STAGE)]
    for phase, word, actions in (
        (ExtractPhase.PRE_ACTIONS, "pre", recipe.pre_actions),
        (ExtractPhase.EXTRACT, "", ()),
        (ExtractPhase.POST_ACTIONS, "post", recipe.post_actions),
    ):
        reports = [AgentEvent(phase, report=ActionReport(word, action.label, 0.1, 0, "")) for action in actions]
        found += [AgentEvent(phase), *reports] if actions or phase is ExtractPhase.EXTRACT else []
    return found


def _sent_before(event: Event) -> SentBefore:
    figures = {key: value for key in ("bytes", "received", "seconds") if isinstance(value := event.data.get(key), int | float)}
    moved = int(figures.get("bytes", 0) + figures.get("received", 0))
    is_delta, makes = event.data.get("base") is not None, event.data.get("makes") is True
    return SentBefore(event.at, moved, figures.get("seconds", 0.0), is_delta=is_delta, makes=makes)


def _unsigned(word: bytes, payload: bytes, *, key: str) -> Envelope:
    return seal(word, payload, key=key, sign=lambda _: bytes(64))
