"""Make a part of a document with errors: what was refused is taken out, and what can't be left out gets a stand-in.

So that the rest of the document, and all that refers to it, is judged at once (ADR 0030). A site with an error is never returned, so no
stand-in is ever distributed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from sluice.blueprint.read.document import PathKey
from sluice.blueprint.schema.actions import PHASES
from sluice.blueprint.schema.complaints import model_at
from sluice.blueprint.schema.part import Part

ROUNDS_MAX = 12
"""Tries: a value that is taken out may leave something around it that can't stand without it."""
STAND_IN = "stand-in"
_PATH = f"/{STAND_IN}"

_REQUIRED: Mapping[str, object] = {
    **dict.fromkeys(("name", "distributor"), STAND_IN),
    **dict.fromkeys(("source", "destination", "path"), _PATH),
    "type": "file",
    "address": f"local:{_PATH}",
}
"""Of required keys; without one, what the key stands in is taken out."""
_ITEMS: Mapping[str, object] = {
    "channels": STAND_IN,
    "platforms": STAND_IN,
    "exclude": STAND_IN,
    "arguments": "",
    "subscribers": {"where": 'name == ""'},
    "files": {"source": _PATH, "destination": _PATH},
    **{key: {"stop_process": {"name": STAND_IN, "undo": "none"}} for key in PHASES},
}
"""Of entries of lists, whose others keep their numbers."""


def salvage(model: type[Part], data: Mapping[str, Any], refused: Iterable[PathKey]) -> Part | None:
    """Make a part of what is valid in a document's data; None if too little is left.

    Args:
        refused: Paths of what must not be in it although the model may accept it.
    """
    left: dict[str, Any] = copy.deepcopy(dict(data))
    for path in refused:
        _take_out(left, path, model)
    for _ in range(ROUNDS_MAX):
        try:
            return model.model_validate(left)
        except ValidationError as e:
            for detail in e.errors(include_url=False):
                sub = detail.get("ctx", {}).get("sub", ())
                _take_out(left, tuple(step for step in (*detail["loc"], *sub) if step != "[key]"), model)
    return None


def _take_out(data: dict[str, Any], path: PathKey, model: type[Part]) -> None:
    """Take out the value at a path, or the nearest around it that can be missed."""
    around: Any = data
    for depth, step in enumerate(path):
        is_last = depth == len(path) - 1
        if isinstance(around, list) and isinstance(step, int) and step < len(around):
            if is_last and depth and path[depth - 1] in _ITEMS:
                around[step] = copy.deepcopy(_ITEMS[str(path[depth - 1])])
                return
        elif not isinstance(around, dict) or (step not in around and not is_last):
            _take_out(data, path[:depth], model)
            return
        if not is_last:
            around = around[step]
    if not path:
        data.clear()
    elif isinstance(around, list):
        _take_out(data, path[:-1], model)
    else:
        _replace(data, around, path, model)


def _replace(data: dict[str, Any], around: dict[str, Any], path: PathKey, model: type[Part]) -> None:
    key, parent = str(path[-1]), model_at(model, path[:-1]) if len(path) > 1 else model
    field = next((f for n, f in parent.model_fields.items() if (f.alias or n) == key), None) if parent is not None else None
    if field is None or not field.is_required():
        if around.pop(key, None) is None and field is None and path[:-1]:
            _take_out(data, path[:-1], model)
    elif key == "files":
        around[key] = [copy.deepcopy(_ITEMS[key])]
    elif key == "type" and len(path) > 1:
        around[key] = "shell"
    elif key in _REQUIRED and around.get(key) != _REQUIRED[key]:
        around[key] = _REQUIRED[key]
    else:
        _take_out(data, path[:-1], model)
