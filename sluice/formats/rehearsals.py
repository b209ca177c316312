"""What a dry run asks an agent about actions and removals, and what it answers (docs/formats.md section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sluice.errors import TamperedError
from sluice.formats.canonical import Fields
from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.orders import DESTINATIONS_MAX, actions_from_json, actions_to_json, texts
from sluice.model.action import ACTIONS_MAX, ActionRehearsal
from sluice.model.manifest import Entry, EntryKind, Manifest
from sluice.model.recipe import RenderedRecipe
from sluice.rules.wording import printable

PIDS_MAX = 100
"""Most PIDs an agent tells of one action."""
PROBLEM_MAX = 500
"""Most characters it says of one."""

OUTLINE_MAX = 64 * 1024 * 1024
"""Most bytes of an outline."""
REMOVALS_MAX = 1000
"""Most paths that an agent names of those it would remove."""
COUNT_MAX = 20_000
"""Most paths that it counts: of a mirrored directory that holds more it only says so."""
_PATH_MAX = 8192
"""Most characters of one."""


@dataclass(frozen=True, slots=True)
class Removals:
    """What an extraction would take away on one Subscriber."""

    paths: tuple[str, ...]
    """The first of them, in order."""
    count: int
    """Of all; COUNT_MAX + 1: there are more than COUNT_MAX, of which none may be named."""
    problem: str = ""
    """Why it would fail; nothing goes then."""


def rehearse_request(distribution: str, recipe: RenderedRecipe) -> dict[str, Any]:
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


def rehearsals_to_json(found: Sequence[ActionRehearsal]) -> list[Any]:
    """The answer's ``actions``, within its limits."""
    return [{"pids": list(met.pids[:PIDS_MAX]), "count": met.count, "problem": _plain(met.problem)} for met in found]


def rehearsals_from_json(values: Sequence[Any]) -> list[ActionRehearsal]:
    """The same, as an agent said it: texts end up in terminals, so that control characters become question marks. Raises TamperedError."""
    found = []
    for value in values:
        fields = Fields(value, what="what an action meets")
        pids = fields.items("pids", limit=PIDS_MAX)
        if not all(type(pid) is int and 0 < pid < 2**31 for pid in pids):
            raise TamperedError("what an action meets: pids are no PIDs")
        found.append(
            ActionRehearsal(tuple(pids), fields.number("count", least=len(pids)), _plain(fields.text("problem", limit=PROBLEM_MAX)))
        )
        fields.done()
    return found


def outline_bytes(manifest: Manifest) -> bytes:
    """A manifest that says of each path only what decides about removal: its kind. Times, modes and contents are all alike, so that it
    compresses to little more than its names.
    """

    def outlined(entry: Entry) -> Entry:
        if entry.kind is EntryKind.FILE:
            return Entry(entry.kind, entry.path, 0, 0, 0, "0" * 64)
        return Entry(entry.kind, entry.path, 0, 0, target="-" if entry.kind is EntryKind.SYMLINK else "")

    destinations = tuple(replace(each, entries=tuple(map(outlined, each.entries))) for each in manifest.destinations)
    return manifest_bytes(replace(manifest, destinations=destinations, pre_actions=(), post_actions=()))


def removals_to_json(found: Removals) -> dict[str, Any]:
    """The answer's ``removals``, within its limits."""
    paths = [_plain(path, _PATH_MAX) for path in found.paths[:REMOVALS_MAX]]
    return {"paths": paths, "count": min(found.count, COUNT_MAX + 1), "problem": _plain(found.problem)}


def removals_from_json(value: Any) -> Removals:
    """The same, as an agent said it. Raises TamperedError."""
    fields = Fields(value, what="what would be removed")
    paths = tuple(_plain(path, _PATH_MAX) for path in texts(fields.items("paths", limit=REMOVALS_MAX), "a path", limit=_PATH_MAX))
    found = Removals(paths, fields.number("count", least=len(paths)), _plain(fields.text("problem", limit=PROBLEM_MAX)))
    fields.done()
    return found


def _plain(text: str, limit: int = PROBLEM_MAX) -> str:
    return printable(text.encode(errors="replace").decode()[:limit])
