"""Requests and answers of dry runs: an agent rehearses actions and extractions (docs/formats.md section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sluice.errors import TamperedError
from sluice.formats.canonical import Fields
from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.orders import actions_from_json, actions_to_json, texts
from sluice.model.action import ACTIONS_MAX, ActionRehearsal
from sluice.model.change import Change, ChangeKind, Changes, Stop
from sluice.model.manifest import Entry, EntryKind, Manifest
from sluice.model.recipe import DESTINATIONS_MAX, RenderedRecipe
from sluice.rules.wording import printable

_DEMANDS = ("verify", "force", "allow_removals", "codes")
PIDS_MAX = 100
"""Most PIDs that an agent reports of one action."""
PROBLEM_MAX = 500
"""Most characters of an action's problem."""

OUTLINE_MAX = 64 * 1024 * 1024
"""Most bytes of an outline, or of a manifest that is asked about."""
REMOVALS_MAX = 1000
"""Most paths to be removed that an agent names."""
COUNT_MAX = 20_000
"""Most paths that an agent counts; of a mirrored directory with more it reports only that there are more."""
CHANGES_MAX = 2000
"""Most changes that an agent names; it counts them all."""
CHANGES_BYTES = 4 * 1024 * 1024
"""Most bytes of the changes that it names."""
STOPS_MAX = 100
"""Most reasons to stop that an agent names."""
_PATH_MAX = 8192
"""Most characters of one path."""
_DETAIL_MAX = 200
"""Most characters of the detail of a change."""


@dataclass(frozen=True, slots=True)
class Question:
    """The extraction that is rehearsed: what an order would say, and the manifest, which needn't be held there."""

    manifest: Manifest
    destinations: tuple[str, ...]
    """Rendered, as an order has them."""
    min_free: int = 0
    verify: bool = False
    force: bool = False
    allow_removals: bool = False
    codes: bool = False
    """Whether the answer names the error of each reason to stop: older senders don't read that."""


@dataclass(frozen=True, slots=True)
class Removals:
    """The paths that an extraction would remove on one Subscriber."""

    paths: tuple[str, ...]
    """The first paths, in order."""
    count: int
    """Number of all paths; COUNT_MAX + 1: there are more than COUNT_MAX, and perhaps none is named."""
    problem: str = ""
    """Why it would fail; nothing is removed then."""


def rehearse_request(distribution: str, recipe: RenderedRecipe) -> dict[str, Any]:
    """Return the request to rehearse a Distribution's actions."""
    return {
        "type": "rehearse",
        "distribution": distribution,
        "destinations": list(recipe.destinations),
        "pre_actions": actions_to_json(recipe.pre_actions),
        "post_actions": actions_to_json(recipe.post_actions),
    }


def recipe_from_json(fields: Fields) -> RenderedRecipe:
    """Read the recipe of a request, without the Distribution's name. Raises TamperedError."""
    return RenderedRecipe(
        tuple(texts(fields.items("destinations", limit=DESTINATIONS_MAX), "a destination")),
        actions_from_json(fields.items("pre_actions", limit=ACTIONS_MAX)),
        actions_from_json(fields.items("post_actions", limit=ACTIONS_MAX)),
    )


def rehearsals_to_json(found: Sequence[ActionRehearsal]) -> list[Any]:
    """Return the answer's ``actions``, within its limits."""
    return [{"pids": list(each.pids[:PIDS_MAX]), "count": each.count, "problem": _plain(each.problem)} for each in found]


def rehearsals_from_json(values: Sequence[Any]) -> list[ActionRehearsal]:
    """Read an answer's ``actions``; control characters become question marks, because terminals show the texts. Raises TamperedError."""
    found = []
    for value in values:
        with Fields(value, what="an action's rehearsal") as fields:
            pids = fields.items("pids", limit=PIDS_MAX)
            count, problem = fields.number("count", least=len(pids)), fields.text("problem", limit=PROBLEM_MAX)
        if not all(type(pid) is int and 0 < pid < 2**31 for pid in pids):
            raise TamperedError("an action's rehearsal: pids aren't PIDs")
        found.append(ActionRehearsal(tuple(pids), count, _plain(problem)))
    return found


def extraction_request(question: Question) -> tuple[dict[str, Any], bytes]:
    """Return the request to rehearse an extraction, without the length of its data, and the manifest's bytes, uncompressed."""
    asked = {name: value for name in _DEMANDS if (value := getattr(question, name))}
    if question.min_free:
        asked["min_free"] = question.min_free
    request = rehearse_request(question.manifest.distribution, RenderedRecipe(question.destinations))
    return request | asked, manifest_bytes(replace(question.manifest, pre_actions=(), post_actions=()))


def demands_from_json(fields: Fields) -> dict[str, Any]:
    """Read what a request says beside manifest and destinations, by the names of Question. Raises TamperedError."""
    found: dict[str, Any] = {name: fields.flag(name) for name in _DEMANDS if fields.optional(name)}
    return found | ({"min_free": fields.number("min_free")} if fields.optional("min_free") else {})


def changes_to_json(found: Changes, *, codes: bool = False) -> dict[str, Any]:
    """Return the answer's ``changes``, within its limits; ``codes`` as the question has it."""
    paths, size = list[list[str]](), 0
    for each in found.paths[:CHANGES_MAX]:
        row = [each.kind.value, _plain(each.path, _PATH_MAX), _plain(each.detail, _DETAIL_MAX)]
        size += sum(len(each.encode()) for each in row)
        if size > CHANGES_BYTES:
            break
        paths.append(row)
    stops = [[_plain(each.message), _plain(each.remedy), *([each.code] if codes else [])] for each in found.stops[:STOPS_MAX]]
    counts = {kind.value: count for kind, count in found.counts.items() if count}
    return {"stops": stops, "stop_count": found.stop_count, "paths": paths, "counts": counts}


def changes_from_json(value: Any) -> Changes:
    """Read an answer's ``changes``; kinds that aren't known here are left out. Raises TamperedError."""
    with Fields(value, what="the changes") as fields:
        stops = tuple(Stop(*_texts(each, (2, 3), PROBLEM_MAX)) for each in fields.items("stops", limit=STOPS_MAX))
        count = fields.number("stop_count", least=len(stops))
        rows = [_texts(each, (3,), _PATH_MAX) for each in fields.items("paths", limit=CHANGES_MAX)]
        with Fields(fields.any("counts"), what="the counts of changes") as given:
            counts = {kind: given.number(kind.value) for kind in ChangeKind if given.optional(kind.value)}
    paths = tuple(Change(ChangeKind(kind), path, detail) for kind, path, detail in rows if kind in set(ChangeKind))
    return Changes(stops, count, paths, counts)


def outline_bytes(manifest: Manifest) -> bytes:
    """Return a manifest that has only each path's kind, which decides about its removal. Times, modes and contents are all alike, so that
    it compresses to little more than its names.
    """

    def outlined(entry: Entry) -> Entry:
        if entry.kind is EntryKind.FILE:
            return Entry(entry.kind, entry.path, 0, 0, 0, "0" * 64)
        return Entry(entry.kind, entry.path, 0, 0, target="-" if entry.kind is EntryKind.SYMLINK else "")

    destinations = tuple(replace(each, entries=tuple(map(outlined, each.entries))) for each in manifest.destinations)
    return manifest_bytes(replace(manifest, destinations=destinations, pre_actions=(), post_actions=()))


def removals_to_json(found: Removals) -> dict[str, Any]:
    """Return the answer's ``removals``, within its limits."""
    paths = [_plain(path, _PATH_MAX) for path in found.paths[:REMOVALS_MAX]]
    return {"paths": paths, "count": min(found.count, COUNT_MAX + 1), "problem": _plain(found.problem)}


def removals_from_json(value: Any) -> Removals:
    """Read an answer's ``removals``. Raises TamperedError."""
    with Fields(value, what="the removals") as fields:
        paths = tuple(_plain(path, _PATH_MAX) for path in texts(fields.items("paths", limit=REMOVALS_MAX), "a path", limit=_PATH_MAX))
        return Removals(paths, fields.number("count", least=len(paths)), _plain(fields.text("problem", limit=PROBLEM_MAX)))


def _texts(value: Any, numbers: tuple[int, ...], limit: int) -> list[str]:
    if not isinstance(value, list) or len(value) not in numbers:
        raise TamperedError("a row of the changes isn't one")
    return [_plain(each, limit) for each in texts(value, "a text of the changes", limit=limit)]


def _plain(text: str, limit: int = PROBLEM_MAX) -> str:
    return printable(text.encode(errors="replace").decode()[:limit])
