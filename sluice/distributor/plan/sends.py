"""Which Distributions go to which Subscribers now, and why the others don't. Pure: site, revisions and states in, targets out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from sluice.errors import NotFoundError
from sluice.model.assignment import Assignment
from sluice.model.platforms import platform_matches
from sluice.model.revision import RevisionNumber
from sluice.model.site import Channel, Distribution, Priority, Site, Subscription
from sluice.model.state import CurrentState, State
from sluice.ports import RevisionReader
from sluice.rules.belief import of_owner
from sluice.rules.due import extracts_at_once
from sluice.rules.gates import inactive_reason, not_applicable_reason


@dataclass(frozen=True, slots=True)
class SendTarget:
    """One Subscriber with one Distribution."""

    subscriber: str
    distribution: str
    channel: str
    """Through which; empty if no Channel joins the two."""
    revision: RevisionNumber | None
    """The newest; None if nothing was built."""
    priority: Priority
    state: State | None = None
    """Set if it isn't sent: inactive, not applicable, not built, not joined, received or installed."""
    reason: str = ""
    """Why it isn't sent, for a person; empty if it is."""
    is_held: bool = False
    """By receipts it is held there, and only the extraction that follows at once remains: an earlier run didn't get that far."""
    check: bool = False
    """The Subscriber is asked although receipts say it holds it."""
    is_extracted: bool = False
    """By receipts it is extracted there."""

    @property
    def is_due(self) -> bool:
        """Whether it is to be sent."""
        return self.state is None

    @property
    def assignment(self) -> Assignment:
        """The assignment to send, if it is due."""
        if self.revision is None:
            raise ValueError(f"nothing of {self.distribution} can be assigned: nothing was built")
        return Assignment(self.subscriber, self.distribution, self.revision, self.channel, self.priority)


def plan_sends(
    site: Site,
    *,
    distributor: str | None = None,
    channel: str | None = None,
    distribution: str | None = None,
    to: Collection[str] = (),
    latest: Mapping[str, RevisionNumber],
    states: Mapping[tuple[str, str], CurrentState],
    check: bool = False,
) -> list[SendTarget]:
    """List every pair of Subscriber and Distribution that is asked for, once each, highest priority first.

    A pair that several Channels join is sent if one of them lets it; the first in name order is named.

    Args:
        distributor: Only Distributions it owns.
        channel: Only what this Channel joins; ``distribution`` narrows in the same way.
        to: Only these Subscribers; empty for all.
        latest: Newest revision of each Distribution (``newest_revisions``); missing if nothing was built.
        states: From the ledger, by (Subscriber, Distribution).
        check: Ask the Subscribers although receipts say they hold it.
    Raises:
        NotFoundError: There is no object of a name that was given.
    Source: TED "Send schedule"; A3 to A7, B20.
    """
    if channel is not None:
        site.channel(channel)
    for name in to:
        site.subscriber(name)
    if distribution is not None:
        wanted = [site.distribution(distribution)]
    else:
        wanted = [d for _, d in sorted(site.distributions.items())]
    targets = []
    for each in wanted:
        if distributor is not None and each.distributor != distributor:
            continue
        candidates, revision = _candidates(site, each, channel), latest.get(each.name)
        targets += [_target(site, each, name, found, revision, states, check) for name, found in candidates.items() if not to or name in to]
        if distribution is not None:
            joins = "no Channel joins" if channel is None else f"Channel {channel} doesn't join"
            targets += [
                SendTarget(name, each.name, "", revision, each.priority, State.NOT_JOINED, f"{joins} {each.name} with {name}")
                for name in dict.fromkeys(to)
                if name not in candidates
            ]
    return sorted(targets, key=lambda t: (t.priority.rank, t.distribution, t.subscriber))


def newest_revisions(distributions: Iterable[str], store_of: Callable[[str], RevisionReader]) -> dict[str, RevisionNumber]:
    """Look up the newest revision of each Distribution in its Distributor's store; missing if nothing was built."""
    return {name: kept[-1] for name in distributions if (kept := store_of(name).revisions(name))}


def sender_of(site: Site, *, channel: str, distribution: str, distributor: str) -> str:
    """Find the Distributor whose Distributions are to be sent; empty if nothing is listed.

    Raises:
        NotFoundError: A Channel lists Distributions of several, and none of them was named.
    """
    if distribution:
        owners = {site.distribution(distribution).distributor}
    else:
        owners = {d.distributor for d in site.distributions_of_channel(channel)} if channel else set()
    if distributor:
        owners &= {distributor}
    if len(owners) > 1:
        names = ", ".join(sorted(owners))
        raise NotFoundError(f"Channel {channel} has Distributions of {names}", remedy="set the flow's parameter distributor to one of them")
    return next(iter(owners), "")


def were_never_offered(targets: Iterable[SendTarget], states: Mapping[tuple[str, str], CurrentState]) -> bool:
    """Whether somebody is due, and no run has offered its newest revision to anybody yet."""
    due = [target.assignment for target in targets if target.is_due]
    return bool(due) and all(each.pair not in states or states[each.pair].offered != each.revision for each in due)


def _candidates(site: Site, distribution: Distribution, channel: str | None) -> dict[str, list[tuple[Channel, Subscription]]]:
    """List the Channels that join each Subscriber with the Distribution."""
    found: dict[str, list[tuple[Channel, Subscription]]] = {}
    for name in sorted(distribution.channels):
        if channel is None or name == channel:
            for subscription in site.channel(name).subscriptions:
                found.setdefault(subscription.subscriber, []).append((site.channel(name), subscription))
    return found


def _target(
    site: Site,
    distribution: Distribution,
    name: str,
    joined: list[tuple[Channel, Subscription]],
    revision: RevisionNumber | None,
    states: Mapping[tuple[str, str], CurrentState],
    check: bool,
) -> SendTarget:
    ways = [channel for channel, _ in joined]
    active = [channel for channel, subscription in joined if channel.active and subscription.active]
    subscriber = site.subscriber(name)
    known = of_owner(states.get((name, distribution.name)), distribution.distributor)
    state, reason = None, ""
    if closed := inactive_reason(distribution, subscriber, ways, active):
        state, reason = State.INACTIVE, closed
    elif not platform_matches(subscriber.platform, distribution.platforms):
        state, reason = State.NOT_APPLICABLE, not_applicable_reason(distribution, subscriber)
    elif revision is None:
        state, reason = State.NOT_BUILT, f"{distribution.name} has no revision yet"
    elif not check:
        state, reason = _already_there(revision, known) or (None, "")
    is_held = state is State.RECEIVED and extracts_at_once(distribution, subscriber)
    if is_held:
        state, reason = None, ""
    is_extracted = revision is not None and known is not None and known.extracted == revision
    channel = (active or ways)[0].name
    return SendTarget(name, distribution.name, channel, revision, distribution.priority, state, reason, is_held, check, is_extracted)


def _already_there(revision: RevisionNumber, state: CurrentState | None) -> tuple[State, str] | None:
    if state is None or state.held is None or revision not in (state.held, state.extracted):
        return None
    if state.extracted == revision:
        return State.INSTALLED, f"{revision} is already held and extracted"
    return State.RECEIVED, f"{revision} is already held"
