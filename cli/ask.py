"""Ask the agents of several Subscribers a question for a dry run. Nothing on the hosts changes, and no lock is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

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


def ask_agents(
    session: Session,
    pairs: Iterable[tuple[str, str]],
    feature: Feature,
    question: Callable[[Call, str, str, RenderedRecipe], A],
) -> tuple[list[A], list[tuple[str, str]]]:
    """Ask each Subscriber about its Distributions.

    Args:
        pairs: Subscriber, Distribution.
        feature: The feature that an agent needs to answer.
        question: Gets the agent, called, the Subscriber, the Distribution and its recipe.
    Returns:
        The answers, and (Subscriber, error) for each that could not be asked, which fails nothing.
    """
    from sluice.blueprint.render.recipe import recipe
    from sluice.errors import AgentVersionError
    from sluice.sender.call import call_agent

    site, transport = session.site, transport_of(session)
    wanted: dict[str, list[str]] = {}
    for name, distribution in pairs:
        wanted.setdefault(name, []).append(distribution)

    def ask(subscriber: Subscriber, distribution: str) -> A:
        rendered = recipe(site, distribution, subscriber.name)
        owner, timeout = site.distribution(distribution).distributor, min(ASK_SECONDS, timeout_of(site, subscriber))
        contact = contacts(owner, subscriber)
        with contact.calling() if contact else nullcontext():
            call = call_agent(subscriber, owner, transport=transport, timeout=timeout)
        try:
            if contact is not None:
                contact.heard(call.hello)
            if feature not in call.hello.features:
                raise AgentVersionError("its agent is too old to say", remedy=f"run: sluice subscriber bootstrap {subscriber.name}")
            return question(call, subscriber.name, distribution, rendered)
        finally:
            call.close()

    def ask_all(subscriber: Subscriber) -> list[A]:
        return [ask(subscriber, distribution) for distribution in wanted[subscriber.name]]

    with contacts_of(site) as contacts:
        results = on_each([site.subscriber(name) for name in wanted], ask_all)
    answers = [answer for each in results for answer in each.result or ()]
    return answers, [(each.subscriber.name, each.error.message) for each in results if each.error]
