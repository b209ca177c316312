"""Gates that stop a Distribution on its way to a Subscriber, each with its reason for a person. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sluice.model.platforms import lineage
from sluice.model.site import Channel, Distribution, Subscriber


def inactive_reason(distribution: Distribution, subscriber: Subscriber, ways: Sequence[Channel], active: Sequence[Channel]) -> str:
    """Name the inactive object (A7); empty if none stops it: ``ways`` join the two, ``active`` are those of them that are active."""
    if not distribution.active:
        return f"Distribution {distribution.name} is inactive"
    if not subscriber.active:
        return f"Subscriber {subscriber.name} is inactive"
    if active:
        return ""
    off = [c.name for c in ways if not c.active]
    if len(off) == len(ways):
        return f"{named_channels(off)} is inactive"
    on = [c.name for c in ways if c.active]
    return f"the subscription of {subscriber.name} to {named_channels(on)} is inactive"


def not_applicable_reason(distribution: Distribution, subscriber: Subscriber) -> str:
    """Explain why the platform of a Subscriber doesn't match (B20)."""
    wanted = f"not applicable: {distribution.name} is for {', '.join(distribution.platforms)}"
    if not lineage(subscriber.platform):
        return f"{wanted}, and the platform of {subscriber.name} isn't known: set its `platform:`"
    return f"{wanted}, but {subscriber.name} is {subscriber.platform}"


def named_channels(names: Sequence[str]) -> str:
    """Name Channels in a sentence."""
    return f"Channel {', '.join(names)}"
