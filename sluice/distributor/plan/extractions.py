"""Which Subscribers are to extract what they hold, and when. Pure: site, states and time in, targets out.

A random window has one instant for each Subscriber (D3): a run that begins with the window finds the instants still to come and
waits for them, so that the hosts of a site don't all start at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sluice.distributor.plan.sends import SendTarget
from sluice.model.assignment import Assignment
from sluice.model.order import Demand
from sluice.model.schedule import Kind, Schedule
from sluice.model.site import Distribution, Site, Subscriber
from sluice.model.state import CurrentState, State
from sluice.rules.belief import doubt_remedy, of_owner
from sluice.rules.due import extracts_at_once, is_open, may_begin, next_start, of_whole_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractTarget(Assignment):
    """A revision that a Subscriber holds and hasn't extracted, or is to verify (C10)."""

    at: datetime
    """When it begins; the reference time or later in the open window."""
    is_check: bool = False
    """It has extracted it: its tree is verified and repaired."""


def plan_extracts(
    site: Site,
    distributor: str,
    states: Mapping[tuple[str, str], CurrentState],
    now: datetime,
    *,
    subscribers: Collection[str] = (),
    distribution: str | None = None,
    at_once: bool = False,
    demand: Demand = Demand.DUE,
) -> list[ExtractTarget]:
    """List every pair of this Distributor whose Extract schedule lets it begin now or later in its open window, in name order.

    Args:
        subscribers: Only these; empty for all.
        at_once: By hand: whatever the schedules say. It changes no schedule (D4).
        demand: By hand: also what is extracted, whatever its blueprint says of `verify`; that alone if it isn't ``at_once``.
    Raises:
        NotFoundError: There is no object of a name that was given.
    """
    found = []
    for subject, subscriber, state in _active(site, distributor, states, subscribers, distribution):
        name, about, held = subscriber.name, subject.name, state.held
        if held is None:
            continue
        is_check = state.extracted is not None and held <= state.extracted
        if is_check and not ((subject.verify or demand is not Demand.DUE or check_failed(state)) and is_checkable(state)):
            continue
        if demand is not Demand.DUE and not at_once and not is_check:
            continue
        since = state.since or now
        is_now = at_once or demand is not Demand.DUE or (subject.extract_immediately and not is_check)
        if is_check and not is_now and extracts_at_once(subject, subscriber):
            continue  # with the Channel's starts: see ``plan_checks``
        at = now if is_now else begins(subscriber.extract, since, now, seed=name)
        if at is not None:
            found.append(ExtractTarget(name, about, held, state.channel, subject.priority, at=at, is_check=is_check))
    return found


def doubted(
    site: Site,
    distributor: str,
    states: Mapping[tuple[str, str], CurrentState],
    planned: Iterable[Assignment],
    *,
    subscribers: Collection[str] = (),
    distribution: str | None = None,
) -> list[str]:
    """Describe what a reading back by hand leaves out because nothing counts as extracted any more, each with what will read it back.

    Args:
        planned: What it doesn't leave out.
    """
    pairs = {each.pair for each in planned}
    return [
        f"{state.subscriber} ({state.distribution}): {state.doubt}; {doubt_remedy(state)}"
        for _, _, state in _active(site, distributor, states, subscribers, distribution)
        if state.doubt and state.extracted is None and (state.subscriber, state.distribution) not in pairs
    ]


def _active(
    site: Site,
    distributor: str,
    states: Mapping[tuple[str, str], CurrentState],
    subscribers: Collection[str],
    distribution: str | None,
) -> Iterator[tuple[Distribution, Subscriber, CurrentState]]:
    """Yield the active pairs of a Distributor that are asked for, in name order."""
    wanted = {site.subscriber(name).name for name in subscribers} or set(site.subscribers)
    only = None if distribution is None else site.distribution(distribution).name
    for (name, about), state in sorted(states.items()):
        if name in wanted and about in site.distributions and only in (None, about):
            subject, subscriber = site.distribution(about), site.subscriber(name)
            is_owned = subject.distributor == distributor and of_owner(state, distributor) is not None
            if is_owned and subject.active and subscriber.active:
                yield subject, subscriber, state


def plan_checks(
    site: Site, distributor: str, channel: str, states: Mapping[tuple[str, str], CurrentState], now: datetime
) -> list[ExtractTarget]:
    """List what is to be verified as a Channel starts, in name order: of those it joins, what is extracted at once, so that no Extract
    schedule sees to it. So are checks that failed.
    """
    joined = {each.subscriber for each in site.channel(channel).subscriptions if each.active}
    found = []
    for (name, about), state in sorted(states.items()):
        if of_owner(state, distributor) is None:
            continue
        subject, subscriber = site.distributions.get(about), site.subscribers.get(name)
        if subject is None or subscriber is None or name not in joined or channel not in subject.channels:
            continue
        if not ((subject.verify or check_failed(state)) and subject.active and subscriber.active and subject.distributor == distributor):
            continue
        if state.extracted is not None and state.held == state.extracted and is_checkable(state) and extracts_at_once(subject, subscriber):
            found.append(ExtractTarget(name, about, state.extracted, channel, subject.priority, at=now, is_check=True))
    return found


def extracting_at_once(site: Site, targets: Iterable[SendTarget], now: datetime) -> list[tuple[str, str]]:
    """Find the Subscriber and Distribution of those that would extract at once what they would be sent now."""
    return [
        (target.subscriber, target.distribution)
        for target in targets
        if target.is_due
        and (
            site.distribution(target.distribution).extract_immediately
            or begins(site.subscriber(target.subscriber).extract, now, now, seed=target.subscriber) is not None
        )
    ]


def check_failed(state: CurrentState) -> bool:
    """Whether what is extracted was read back, or written anew, and that failed: the next extract tries again, as its error says."""
    return state.state is State.FAILED and state.offered == state.held == state.extracted


def is_checkable(state: CurrentState) -> bool:
    """Whether a check would be about the last extraction: nothing newer is on its way."""
    return state.state in (State.INSTALLED, State.INSTALLING, State.FAILED)


def begins(schedule: Schedule, since: datetime, now: datetime, *, seed: str) -> datetime | None:
    """Find when something that waits since a time begins: now, at its random instant in the window that is open now, or not yet (None)."""
    if schedule.kind is Kind.NEVER:
        return None
    if may_begin(schedule, since, now, seed=seed):
        return now
    if schedule.window is None or not schedule.window.random:
        return None
    whole = of_whole_windows(schedule)
    if not is_open(whole, now):
        return None
    start = next_start(schedule, now, seed=seed)
    following = next_start(whole, now)
    return start if start is not None and (following is None or start < following) else None
