"""Explain in one sentence why a Subscriber has, or doesn't have, which revision (X1), and give the state that goes with it.

``status`` and ``why`` print the answer of the same function, so they can't disagree. Pure: the site, the ledger's snapshot and the time
go in. The gates are checked in the order in which a revision passes them; the first that stops it gives the reason:

no Channel (A4) → not joined → inactive Distribution, Subscriber, Channel or subscription (A7) → platform (B20) → never built →
its ticket in the send queue → the last event in the ledger.

Left out: group distributions, parents on the way, prerequisites.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sluice.model.known import LedgerSnapshot
from sluice.model.order import Failure
from sluice.model.platforms import platform_matches
from sluice.model.revision import RevisionNumber
from sluice.model.schedule import Kind, Schedule
from sluice.model.site import Channel, Distribution, Site, Subscriber
from sluice.model.state import CurrentState, State
from sluice.model.ticket import Pausing, Phase, Ticket, Verdict, Waiting
from sluice.rules import dispatch
from sluice.rules.belief import of_owner, shared_identities, twins_sentence
from sluice.rules.due import extracts_at_once, next_start
from sluice.rules.gates import inactive_reason, named_channels, not_applicable_reason
from sluice.rules.retry import moment
from sluice.rules.status_row import FailingBuild, StatusRow
from sluice.rules.wording import ago, printable, without_see_why

OVERDUE = timedelta(minutes=2)
"""Time after which status reports a retry that hasn't begun as overdue."""
SEEN_LATER = timedelta(minutes=1)
"""Time between a read back and a later contact from which on both are told."""


def why(site: Site, snapshot: LedgerSnapshot, subscriber: str, distribution: str, now: datetime) -> str:
    """Return one sentence (X1) that begins with the revision that the Subscriber has.

    Raises:
        NotFoundError: The site has no such Subscriber or Distribution.
    """
    if (subscriber, distribution) not in snapshot.states:  # else it is known, even if it left the site
        subscriber, distribution = site.subscriber(subscriber).name, site.distribution(distribution).name
    row = status_row(site, snapshot, subscriber, distribution, now)
    has = f"{row.extracted} of {distribution}" if row.extracted else f"no revision of {distribution}"
    latest = f" (latest: {row.latest})" if row.latest and row.latest != row.extracted else ""
    return without_see_why(f"{subscriber} has {has}{latest}: {row.reason}.")


def status_row(site: Site, snapshot: LedgerSnapshot, subscriber: str, distribution: str, now: datetime) -> StatusRow:
    """Return the row of one pair, even if no Channel joins it."""
    return _Reader(site, snapshot, now).row(subscriber, distribution)


def status_rows(
    site: Site, snapshot: LedgerSnapshot, now: datetime, *, distributions: Collection[str] = (), subscribers: Collection[str] = ()
) -> Sequence[StatusRow]:
    """Return a row for each pair that a Channel joins or the ledger knows, and one for each Distribution without a Subscriber.

    Args:
        distributions: Only these, of which the snapshot is; empty for all. ``subscribers`` likewise.
    """
    listed = site.distributions.keys() & distributions if distributions else site.distributions.keys()
    pairs = {(d, s) for d in listed for s in site.subscribers_of_distribution(d)}
    pairs |= {(d, s) for (s, d), state in snapshot.states.items() if state.held or state.extracted or state.state is State.RELEASED}
    reached = {d for d, _ in pairs}
    pairs |= {(name, "") for name in listed - reached if not site.distribution(name).channels}
    reader = _Reader(site, snapshot, now)
    wanted = sorted((d, s) for d, s in pairs if (not distributions or d in distributions) and (not subscribers or s in subscribers))
    return [reader.row(s, d) for d, s in wanted]


_Verdict = tuple[State, str]


class _Reader:
    """Indexes over one snapshot, and next starts that were computed."""

    def __init__(self, site: Site, snapshot: LedgerSnapshot, now: datetime) -> None:
        self._site = site
        self._snapshot = snapshot
        self._now = now
        self._tickets = {(t.subscriber, t.distribution): t for t in snapshot.tickets if t.live(now)}
        self._queues: dict[str, list[Ticket]] = {}
        for ticket in snapshot.tickets:
            self._queues.setdefault(ticket.sender, []).append(ticket)
        self._shared = shared_identities(snapshot.beliefs)
        self._decided: dict[str, Mapping[int, Verdict]] = {}
        self._starts: dict[tuple[Schedule, str], datetime | None] = {}

    def row(self, subscriber: str, distribution: str) -> StatusRow:
        state = self._state(subscriber, distribution)
        built = self._snapshot.built.get(distribution)
        latest = built.revision if built else self._snapshot.unrecorded.get(distribution)
        ways, active = self._ways(subscriber, distribution)
        through = active or ways
        names = [c.name for c in through]
        channel = state.channel if state.channel in names else (names[0] if names else "")
        verdict, reason = self._verdict(state, latest, ways, active)
        failing = self._failing(distribution)
        unknown = f"this ledger doesn't know {latest}, which is in the store: the next build records it" if latest and not built else ""
        told = (reason, state.doubt, self._twins(subscriber, distribution), "" if failing is None else failing.sentence, unknown)
        return StatusRow(
            subscriber=subscriber,
            distribution=distribution,
            channel=channel,
            held=state.held,
            extracted=state.extracted,
            latest=latest,
            state=verdict,
            reason="; ".join(filter(None, told)),
            since=state.since,
            bytes_sent=state.bytes_sent,
            read_back_at=state.read_back_at,
            seen_at=state.seen_at,
            doubt=state.doubt,
            failing=failing,
        )

    def _state(self, subscriber: str, distribution: str) -> CurrentState:
        """Return the state that the Distribution's owner made; a blank one if there is none."""
        state, found = self._snapshot.states.get((subscriber, distribution)), self._site.distributions.get(distribution)
        return (of_owner(state, found.distributor) if found else state) or CurrentState(subscriber, distribution)

    def _twins(self, subscriber: str, distribution: str) -> str:
        found = self._site.distributions.get(distribution)
        if found is None:
            return ""
        pair = found.distributor, subscriber
        twins = twins_sentence(subscriber, self._snapshot.beliefs.get(pair), self._now)
        return "; ".join(filter(None, (twins, self._shared.get(pair))))

    def _failing(self, distribution: str) -> FailingBuild | None:
        failure, found = self._snapshot.failing.get(distribution), self._site.distributions.get(distribution)
        return None if failure is None or found is None else FailingBuild(failure, self._next(found.build, ""))

    def _ways(self, subscriber: str, distribution: str) -> tuple[list[Channel], list[Channel]]:
        """Return the Channels that join the two, and those of them that are active for it."""
        found = self._site.distributions.get(distribution)
        channels = [self._site.channel(c) for c in found.channels] if found else []
        subscriptions = [(c, s) for c in channels for s in c.subscriptions if s.subscriber == subscriber]
        return [c for c, _ in subscriptions], [c for c, s in subscriptions if c.active and s.active]

    def _verdict(self, state: CurrentState, latest: RevisionNumber | None, ways: Sequence[Channel], active: Sequence[Channel]) -> _Verdict:
        distribution = self._site.distributions.get(state.distribution)
        subscriber = self._site.subscribers.get(state.subscriber)
        stays = f"; {state.extracted} stays installed" if state.extracted else ""
        if state.state is State.RELEASED and state.since:
            stays = f"; released at {moment(state.since)}, its files stay"
        if distribution is None:
            heir = next((d.name for d in self._site.distributions.values() if d.renamed_from == state.distribution), "")
            gone = f"{state.distribution} is {heir} now" if heir else f"the site no longer has a Distribution {state.distribution}"
            return State.NOT_JOINED, f"{gone}{stays}{f' until {heir} takes it over' if heir and state.extracted else ''}"
        ticket = self._tickets.get((state.subscriber, state.distribution))
        if ticket is not None and ticket.phase is Phase.RUNNING:
            verdict = self._decision(ticket)
            pauses = f"; {verdict.reason}" if isinstance(verdict, Pausing) else ""
            return State.SENDING, f"sending {ticket.revision} since {moment(state.since or ticket.entered)}{pauses}"
        if not distribution.channels:
            return State.NOT_SENT, f"not sent: no Channel{stays}"
        if subscriber is None:
            return State.NOT_JOINED, f"the site no longer has a Subscriber {state.subscriber}{stays}"
        if not ways:
            return State.NOT_JOINED, f"not joined: {subscriber.name} isn't in {named_channels(distribution.channels)}{stays}"
        if closed := inactive_reason(distribution, subscriber, ways, active):
            return State.INACTIVE, f"{closed}{stays}"
        if not platform_matches(subscriber.platform, distribution.platforms):
            return State.NOT_APPLICABLE, not_applicable_reason(distribution, subscriber) + stays
        if ticket is not None and ticket.phase is Phase.ENTERED and state.state is State.INSTALLING:
            return State.INSTALLING, f"extracting {state.held or state.offered} since {moment(state.since or ticket.entered)}"
        if ticket is not None and ticket.phase is Phase.ENTERED and state.state is State.RECEIVED and state.held == ticket.revision:
            return State.RECEIVED, f"received {state.held}, its extraction is about to begin"
        if ticket is not None:
            return State.WAITING, self._in_queue(ticket)
        if latest is None:
            return State.NOT_BUILT, f"not built: there is no revision of {distribution.name} yet"
        return self._happened(state, latest, distribution, subscriber, active)

    def _in_queue(self, ticket: Ticket) -> str:
        if ticket.phase is Phase.ENTERED:
            return f"connecting to send {ticket.revision}"
        verdict = self._decision(ticket)
        if isinstance(verdict, Waiting):
            return verdict.reason
        return f"{'paused' if ticket.phase is Phase.PAUSED else 'waiting'}: a slot is free, and its flow run takes it at its next look"

    def _decision(self, ticket: Ticket) -> Verdict | None:
        """Return the verdict on a ticket; a queue is decided on once for all of its rows."""
        if ticket.sender not in self._decided:
            self._decided[ticket.sender] = dispatch.decide(self._queues[ticket.sender], self._limit(ticket), self._now)
        return self._decided[ticket.sender].get(ticket.number)

    def _limit(self, ticket: Ticket) -> int | None:
        sender = self._site.distributors.get(ticket.sender)
        return sender.max_concurrent if sender else None

    def _happened(
        self, state: CurrentState, latest: RevisionNumber, distribution: Distribution, subscriber: Subscriber, active: Sequence[Channel]
    ) -> _Verdict:
        """Interpret the last state in the ledger, without a ticket in the queue."""
        since = moment(state.since) if state.since else ""
        next_send = self._next_send(active, subscriber)
        newer = f"; {latest} {next_send}" if latest != state.offered else ""
        match state.state:
            case State.INSTALLING:
                follows = f"it {next_send}" if extracts_at_once(distribution, subscriber) else self._next_extract(distribution, subscriber)
                return State.RECEIVED, f"extracting {state.held or state.offered}, begun {since}, was interrupted; {follows}"
            case State.FAILED:
                return State.FAILED, f"{_failed(state)}{newer}"
            case State.RECEIVED:
                tried = f", after an extraction failed at {since}: {_text_of(state.error)}" if state.error else ""
                return State.RECEIVED, f"received {state.held}, {self._next_extract(distribution, subscriber)}{tried}{newer}"
            case State.INSTALLED if state.extracted == latest:
                return State.INSTALLED, self._installed(state)
            case State.RELEASED:
                return State.RELEASED, f"released at {since}: its files stay; {latest} {next_send}"
            case State.CANCELLED if not newer:
                return State.CANCELLED, f"cancelled at {since}: {state.reason}; {latest} {next_send}"
            case State.SENDING:
                return State.WAITING, f"sending {state.offered}, begun {since}, was interrupted; {latest} {next_send}"
            case State.WAITING | State.UNAVAILABLE if state.attempts:
                return state.state, self._retrying(state, next_send)
            case State.WAITING if state.since is not None and not newer and not state.doubt:
                return State.WAITING, f"{latest} is offered since {since}: no flow run has connected to the host yet"
        return State.WAITING, f"{latest} {next_send}"

    def _installed(self, state: CurrentState) -> str:
        """Describe an installed revision by its age: when it was last read back whole, and when its agent last spoke of it."""
        read, seen, since = state.read_back_at, state.seen_at, state.since
        if read is None:
            return f"{state.reason} since {moment(since)}" if since else state.reason
        whole = f"{state.reason}, read back {ago(read, self._now)} ({moment(read)})"
        if since is not None and read < since:
            whole = f"{state.reason} since {moment(since)}, its unchanged files read back {ago(read, self._now)} ({moment(read)})"
        return f"{whole}, last seen {ago(seen, self._now)}" if seen is not None and seen - max(read, since or read) > SEEN_LATER else whole

    def _retrying(self, state: CurrentState, next_send: str) -> str:
        if state.next_try is None:
            first = moment(state.first_failure) if state.first_failure else "then"
            return f"{state.offered} {next_send}, after {state.attempts} failed tries since {first}: {_text_of(state.error)}"
        overdue = "; overdue: no flow run is retrying it" if self._now - state.next_try > OVERDUE else ""
        return f"{state.reason}{overdue}"

    def _next_send(self, active: Sequence[Channel], subscriber: Subscriber) -> str:
        """Describe the start that the latest revision waits for."""
        starts = [(at, c) for c in active if (at := self._next(c.send, subscriber.name)) is not None]
        if starts:
            at, channel = min(starts, key=lambda found: (found[0], found[1].name))
            return f"waits for the next start of Channel {channel.name} at {moment(at)}"
        names = named_channels([c.name for c in active])
        if any(c.send.kind is Kind.IMMEDIATELY for c in active):
            return f"is to be sent at once through {names}"
        return f"waits for the next start of {names}: nothing is scheduled, use `sluice send {min(c.name for c in active)}`"

    def _next_extract(self, distribution: Distribution, subscriber: Subscriber) -> str:
        if extracts_at_once(distribution, subscriber):
            return "to be extracted at once"
        at = self._next(subscriber.extract, subscriber.name)
        if at is None:
            return "waiting for its Extract schedule: nothing is scheduled, use `sluice extract`"
        return f"waiting for its Extract schedule at {moment(at)}"

    def _next(self, schedule: Schedule, seed: str) -> datetime | None:
        key = (schedule, seed if schedule.window is not None and schedule.window.random else "")
        if key not in self._starts:
            self._starts[key] = next_start(schedule, self._now, seed=key[1])
        return self._starts[key]


def _failed(state: CurrentState) -> str:
    again = ", tried again at the next Extract" if state.error and state.error.retryable else ""
    at = f" at {moment(state.since)}" if state.since else ""
    return f"{state.offered or state.held} failed{at}{again}: {_text_of(state.error)}"


def _text_of(error: Failure | None) -> str:
    if error is None:
        return "no error was reported"
    return printable(f"{error.message}: {error.remedy}" if error.remedy else error.message)
