"""Changes of an apply in Prefect, as data: computed first, shown by ``plan``, carried out by ``apply``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Act(StrEnum):
    """An act on an object."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class ObjectKind(StrEnum):
    """Kinds of objects, in the order in which apply works."""

    POOL = "pool"
    QUEUE = "queue"
    DEPLOYMENT = "deployment"
    AUTOMATION = "automation"


@dataclass(frozen=True, slots=True)
class Difference:
    """A field as Prefect has it and as the site wants it."""

    found: Any
    wanted: Any


@dataclass(frozen=True, slots=True)
class Change:
    """One object that Prefect lacks, has with other fields, or has in excess."""

    act: Act
    kind: ObjectKind
    name: str
    differs: Mapping[str, Difference] = field(default_factory=dict)
    """Differing fields; updates only."""

    def __str__(self) -> str:
        fields = f" ({', '.join(self.differs)})" if self.differs else ""
        return f"{self.act} {self.kind} {self.name}{fields}"


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes of an apply, in its order."""

    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def of(self, act: Act) -> tuple[Change, ...]:
        """Return the changes of one act."""
        return tuple(c for c in self.changes if c.act is act)

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return ``create``, ``update`` and ``delete`` as ``sluice plan --json`` prints them; the caller adds ``send``."""
        return {act.value: [_row(c) for c in self.of(act)] for act in Act}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Difference]:
    """Return the fields of ``wanted`` that ``found`` lacks or has with another value."""
    return {key: Difference(found.get(key), value) for key, value in wanted.items() if found.get(key) != value}


def in_order(changes: Iterable[Change]) -> Changes:
    """Sort changes: pools before queues before deployments, removals before creations; otherwise as given."""
    acts = (Act.DELETE, Act.CREATE, Act.UPDATE)
    kinds = tuple(ObjectKind)
    return Changes(tuple(sorted(changes, key=lambda c: (kinds.index(c.kind), acts.index(c.act)))))


def _row(change: Change) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": change.kind.value, "name": change.name}
    if change.differs:
        row["differs"] = {key: {"found": d.found, "wanted": d.wanted} for key, d in change.differs.items()}
    return row
