"""Who subscribes to a Channel (A5, A7): names, and selectors resolved into names.

A name stands above a selector: ``{name: web-1, active: false}`` beside a selector that means web-1 makes that one subscription
inactive. A selector that means nobody is fine: the fleet may grow. One that asks about a tag nobody has, while a similar one is
there, is a slip of the pen and refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from sluice.blueprint.read.documents import Document, PathKey
from sluice.blueprint.schema.kinds import ChannelDocument
from sluice.blueprint.schema.selector import Selector, parse_selector, subscriber_facts
from sluice.blueprint.schema.suggest import nearest, nearest_or_all
from sluice.errors import BlueprintError
from sluice.model.site import Subscriber, Subscription


def subscriptions(
    document: Document,
    part: ChannelDocument,
    subscribers: Mapping[str, Subscriber],
    known: set[str],
    errors: list[BlueprintError],
    *,
    whole: bool,
) -> tuple[Subscription, ...]:
    """A Channel's subscriptions in name order.

    Args:
        document: Where the Channel stands.
        part: The Channel.
        subscribers: Those that selectors can mean.
        known: Every name that may be written, those of Subscribers with errors too.
        errors: Receives unknown and doubled names, and misspelt tags.
        whole: Whether every file could be read; else an unknown name may be in one that couldn't.
    """
    named: dict[str, Subscription] = {}
    selected: dict[str, Subscription] = {}
    lines: dict[str, PathKey] = {}
    for index, member in enumerate(part.subscribers or ()):
        path: PathKey = ("subscribers", index)
        active = member.active is not False
        if member.where is not None:
            selector = parse_selector(member.where)
            tags = {t for s in subscribers.values() for t in s.tags}
            errors += misspelt_tags(document, (*path, "where"), selector, tags)
            for name, subscriber in subscribers.items():
                if selector.matches(subscriber_facts(name, subscriber.platform, subscriber.tags)):
                    selected[name] = Subscription(name, active or selected.get(name, Subscription(name, False)).active)
            continue
        name = member.name or ""
        if name not in known:
            if whole:
                errors.append(document.error(path, f"no Subscriber is named {name!r}", nearest_or_all(name, known, "Subscribers")))
        elif name in lines:
            first = document.mark(lines[name]).line
            errors.append(document.error(path, f"{name} is listed twice, first on line {first}", "keep one of them"))
        else:
            lines[name] = path
            if name in subscribers:
                named[name] = Subscription(name, active)
    return tuple(s for _, s in sorted((selected | named).items()))


def misspelt_tags(document: Document, path: PathKey, selector: Selector, tags: Set[str]) -> Iterator[BlueprintError]:
    """An error for each tag a selector asks about that nobody has, where a similar one is there."""
    for name in sorted(selector.names() - tags - {"name", "platform"}):
        if remedy := nearest(name, {*tags, "name", "platform"}):
            yield document.error(path, f"nobody has a tag {name}", remedy)
