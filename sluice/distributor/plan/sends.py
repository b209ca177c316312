"""Which Distributions go to which Subscribers now, and why the others don't. Pure: site, revisions and states in, targets out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sluice.model.platforms import platform_matches
from sluice.model.revision import RevisionNumber
from sluice.model.site import Channel, Distribution, Priority, Site, Subscription
from sluice.model.state import CurrentState, State
from sluice.rules.due import extracts_at_once
from sluice.rules.reasons import inactive_reason, not_applicable_reason


@dataclass(frozen=True, slots=True)
class SendTarget:
    """One Subscriber with one Distribution."""

    subscriber: str
    distribution: str
    channel: str
    """Through which; empty where no Channel joins the two."""
    revision: RevisionNumber | None
    """The newest; None where nothing was built."""
    priority: Priority
    state: State | None = None
    """Set where it isn't sent: inactive, not applicable, not built, not joined, received or installed."""
    reason: str = ""
    """Why it isn't sent, for a person; empty where it is."""
    is_held: bool = False
    """By receipts it is there, and only its extraction at once is left: an earlier run didn't get that far."""
    check: bool = False
    """The Subscriber is asked although receipts say it holds it."""

    @property
    def is_due(self) -> bool:
        """Whether it is to be sent."""
        return self.state is None


def plan_sends(
    site: Site,
    *,
    distributor: str | None = None,
    channel: str | None = None,
    distribution: str | None = None,
    to: str | None = None,
    latest: Mapping[str, RevisionNumber],
    states: Mapping[tuple[str, str], CurrentState],
    check: bool = False,
) -> list[SendTarget]:
    """Every pair of Subscriber and Distribution that is asked for, once each, highest priority first.

    A pair that several Channels join is sent if one of them lets it; the first in name order is named.

    Args:
        distributor: Only Distributions it owns.
        channel: Only what this Channel joins; ``distribution`` and ``to`` narrow in the same way.
        latest: Newest revision of each Distribution; missing where nothing was built.
        states: From the ledger, by (Subscriber, Distribution).
        check: Ask the Subscribers although receipts say they hold it.
    Raises:
        NotFoundError: There is no object of a name that was given.
    Source: TED "Send schedule"; A3 to A7, B20.
    """
    if channel is not None:
        site.channel(channel)
    if to is not None:
        site.subscriber(to)
    if distribution is not None:
        wanted = [site.distribution(distribution)]
    else:
        wanted = [d for _, d in sorted(site.distributions.items())]
    targets = []
    for each in wanted:
        if distributor is not None and each.distributor != distributor:
            continue
        for name, found in _candidates(site, each, channel).items():
            if to is None or name == to:
                targets.append(_target(site, each, name, found, latest.get(each.name), states, check))
        if to is not None and distribution is not None and not any(t.subscriber == to for t in targets):
            reason = (
                f"no Channel joins {each.name} with {to}" if channel is None else f"Channel {channel} doesn't join {each.name} with {to}"
            )
            targets.append(SendTarget(to, each.name, "", latest.get(each.name), each.priority, State.NOT_JOINED, reason))
    return sorted(targets, key=lambda t: (t.priority.rank, t.distribution, t.subscriber))


def _candidates(site: Site, distribution: Distribution, channel: str | None) -> dict[str, list[tuple[Channel, Subscription]]]:
    """By Subscriber: every Channel that joins it with the Distribution."""
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
    state, reason = None, ""
    if closed := inactive_reason(distribution, subscriber, ways, active):
        state, reason = State.INACTIVE, closed
    elif not platform_matches(subscriber.platform, distribution.platforms):
        state, reason = State.NOT_APPLICABLE, not_applicable_reason(distribution, subscriber)
    elif revision is None:
        state, reason = State.NOT_BUILT, f"{distribution.name} has no revision yet"
    elif not check:
        state, reason = _already_there(revision, states.get((name, distribution.name))) or (None, "")
    is_held = state is State.RECEIVED and extracts_at_once(distribution, subscriber)
    if is_held:
        state, reason = None, ""
    return SendTarget(name, distribution.name, (active or ways)[0].name, revision, distribution.priority, state, reason, is_held, check)


def _already_there(revision: RevisionNumber, state: CurrentState | None) -> tuple[State, str] | None:
    if state is None or state.held is None or revision not in (state.held, state.extracted):
        return None
    if state.extracted == revision:
        return State.INSTALLED, f"{revision} is already held and extracted"
    return State.RECEIVED, f"{revision} is already held"
