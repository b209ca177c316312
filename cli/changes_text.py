"""Write the changes of an apply for people: each object, and field by field the old and the new value, within 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cli.tables import WIDE
from cli.terminal import cells, wrapped

if TYPE_CHECKING:
    from infra.orchestrator.changes import Change, Changes

_LABELS = {"pool": "work pool", "queue": "priority", "limit": "concurrency", "collision": "at its limit"}
"""Fields that a blueprint's author knows by another name."""
_ACTS = {"create": ("to create", "created"), "update": ("to update", "updated"), "delete": ("to delete", "deleted")}
_NOTHING = ("Prefect is in line with the site", "nothing to change in Prefect")


def changes_text(changes: Changes, *, done: bool) -> str:
    """Write a line for each object, the fields of updates below, and how many there are.

    Args:
        done: They were carried out.
    """
    lines: list[str] = []
    if changes.adopted:
        lines += _wrapped(f"from before sites had ids, and taken for this site's by their names: {', '.join(changes.adopted)}", "")
    for sentence in changes.kept:
        lines += _wrapped(sentence, "")
    for _, group in groupby(changes.changes, key=lambda change: (change.act, change.kind, change.differs)):
        alike = list(group)
        lines += [f"{change.act} {change.kind} {change.name}" for change in alike]
        lines += _fields(alike[0])
    found = [change.act.value for change in changes.changes]
    numbers = ", ".join(f"{found.count(act)} {words[done]}" for act, words in _ACTS.items() if act in found)
    return "\n".join([*lines, f"in Prefect {numbers}" if numbers else _NOTHING[done]])


def _fields(change: Change) -> Iterator[str]:
    if change.act == "delete":
        return
    for name, values in change.differs.items():
        if name == "schedules":
            yield from _schedules(values["found"], values["wanted"])
        elif change.act == "update":
            yield from _field(_LABELS.get(name, name), values["found"], values["wanted"])


def _schedules(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    old, new = ({each["slug"]: _schedule(each) for each in side} for side in (found, wanted))
    for slug in dict.fromkeys([*old, *new]):
        if found and old.get(slug) != new.get(slug):
            yield from _pair("schedule", old.get(slug, "none"), new.get(slug, "none"))
        elif not found:
            yield from _wrapped(f"schedule: {new[slug]}", "    ")


def _schedule(schedule: Mapping[str, Any]) -> str:
    return schedule["words"] if schedule["active"] else f"{schedule['words']}, switched off"


def _field(label: str, found: Any, wanted: Any) -> Iterator[str]:
    if isinstance(found, Mapping) or isinstance(wanted, Mapping):
        old, new = found or {}, wanted or {}
        for key in dict.fromkeys([*new, *old]):
            if old.get(key) != new.get(key):
                yield from _field(f"{label}.{key}", old.get(key), new.get(key))
    elif isinstance(found, list) and isinstance(wanted, list):
        signed = [f"-{each}" for each in found if each not in wanted] + [f"+{each}" for each in wanted if each not in found]
        yield from _wrapped(f"{label}: {' '.join(signed)}", "    ")
    else:
        yield from _pair(label, _value(found), _value(wanted))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value not in (None, "") else "none"


def _pair(label: str, old: str, new: str) -> Iterator[str]:
    """Yield ``label: old -> new``, or below each other the paragraphs that differ."""
    line = f"    {label}: {old} -> {new}"
    if cells(line) <= WIDE and line.isprintable():
        yield line
        return
    yield f"    {label}:"
    before, after = ([part for part in text.split("\n\n") if part.strip()] for text in (old, new))
    differing = [f"- {part}" for part in before if part not in after] + [f"+ {part}" for part in after if part not in before]
    for each in differing or ["(white space, or the order of paragraphs)"]:
        yield from _wrapped(each, "      ")


def _wrapped(text: str, indent: str) -> list[str]:
    return wrapped(text, WIDE, indent=indent, hanging=f"{indent}  ", breaks=False)
