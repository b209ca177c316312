"""Ask hosts for a dry run what actions would meet there now.

With ``--json`` rows ``{"subscriber", "distribution", "phase", "number", "action", "pids", "count", "problem"}``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from cli.ask import Unasked, ask_agents
from cli.session import Session, out
from cli.tables import table
from sluice.errors import ActionFailedError

if TYPE_CHECKING:
    from sluice.model.action import Action, ActionRehearsal
    from sluice.model.recipe import RenderedRecipe
    from sluice.sender.call import Call

SHOWN_MAX = 20
"""PIDs shown of one action."""


@dataclass(frozen=True, slots=True)
class RehearsedActions:
    """The answers of the hosts, and the errors of those that could not be asked."""

    rows: list[tuple[str, str, str, int, Action, ActionRehearsal]]
    """Subscriber, Distribution, phase, number from 1, the action and what it would meet."""
    unasked: list[Unasked]

    def failures(self) -> dict[tuple[str, str], str]:
        """Map Subscriber and Distribution to the error that the run would end with, by its name."""
        return {(name, distribution): ActionFailedError.__name__ for name, distribution, *_, met in self.rows if met.problem}

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rows."""
        return [
            {"subscriber": name, "distribution": distribution, "phase": phase, "number": number, "action": action.label, **asdict(met)}
            for name, distribution, phase, number, action, met in self.rows
        ]

    def show(self) -> None:
        """Print a table; nothing if no action would run."""
        if self.rows:
            cells = [
                [name, distribution, f"{phase} {number}", action.label, _outlook(action, met)]
                for name, distribution, phase, number, action, met in self.rows
            ]
            out(table(["subscriber", "distribution", "when", "action", "now"], cells))
        for each in self.unasked:
            out(f"{each.subscriber} could not be asked what its actions would meet: {each.message}")


def rehearsed_actions(session: Session, pairs: Iterable[tuple[str, str]]) -> RehearsedActions:
    """Ask each Subscriber about the actions of its Distributions, unless they have none.

    Args:
        pairs: Subscriber, Distribution.
    """
    from sluice.model.feature import Feature

    def has_actions(distribution: str) -> bool:
        found = session.site.distribution(distribution)
        return bool(found.pre_actions or found.post_actions)

    def ask(call: Call, name: str, distribution: str, recipe: RenderedRecipe) -> list[tuple[str, str, str, int, Action, ActionRehearsal]]:
        actions = [("pre", *each) for each in enumerate(recipe.pre_actions, 1)]
        actions += [("post", *each) for each in enumerate(recipe.post_actions, 1)]
        answers = call.conversation.rehearse(distribution, recipe)
        return [(name, distribution, *action, met) for action, met in zip(actions, answers, strict=True)]

    answers, unasked = ask_agents(session, [pair for pair in sorted(set(pairs)) if has_actions(pair[1])], Feature.REHEARSE, ask)
    return RehearsedActions(list(chain.from_iterable(answers)), unasked)


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
