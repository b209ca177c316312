"""Ask hosts for a dry run what actions would meet there now.

With ``--json`` rows ``{"subscriber", "distribution", "phase", "number", "action", "pids", "count", "problem"}``, and
``{"subscriber", "error"}`` for those that could not be asked, which fails nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from cli.ask import ask_agents
from cli.session import Session
from cli.tables import table

if TYPE_CHECKING:
    from sluice.model.action import Action, ActionRehearsal
    from sluice.model.recipe import RenderedRecipe
    from sluice.sender.conversation import Conversation

SHOWN_MAX = 20
"""PIDs shown of one action."""


@dataclass(frozen=True, slots=True)
class ActionOutlook:
    """One action of one Distribution on one Subscriber."""

    subscriber: str
    distribution: str
    phase: str
    number: int
    """From 1."""
    action: str
    pids: tuple[int, ...]
    count: int
    problem: str
    outlook: str
    """In words."""


@dataclass(frozen=True, slots=True)
class RehearsedActions:
    """The answers of the hosts, and the errors of those that could not be asked."""

    rows: list[ActionOutlook]
    unasked: list[tuple[str, str]]
    """Subscriber, error."""

    def as_json(self) -> dict[str, Any]:
        """Return ``{"actions": [...], "unasked": [...]}``."""
        rows = [{key: value for key, value in asdict(row).items() if key != "outlook"} for row in self.rows]
        return {"actions": rows, "unasked": [{"subscriber": name, "error": error} for name, error in self.unasked]}

    def show(self) -> None:
        """Print a table; nothing if no action would run."""
        if self.rows:
            cells = [[r.subscriber, r.distribution, f"{r.phase} {r.number}", r.action, r.outlook] for r in self.rows]
            click.echo(table(["subscriber", "distribution", "when", "action", "now"], cells))
        for name, error in self.unasked:
            click.echo(f"{name} could not be asked what its actions would meet: {error}")


def rehearsed_actions(session: Session, pairs: Iterable[tuple[str, str]]) -> RehearsedActions:
    """Ask each Subscriber about the actions of its Distributions, unless none would run.

    Args:
        pairs: Subscriber, Distribution.
    """
    from sluice.model.feature import Feature
    from sluice.model.platforms import platform_matches

    wanted: dict[str, list[str]] = {}
    for name, distribution in sorted(set(pairs)):
        found, host = session.site.distribution(distribution), session.site.subscriber(name)
        if host.active and platform_matches(host.platform, found.platforms) and (found.pre_actions or found.post_actions):
            wanted.setdefault(name, []).append(distribution)
    answers, unasked = ask_agents(session, wanted, Feature.REHEARSE, _ask)
    return RehearsedActions(list(chain.from_iterable(answers)), unasked)


def _ask(conversation: Conversation, subscriber: str, distribution: str, recipe: RenderedRecipe) -> list[ActionOutlook]:
    met = conversation.rehearse(distribution, recipe)
    actions = [("pre", *each) for each in enumerate(recipe.pre_actions, 1)]
    actions += [("post", *each) for each in enumerate(recipe.post_actions, 1)]
    return [
        ActionOutlook(subscriber, distribution, phase, number, action.label, each.pids, each.count, each.problem, _outlook(action, each))
        for (phase, number, action), each in zip(actions, met, strict=True)
    ]


def _outlook(action: Action, met: ActionRehearsal) -> str:
    from sluice.model.action import Script, StopProcess

    if met.problem:
        return f"would fail: {met.problem}"
    more = f" and {met.count - SHOWN_MAX} more" if met.count > SHOWN_MAX else ""
    pids = f"PID {', '.join(map(str, met.pids[:SHOWN_MAX]))}{more}"
    match action:
        case Script():
            return "would run"
        case StopProcess():
            return f"would stop {pids}" if met.count else "none runs"
    return f"would start; {pids} runs now and may be stopped before" if met.count else "would start"
