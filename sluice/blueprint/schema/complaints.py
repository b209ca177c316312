"""Put Pydantic's findings in the author's words: the error, and what to write instead."""

from __future__ import annotations

import re
import typing
from collections.abc import Collection
from types import UnionType
from typing import Any, Union

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sluice.blueprint.read.document import Document, Mark, PathKey
from sluice.blueprint.read.traps import quoted
from sluice.blueprint.schema.suggest import nearest, nearest_name
from sluice.errors import BlueprintError

_EXPECTED = {
    "bool_type": ("true or false", "true"),
    "int_type": ("a whole number", "10"),
    "string_type": ("text", "some words"),
    "dict_type": ("a mapping", "{key: value}"),
    "list_type": ("a list", "[a, b]"),
    "model_type": ("a mapping", "{key: value}"),
    "model_attributes_type": ("a mapping", "{key: value}"),
}
_EXAMPLES = {
    "working_directory": "/var/lib/sluice",
    "address": "ssh://sluice@192.0.2.7",
    "source": "/srv/files",
    "destination": "/opt/files",
    "type": "file",
    "distributor": "hq",
    "undo": "none",
}


def complaints(
    document: Document, kind: str, model: type[BaseModel], found: ValidationError, refused: Collection[PathKey]
) -> list[BlueprintError]:
    """Make a BlueprintError for each finding that no refused path, and no misspelt key, already explains."""
    errors = []
    details = found.errors(include_url=False)
    meant = {path for detail in details for path in _meant(model, detail)}
    for detail in details:
        path = _path(detail)
        if any(path == r or (detail["type"] == "missing" and path[:-1] == r[:-1]) for r in refused):
            continue
        if document.is_broken(path) or (detail["type"] == "missing" and path in meant):
            continue
        errors.append(_complaint(document, kind, model, path, detail))
    return errors


def explained(model: type[BaseModel], found: ValidationError) -> set[PathKey]:
    """Return the paths of all findings, and of the keys that misspelt ones stand for."""
    return {path for detail in found.errors(include_url=False) for path in (_path(detail), *_meant(model, detail))}


def _path(detail: ErrorDetails) -> PathKey:
    return tuple(step for step in detail["loc"] if step != "[key]")


def _meant(model: type[BaseModel], detail: ErrorDetails) -> list[PathKey]:
    """Return the path of the key that an unknown one probably stands for."""
    path = _path(detail)
    near = nearest_name(str(path[-1]), keys_of(model_at(model, path[:-1]))) if detail["type"] == "extra_forbidden" else ""
    return [(*path[:-1], near)] if near else []


def _complaint(document: Document, kind: str, model: type[BaseModel], path: PathKey, detail: ErrorDetails) -> BlueprintError:
    context: dict[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "sluice":
            return document.error((*path, *context["sub"]), context["what"], context["remedy"])
        case "sluice_type":
            return _wrong_type(document, path, context["expected"], context["example"], detail["input"])
        case "extra_forbidden":
            parent = model_at(model, path[:-1])
            known = keys_of(parent)
            if (meant := str(path[-1]).lstrip("-")) in known:
                return document.error(path, "has no space after its -", f"write - {meant}:")
            what = f"unknown key of {_title(parent, kind, path)}"
            return document.error(path, what, nearest(str(path[-1]), known) or f"the keys are {', '.join(known)}")
        case "missing":
            key = str(path[-1])
            example = f", such as {key}: {_EXAMPLES[key]}" if key in _EXAMPLES else ""
            return document.error(path, "missing", f"add {key}:{example}")
        case "literal_error":
            return _not_a_choice(document, path, str(context["expected"]), detail["input"])
        case "greater_than_equal":
            return document.error(path, f"{detail['input']} is too small", f"write {context['ge']} or more")
        case "less_than_equal":
            return document.error(path, f"{detail['input']} is too large", f"write {context['le']} or less")
        case "too_short":
            return document.error(path, "is an empty list", "write at least one entry")
        case "too_long":
            return document.error(path, f"has {context['actual_length']} entries", f"write at most {context['max_length']}")
        case known_type if known_type in _EXPECTED:
            expected, example = _EXPECTED[known_type]
            return _wrong_type(document, path, expected, example, detail["input"])
    return document.error(path, detail["msg"], "correct the value")


def _wrong_type(document: Document, path: PathKey, expected: str, example: str, value: object) -> BlueprintError:
    raw = document.marks.get(path, Mark(document.line)).raw
    shown = f'"{example}"' if expected.endswith("in quotes") else example
    if value is None:
        return document.error(path, "has no value", f"write {expected}, such as {shown}, or leave the key out")
    if isinstance(value, bool) and raw is not None and raw.lower() not in ("true", "false") and expected != "true or false":
        return document.error(path, f"{raw} without quotes is {str(value).lower()} in YAML", f'write "{raw}"')
    if isinstance(value, int) and raw is not None and raw != str(value) and not isinstance(value, bool):
        return document.error(path, f"{raw} without quotes is the number {value} in YAML", f'quote it: "{raw}"')
    if isinstance(value, int | float) and not isinstance(value, bool):
        typed = raw if raw is not None else str(value)
        if "with a unit" in expected:
            return document.error(path, f"{typed} has no unit", f"write {expected}, such as {example}")
        remedy = f'write "{typed}"' if expected in ("text", "a name") or "octal" in expected else f"write {expected}, such as {shown}"
        return document.error(path, f"{typed} is a number, not {expected}", remedy)
    if expected == "a list" and isinstance(value, str | dict) and value:
        return document.error(path, *_no_list(str(path[-1]), value))
    return document.error(path, f"is {_type_name(value)}, not {expected}", f"write {expected}, such as {shown}")


def _no_list(key: str, value: str | dict[str, Any]) -> tuple[str, str]:
    """Word the error of one entry, or of entries without their dashes, in the place of a list."""
    first = value if isinstance(value, str) else f"{next(iter(value))}:"
    entry = first.lstrip("-").split(" -")[0]
    if key == "arguments" and isinstance(value, str):
        return "is text, not a list", f"write {key}: [{', '.join(map(quoted, value.split()))}]"
    if first.startswith("-") and entry:
        return "has no space after its -", f"write each entry on a line of its own: - {entry}"
    if isinstance(value, str):
        entries = [each if re.fullmatch(r"[\w./-]+", each) else quoted(each) for each in re.split(r",\s*", value.strip("()[]"))]
        shown = f"{key}: [{', '.join(entries)}]"
        return "is text, not a list", f"write {shown}" if len(shown) < 100 else "begin each entry on a line of its own with - "
    return "is a mapping, not a list", f"begin each entry with a dash and a space: - {entry} ..."


def _type_name(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "text" if isinstance(value, str) else "a number"


def _not_a_choice(document: Document, path: PathKey, expected: str, value: object) -> BlueprintError:
    words = [w.strip("'") for w in expected.replace(" or ", ", ").split(", ")]
    shown = (
        "has no value" if value is None else f"{value!r} is not one of its values" if isinstance(value, str) else f"is {_type_name(value)}"
    )
    choices = ", ".join(w.lower() if w in ("True", "False") else w for w in words)
    remedy = nearest(value, words) if isinstance(value, str) else ""
    return document.error(path, shown, remedy or f"write {choices}" if len(words) == 1 else remedy or f"write one of {choices}")


def _title(model: type[BaseModel] | None, kind: str, path: PathKey) -> str:
    if len(path) == 1:
        return f"a {kind}"
    steps = [str(s) for s in path[:-1] if isinstance(s, str)]
    return steps[-1] if model is not None else "this"


def keys_of(model: type[BaseModel] | None) -> list[str]:
    """List the keys an author may write, in the order of the model."""
    return [field.alias or name for name, field in model.model_fields.items()] if model is not None else []


def model_at(model: type[BaseModel], path: PathKey) -> type[BaseModel] | None:
    """Return the model of the mapping at a path."""
    current: Any = model
    for step in path:
        if isinstance(step, int):
            continue
        if current is None:
            return None
        field = next((f for n, f in current.model_fields.items() if (f.alias or n) == step), None)
        current = _model_in(field.annotation) if field is not None else None
    return typing.cast("type[BaseModel] | None", current)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (list, tuple, Union, UnionType, typing.Annotated):
        return next((m for a in typing.get_args(annotation) if (m := _model_in(a)) is not None), None)
    return None
