"""Lifetimes of signatures: they must outlast the time between two sends, or an idle Channel would find its own metadata expired."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sluice.model.order import Act
from sluice.model.schedule import Kind, Schedule
from sluice.model.site import Site

_DAY = timedelta(days=1)
ORDER_LIFETIMES: Mapping[Act, timedelta] = {Act.EXTRACT: _DAY, Act.RELEASE: _DAY}
"""By act. Both are carried out at once; a day allows for clocks that differ and for a parent that forwards the order."""
_LONGEST = {
    Kind.NEVER: timedelta(0),
    Kind.IMMEDIATELY: timedelta(0),
    Kind.AT: timedelta(0),
    Kind.DAILY: timedelta(days=7),
    Kind.WEEKLY: timedelta(days=7),
    Kind.MONTHLY: timedelta(days=62),
    Kind.YEARLY: timedelta(days=366),
    Kind.CRON: timedelta(days=366),
    Kind.RRULE: timedelta(days=366),
}
"""Upper bound of the time between two starts by kind: daily may name one weekday, monthly a day that every other month lacks."""


def longest_interval(schedule: Schedule) -> timedelta:
    """Return an upper bound of the time between two starts of a schedule; zero if it doesn't repeat."""
    if schedule.kind is Kind.INTERVAL and schedule.interval is not None:
        return schedule.interval
    return _LONGEST.get(schedule.kind, timedelta(0))


def longest_send_interval(site: Site, distributor: str) -> timedelta:
    """Return the longest time between two sends of a Distributor's Channels, from which its timestamp's lifetime is computed."""
    channels = {name for d in site.distributions_of_distributor(distributor) for name in d.channels}
    return max((longest_interval(site.channel(name).send) for name in channels), default=timedelta(0))
