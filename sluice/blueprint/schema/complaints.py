"""Put Pydantic's findings in the author's words: the error, and what to write instead."""

from __future__ import annotations

import re
import typing
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import UnionType
from typing import Any, Union

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sluice.blueprint.read.document import Document, Mark, PathKey
from sluice.blueprint.read.line_traps import quoted
from sluice.blueprint.schema.actions import PHASES
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
_ENTRIES = {
    "variables": "{DEST: /opt}",
    "tags": "{role: web}",
    "notify": "{to: [ops@example.org], when_left: 2}",
    "mail": '{server: "smtp.example.org:25", from: sluice@example.org}',
    "locked": "{retries: 3, wait: 10 s}",
    "files": "{source: /srv/files, destination: /opt/files}",
    "script": "{type: shell, run: sync, undo: none}",
    "start_process": "{path: /usr/sbin/nginx, undo: none}",
    "stop_process": "{name: nginx, undo: none}",
    **dict.fromkeys(PHASES, "{script: {type: shell, run: sync, undo: none}}"),
}
"""Examples of mappings."""
_EVERYBODY = ("*", "all", "any")
_SHOWN_MAX = 100
"""Characters of a list or mapping that a remedy writes out."""


def complaints(
    document: Document, kind: str, model: type[BaseModel], found: ValidationError, refused: Collection[PathKey]
) -> tuple[list[BlueprintError], set[PathKey]]:
    """Make a BlueprintError for each finding that no refused path, and no misspelt key, already explains.

    Returns:
        The errors; the paths of all findings, and of the keys that misspelt ones stand for.
    """
    errors = []
    details = found.errors(include_url=False)
    near = {path: _near(model, path) for detail in details if detail["type"] == "extra_forbidden" for path in [_path(detail)]}
    meant = {(*path[:-1], key) for path, key in near.items() if key}
    for detail in details:
        path = _path(detail)
        if any(path == r or (detail["type"] == "missing" and path[:-1] == r[:-1]) for r in refused):
            continue
        if document.is_broken(path) or (detail["type"] == "missing" and path in meant):
            continue
        errors.append(_complaint(document, kind, model, path, detail, near))
    return errors, {*map(_path, details), *meant}


def _path(detail: ErrorDetails) -> PathKey:
    return tuple(step for step in detail["loc"] if step != "[key]")


def _near(model: type[BaseModel], path: PathKey) -> str:
    """Return the key that an unknown one probably stands for; empty if none is near."""
    return nearest_name(str(path[-1]), keys_of(model_at(model, path[:-1])))


def _complaint(
    document: Document, kind: str, model: type[BaseModel], path: PathKey, detail: ErrorDetails, near: Mapping[PathKey, str]
) -> BlueprintError:
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
            if near[path]:
                return document.error(path, what, f"did you mean {near[path]}?")
            around = _nested(parent).get(str(path[-1]), []) if parent is not None else []
            remedy = f"write it below {around[0]}:" if len(around) == 1 else f"the keys are {', '.join(known)}"
            return document.error(path, what, remedy)
        case "missing":
            key = str(path[-1])
            examples = _EXAMPLES | {"type": "shell"} if path[0] in PHASES else _EXAMPLES
            example = f", such as {key}: {examples[key]}" if key in examples else ""
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
    what = f"is {_type_name(value)}, not {expected}"
    if expected == "a mapping":
        return document.error(path, what, _as_mapping(next(str(step) for step in reversed(path) if isinstance(step, str)), value, path))
    if isinstance(value, str) and (bare := _without_quotes(expected, value)):
        return document.error(path, f"{what}, because of its quotes", f"write {bare}")
    return document.error(path, what, f"write {expected}" + ("" if expected == "true or false" else f", such as {shown}"))


def _without_quotes(expected: str, text: str) -> str:
    """Return what is meant by a text in the place of a flag or a number; empty if that can't be known."""
    if expected == "a whole number":
        return text.strip() if text.strip().isdecimal() and text.isascii() else ""
    meant = {"true": ("true", "yes", "on"), "false": ("false", "no", "off")} if expected == "true or false" else {}
    return next((word for word, written in meant.items() if text.lower() in written), "")


def _as_mapping(key: str, value: object, path: PathKey) -> str:
    """Return the remedy for something else in the place of a mapping: lists of pairs as other tools write them, or ``A=b``."""
    pairs: dict[str, str] = {}
    for item in value if isinstance(value, list) else str(value).split():
        if isinstance(item, dict) and item.keys() == {"name", "value"}:
            pairs[str(item["name"])] = str(item["value"])
        elif isinstance(item, dict) and not any(isinstance(text, dict | list) for text in item.values()):
            pairs |= {name: str(text) for name, text in item.items()}
        elif isinstance(item, str) and (match := re.fullmatch(r"(\w+)=(.*)", item)):
            pairs[match[1]] = match[2]
        else:
            pairs.clear()
            break
    shown = ", ".join(f"{name}: {text if re.fullmatch(r'[A-Za-z/][a-z/]*', text) else quoted(text)}" for name, text in pairs.items())
    if shown and len(shown) < _SHOWN_MAX and isinstance(path[-1], str):
        return f"write {key}: {{{shown}}}"
    head = f"{key}: " if isinstance(path[-1], str) else "- "
    return f"write a mapping, such as {head}{_ENTRIES.get(key, '{key: value}')}"


def _no_list(key: str, value: str | dict[str, Any]) -> tuple[str, str]:
    """Word the error of one entry, or of entries without their dashes, in the place of a list."""
    first = value if isinstance(value, str) else f"{next(iter(value))}:"
    entry = first.lstrip("-").split(" -")[0]
    if key == "arguments" and isinstance(value, str):
        return "is text, not a list", f"write {key}: [{', '.join(map(quoted, value.split()))}]"
    if first.startswith("-") and entry:
        return "has no space after its -", f"write each entry on a line of its own: - {entry}"
    if key == "subscribers" and isinstance(value, str) and (where := _selector_in(value)):
        return "is text, not a list", f"write {key}: [{{where: {quoted(where)}}}]"
    if isinstance(value, str):
        entries = [each if re.fullmatch(r"[\w./-]+", each) else quoted(each) for each in re.split(r",\s*|\n", value.strip("()[]\n"))]
        shown = f"{key}: [{', '.join(entries)}]"
        return "is text, not a list", f"write {shown}" if len(shown) < _SHOWN_MAX else "begin each entry on a line of its own with - "
    return "is a mapping, not a list", f"begin each entry with a dash and a space: - {entry} ..."


def _selector_in(text: str) -> str:
    """Return the selector that is meant by a text in the place of Subscribers; empty if it is none."""
    if text in _EVERYBODY:
        return 'name != ""'
    return text if re.search(r"[!=]=|\bin\s*\(", text) else ""


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


@lru_cache(maxsize=64)
def _nested(model: type[BaseModel]) -> Mapping[str, list[str]]:
    """Map the keys within the mappings of a model to the keys of those mappings."""
    found: dict[str, list[str]] = {}
    for key in keys_of(model):
        for inner in keys_of(model_at(model, (key,))):
            found.setdefault(inner, []).append(key)
    return found


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
