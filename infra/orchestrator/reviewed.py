"""A plan that somebody reviewed, as a file, and what an apply would do now that it doesn't say.

The file is the JSON of ``sluice plan``; its ``digest`` is of what would be created, updated and deleted, old and new. An apply that was
killed has done a part of its plan, and what is left must be done by its repetition: so the changes of now have to be contained in the plan,
object by object and field by field, instead of being the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.orchestrator.changes import Act, Change, Changes


def plan_json(changes: Changes) -> dict[str, Any]:
    """Return the changes with their digest."""
    rows = changes.as_json()
    return {"digest": _digest(rows), **rows}


@dataclass(frozen=True, slots=True)
class ReviewedPlan:
    """What a plan said, by kind and name of each object."""

    planned: Mapping[tuple[str, str], tuple[str, Mapping[str, Any]]]

    @classmethod
    def read(cls, path: Path) -> ReviewedPlan:
        """Read the file of ``sluice plan --save``.

        Raises:
            ValueError: It holds no plan, or not the one of its digest.
            OSError: It can't be read.
        """
        try:
            document = json.loads(path.read_bytes())
            planned = {(row["kind"], row["name"]): (act.value, row["differs"]) for act in Act for row in document[act]}
            digest = document["digest"]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise ValueError("this is no plan") from error
        if digest != _digest(document):
            raise ValueError("this plan was changed after it was made")
        return cls(planned)

    def beyond(self, changes: Changes) -> tuple[Change, ...]:
        """Return the changes that the plan doesn't say."""
        return tuple(change for change in changes.changes if not self._says(change))

    def _says(self, change: Change) -> bool:
        act, planned = self.planned.get((change.kind, change.name), ("", {}))
        now = json.loads(json.dumps(change.differs))
        return act == change.act and (now.items() <= planned.items() if act == Act.UPDATE else now == planned)


def _digest(rows: Mapping[str, Any]) -> str:
    acts = {act.value: sorted(rows[act], key=lambda row: (row["kind"], row["name"])) for act in Act}
    return hashlib.sha256(json.dumps(acts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
