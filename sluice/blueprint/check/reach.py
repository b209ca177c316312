"""Which Subscribers a Distribution reaches, and on which machines they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from sluice.model.platforms import platform_matches
from sluice.model.site import Distribution, Site, Subscriber

LOCAL = "local"
"""The Distributor's machine, which all ``local:`` Subscribers share."""

Variables: TypeAlias = Mapping[str, Mapping[str, str]]
"""Each Subscriber's variables, resolved."""


def joined_subscribers(site: Site, distribution: Distribution) -> list[Subscriber]:
    """List the Subscribers that a known Channel joins with a Distribution, in name order."""
    channels = [site.channels[name] for name in distribution.channels if name in site.channels]
    names = sorted({s.subscriber for channel in channels for s in channel.subscriptions})
    return [site.subscribers[name] for name in names if name in site.subscribers]


def reached_subscribers(site: Site, distribution: Distribution) -> list[Subscriber]:
    """List those of the joined Subscribers whose platform a Distribution is for."""
    return [s for s in joined_subscribers(site, distribution) if platform_matches(s.platform, distribution.platforms)]


def machine_of(subscriber: Subscriber) -> str:
    """Name the machine of a Subscriber."""
    address = subscriber.address
    return LOCAL if address.scheme == LOCAL else f"{address.host}:{address.port or 22}"
