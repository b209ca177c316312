"""Resolve the Subscribers of a Channel (A5, A7): names, and selectors turned into names.

A name stands above a selector: ``{name: web-1, active: false}`` beside a selector that matches web-1 makes that one subscription
inactive. A selector that matches no Subscriber is fine: the fleet may grow. One that asks about a tag that no Subscriber has, while a
similar one exists, is a slip of the pen and refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from sluice.blueprint.read.document import Document, PathKey
from sluice.blueprint.schema.kinds import ChannelDocument, SubscriberDocument
from sluice.blueprint.schema.parse import Parts
from sluice.blueprint.schema.selector import Facts, Selector, parse_selector, subscriber_facts
from sluice.blueprint.schema.suggest import nearest, nearest_or_all
from sluice.errors import BlueprintError
from sluice.model.site import Subscriber, Subscription


@dataclass(frozen=True, slots=True)
class Selectable:
    """The Subscribers that selectors can match, looked at once for all Channels."""

    facts: Mapping[str, Facts]
    made: Set[str]
    tags: Set[str]
    names: Set[str]
    """Every name that may be written, also those of Subscribers with errors."""
    tags_are_known: bool

    @classmethod
    def of(cls, subscribers: Mapping[str, Subscriber], parts: Parts, unsure: Set[str]) -> Selectable:
        """Collect them; no selector matches ``unsure`` ones, whose tags aren't known."""
        facts = {name: subscriber_facts(name, s.platform, s.tags) for name, s in subscribers.items() if name not in unsure}
        tags = {t for s in subscribers.values() for t in s.tags}
        return cls(facts, subscribers.keys(), tags, parts.names(SubscriberDocument), not unsure and parts.are_complete)


def subscriptions(document: Document, part: ChannelDocument, selectable: Selectable, parts: Parts) -> tuple[Subscription, ...]:
    """Return a Channel's subscriptions in name order.

    Args:
        document: The Channel's document.
        part: The Channel.
        selectable: The Subscribers.
        parts: Receives unknown and doubled names and misspelt tags.
    """
    named: dict[str, Subscription] = {}
    selected: dict[str, Subscription] = {}
    paths: dict[str, PathKey] = {}
    for index, member in enumerate(part.subscribers or ()):
        path: PathKey = ("subscribers", index)
        active = member.active is not False
        if member.where is not None:
            selector = parse_selector(member.where)
            if selectable.tags_are_known:
                parts.errors += misspelt_tags(document, (*path, "where"), selector, selectable.tags)
            for name, facts in selectable.facts.items():
                if selector.matches(facts) and (name not in selected or active):
                    selected[name] = Subscription(name, active)
            continue
        name = member.name or ""
        if name not in selectable.names:
            if parts.are_complete:
                remedy = nearest_or_all(name, selectable.names, "Subscribers")
                parts.errors.append(document.error(path, f"no Subscriber is named {name!r}", remedy))
        elif name in paths:
            first = document.mark(paths[name]).line
            parts.errors.append(document.error(path, f"{name} is listed twice, first on line {first}", "keep one of them"))
        else:
            paths[name] = path
            if name in selectable.made:
                named[name] = Subscription(name, active)
    return tuple(s for _, s in sorted((selected | named).items()))


def misspelt_tags(document: Document, path: PathKey, selector: Selector, tags: Set[str]) -> Iterator[BlueprintError]:
    """Yield an error for each unknown tag a selector asks about, if a similar one exists."""
    for name in sorted(selector.names() - tags - {"name", "platform"}):
        if remedy := nearest(name, {*tags, "name", "platform"}):
            yield document.error(path, f"there is no tag named {name}", remedy)
