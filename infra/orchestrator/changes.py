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


Differences = Mapping[str, Mapping[str, Any]]
"""By field: the value that Prefect has, ``found``, and the one that the site wants, ``wanted``."""


@dataclass(frozen=True, slots=True)
class Change:
    """One object that Prefect lacks, has with other fields, or has in excess."""

    act: Act
    kind: ObjectKind
    name: str
    differs: Differences = field(default_factory=dict)
    """Differing fields; updates only."""

    def __str__(self) -> str:
        fields = f" ({', '.join(self.differs)})" if self.differs else ""
        return f"{self.act} {self.kind} {self.name}{fields}"


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes of an apply, in its order."""

    changes: tuple[Change, ...]
    adopted: tuple[str, ...] = ()
    """Objects from before sites had ids that are taken for this site's, because of their Distributors' names; updates, too."""

    def __bool__(self) -> bool:
        return bool(self.changes)

    def as_json(self) -> dict[str, list[Any]]:
        """Return ``create``, ``update``, ``delete`` and ``adopt`` as ``sluice plan --json`` prints them; the caller adds ``send``."""
        return {act.value: [_row(c) for c in self.changes if c.act is act] for act in Act} | {"adopt": list(self.adopted)}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Differences:
    """Return the fields of ``wanted`` that ``found`` lacks or has with another value."""
    return {key: {"found": found.get(key), "wanted": value} for key, value in wanted.items() if found.get(key) != value}


def in_order(changes: Iterable[Change], adopted: Iterable[str] = ()) -> Changes:
    """Sort changes: pools before queues before deployments, removals before creations; otherwise as given."""
    acts = (Act.DELETE, Act.CREATE, Act.UPDATE)
    kinds = tuple(ObjectKind)
    return Changes(tuple(sorted(changes, key=lambda c: (kinds.index(c.kind), acts.index(c.act)))), tuple(adopted))


def _row(change: Change) -> dict[str, Any]:
    return {"kind": change.kind.value, "name": change.name} | ({"differs": change.differs} if change.differs else {})
