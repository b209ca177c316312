"""Say in a deployment's description what priority and which four schedules a Distribution has (J4)."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.model.site import Distribution, Site
from sluice.rules.due import extracts_at_once
from sluice.rules.schedule_text import schedule_text

NAMED_MAX = 5
"""Different Extract schedules that are named."""


def schedule_words(site: Site) -> Mapping[str, str]:
    """Write a list in Markdown for each Distribution, by its name: priority, build, send, extract and refresh, in a blueprint's words."""
    extracts = {name: schedule_text(subscriber.extract) for name, subscriber in site.subscribers.items()}
    return {name: _words(site, distribution, extracts) for name, distribution in site.distributions.items()}


def _words(site: Site, distribution: Distribution, extracts: Mapping[str, str]) -> str:
    hosts = site.subscribers_of_distribution(distribution.name)
    found = {"immediately" if extracts_at_once(distribution, site.subscriber(name)) else extracts[name] for name in hosts}
    named = sorted(found)[:NAMED_MAX] + ([f"and {len(found) - NAMED_MAX} more"] if len(found) > NAMED_MAX else [])
    sends = [f"{name}: {schedule_text(site.channel(name).send)}" for name in distribution.channels] or ["never: no Channel lists it"]
    at_once = ["immediately after a build"] if distribution.send_immediately else []
    lines = (
        f"priority {distribution.priority}",
        f"build {schedule_text(distribution.build)}",
        f"send {'; '.join([*at_once, *sends])}",
        f"extract {'; '.join(named) or 'nowhere'}",
        f"refresh {schedule_text(site.distributor(distribution.distributor).refresh)}",
    )
    return "\n".join((f"**{distribution.name}**:\n", *(f"- {line}" for line in lines)))
