"""What a dry run asks an agent about actions, and what it answers (docs/formats.md section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluice.errors import TamperedError
from sluice.formats.canonical import Fields
from sluice.formats.orders import DESTINATIONS_MAX, actions_from_json, actions_to_json, texts
from sluice.model.action import ACTIONS_MAX, Met
from sluice.model.recipe import RenderedRecipe

PIDS_MAX = 100
"""Most PIDs an agent tells of one action."""
PROBLEM_MAX = 500
"""Most characters it says of one."""


def rehearsal_to_json(distribution: str, recipe: RenderedRecipe) -> dict[str, Any]:
    """The request."""
    return {
        "type": "rehearse",
        "distribution": distribution,
        "destinations": list(recipe.destinations),
        "pre_actions": actions_to_json(recipe.pre_actions),
        "post_actions": actions_to_json(recipe.post_actions),
    }


def recipe_from_json(fields: Fields) -> RenderedRecipe:
    """What is asked about, without the Distribution's name. Raises TamperedError."""
    return RenderedRecipe(
        tuple(texts(fields.items("destinations", limit=DESTINATIONS_MAX), "a destination")),
        actions_from_json(fields.items("pre_actions", limit=ACTIONS_MAX)),
        actions_from_json(fields.items("post_actions", limit=ACTIONS_MAX)),
    )


def mets_to_json(found: Sequence[Met]) -> list[Any]:
    """The answer's ``actions``, within its limits."""
    return [{"pids": list(met.pids[:PIDS_MAX]), "count": met.count, "problem": _plain(met.problem)} for met in found]


def mets_from_json(values: Sequence[Any]) -> list[Met]:
    """The same, as an agent said it: texts end up in terminals, so that control characters become question marks. Raises TamperedError."""
    found = []
    for value in values:
        fields = Fields(value, what="what an action meets")
        pids = fields.items("pids", limit=PIDS_MAX)
        if not all(type(pid) is int and 0 < pid < 2**31 for pid in pids):
            raise TamperedError("what an action meets: pids are no PIDs")
        found.append(Met(tuple(pids), fields.number("count", least=len(pids)), _plain(fields.text("problem", limit=PROBLEM_MAX))))
        fields.done()
    return found


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.encode(errors="replace").decode()[:PROBLEM_MAX])
