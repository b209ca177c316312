"""Ask the agents of several Subscribers a question for a dry run. Nothing on the hosts changes, and no lock is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cli.contacts import contacts_of
from cli.hosts import on_each, timeout_of, transport_of
from cli.session import Session

if TYPE_CHECKING:
    from sluice.model.feature import Feature
    from sluice.model.recipe import RenderedRecipe
    from sluice.model.site import Subscriber
    from sluice.sender.call import Call

ASK_SECONDS = 30.0
"""Most seconds to wait for a host that doesn't answer."""
A = TypeVar("A")


class Unasked(NamedTuple):
    """A Subscriber that could not be asked."""

    subscriber: str
    message: str
    code: str = ""
    """The name of the error that the run would meet as well; empty if only a dry run does."""


def ask_agents(
    session: Session,
    pairs: Iterable[tuple[str, str]],
    feature: Feature,
    question: Callable[[Call, str, str, RenderedRecipe], A],
) -> tuple[list[A], list[Unasked]]:
    """Ask each Subscriber about its Distributions, unless it is inactive or they aren't for its platform.

    Args:
        pairs: Subscriber, Distribution.
        feature: The feature that an agent needs to answer.
        question: Gets the agent, called, the Subscriber, the Distribution and its recipe.
    Returns:
        The answers, and each Subscriber that could not be asked.
    """
    from sluice.blueprint.render.recipe import recipe
    from sluice.model.platforms import platform_matches
    from sluice.sender.call import call_agent

    site, transport = session.site, transport_of(session)
    wanted: dict[str, list[str]] = {}
    for name, distribution in pairs:
        host = site.subscriber(name)
        if host.active and platform_matches(host.platform, site.distribution(distribution).platforms):
            wanted.setdefault(name, []).append(distribution)

    too_old: list[str] = []

    def ask(subscriber: Subscriber, distribution: str) -> list[A]:
        rendered = recipe(site, distribution, subscriber.name)
        owner, timeout = site.distribution(distribution).distributor, min(ASK_SECONDS, timeout_of(site, subscriber))
        contact = contacts(owner, subscriber)
        with contact.calling() if contact else nullcontext():
            call = call_agent(subscriber, owner, transport=transport, timeout=timeout)
        try:
            if contact is not None:
                contact.heard(call.hello)
            if feature in call.hello.features:
                return [question(call, subscriber.name, distribution, rendered)]
            too_old.append(subscriber.name)
            return []
        finally:
            call.close()

    def ask_all(subscriber: Subscriber) -> list[A]:
        return [answer for distribution in wanted[subscriber.name] for answer in ask(subscriber, distribution)]

    with contacts_of(site) as contacts:
        results = on_each([site.subscriber(name) for name in wanted], ask_all)
    answers = [answer for each in results for answer in each.result or ()]
    unasked = {name: Unasked(name, "its agent is too old to say") for name in too_old}
    unasked |= {each.subscriber.name: Unasked(each.subscriber.name, each.error.message, each.error.code) for each in results if each.error}
    return answers, [unasked[name] for name in wanted if name in unasked]
