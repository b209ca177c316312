"""Changes of an apply in Prefect, as data: computed first, shown by ``plan``, carried out by ``apply``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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


Fields = Mapping[str, Any]
Differences = Mapping[str, Mapping[str, Any]]
"""By field: the value that Prefect has, ``found``, and the one that the site wants, ``wanted``; None: it has, or wants, none."""


@dataclass(frozen=True, slots=True)
class Change:
    """One object that Prefect lacks, has with other fields, or has in excess."""

    act: Act
    kind: ObjectKind
    name: str
    differs: Differences = field(default_factory=dict)
    """Differing fields: all of an object that comes or goes."""

    def __str__(self) -> str:
        fields = f" ({', '.join(self.differs)})" if self.act is Act.UPDATE else ""
        return f"{self.act} {self.kind} {self.name}{fields}"


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes of an apply, in its order."""

    changes: tuple[Change, ...]
    adopted: tuple[str, ...] = ()
    """Objects from before sites had ids that are taken for this site's, because of their Distributors' names; updates, too."""
    kept: tuple[str, ...] = ()
    """Sentences about objects that left the site and stay, because others use them."""

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def deletions(self) -> tuple[Change, ...]:
        """Everything that would be destroyed."""
        return tuple(change for change in self.changes if change.act is Act.DELETE)

    def without_deletions(self) -> Changes:
        """Return the changes that destroy nothing."""
        return replace(self, changes=tuple(change for change in self.changes if change.act is not Act.DELETE))

    def as_json(self) -> dict[str, list[Any]]:
        """Return ``create``, ``update``, ``delete``, ``adopt`` and ``keep`` as ``sluice plan --json`` prints them."""
        rows = {act.value: [_row(c) for c in self.changes if c.act is act] for act in Act}
        return rows | {"adopt": list(self.adopted), "keep": list(self.kept)}


def differences(found: Fields, wanted: Fields) -> Differences:
    """Return the fields of which the two have other values, in the order of ``wanted``."""
    keys = list(dict.fromkeys([*wanted, *found]))
    return {key: {"found": found.get(key), "wanted": wanted.get(key)} for key in keys if found.get(key) != wanted.get(key)}


def in_order(changes: Iterable[Change], adopted: Iterable[str] = (), kept: Iterable[str] = ()) -> Changes:
    """Sort changes: pools before queues before deployments, removals before creations; otherwise as given."""
    acts = (Act.DELETE, Act.CREATE, Act.UPDATE)
    kinds = tuple(ObjectKind)
    return Changes(tuple(sorted(changes, key=lambda c: (kinds.index(c.kind), acts.index(c.act)))), tuple(adopted), tuple(kept))


def _row(change: Change) -> dict[str, Any]:
    return {"kind": change.kind.value, "name": change.name, "differs": change.differs}
