"""Which Subscribers are to extract what they hold, and when. Pure: site, states and time in, targets out.

A random window has one instant for each Subscriber (D3): a run that begins with the window finds the instants still to come and
waits for them, so that the hosts of a site don't all start at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sluice.model.revision import RevisionNumber
from sluice.model.schedule import Kind, Schedule
from sluice.model.site import Site
from sluice.model.state import CurrentState
from sluice.rules.due import is_open, may_begin, next_start


@dataclass(frozen=True, slots=True)
class ExtractTarget:
    """One Subscriber with one Distribution it holds and hasn't extracted."""

    subscriber: str
    distribution: str
    channel: str
    revision: RevisionNumber
    at: datetime
    """When it begins; the reference time or later in the open window."""


def plan_extracts(
    site: Site,
    distributor: str,
    states: Mapping[tuple[str, str], CurrentState],
    now: datetime,
    *,
    subscribers: Collection[str] = (),
    distribution: str | None = None,
    at_once: bool = False,
) -> list[ExtractTarget]:
    """Every pair of this Distributor whose Extract schedule lets it begin now or later in its open window, in name order.

    Args:
        subscribers: Only these; empty for all.
        at_once: By hand: whatever the schedules say. It changes no schedule (D4).
    Raises:
        NotFoundError: There is no object of a name that was given.
    """
    wanted = {site.subscriber(name).name for name in subscribers} or set(site.subscribers)
    only = None if distribution is None else site.distribution(distribution).name
    found = []
    for (name, about), state in sorted(states.items()):
        held = state.held
        if held is None or (state.extracted is not None and held <= state.extracted):
            continue
        if name not in wanted or about not in site.distributions or only not in (None, about):
            continue
        subject = site.distribution(about)
        subscriber = site.subscriber(name)
        if subject.distributor != distributor or not subject.active or not subscriber.active:
            continue
        since = state.since or now
        at = now if at_once or subject.extract_immediately else begins(subscriber.extract, since, now, seed=name)
        if at is not None:
            found.append(ExtractTarget(name, about, state.channel, held, at))
    return found


def begins(schedule: Schedule, since: datetime, now: datetime, *, seed: str) -> datetime | None:
    """When something that waits since a time begins: now, at its random instant in the window that is open now, or not yet (None)."""
    if schedule.kind is Kind.NEVER:
        return None
    if may_begin(schedule, since, now, seed=seed):
        return now
    if schedule.window is None or not schedule.window.random:
        return None
    whole = replace(schedule, window=replace(schedule.window, random=False))
    if not is_open(whole, now):
        return None
    start = next_start(schedule, now, seed=seed)
    following = next_start(whole, now)
    return start if start is not None and (following is None or start < following) else None
