"""A number and its noun agree: a count that may be one goes through ``counted``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ROOMS = ("cli", "flows", "tasks", "infra", "sluice/rules", "sluice/distributor", "sluice/subscriber", "sluice/blueprint", "agents")
NOUNS = "file|Subscriber|Distribution|Channel|Distributor|revision|ticket|content|error|warning|host|owner|path|directory|link|role"
_PLURAL = re.compile(rf"^ ({NOUNS})(s|ies)\b")
MORE_THAN_ONE = {
    ("sluice/rules/diagnosis.py", "distributors"),
    ("sluice/rules/diagnosis.py", "subscribers"),
    ("sluice/blueprint/render/texts.py", "limit.files"),
    ("infra/filesystem/local/filesystem.py", "LINKS_MAX"),
    ("sluice/subscriber/receive/supplement.py", "SUPPLEMENTS_MAX"),
    ("sluice/blueprint/schema/values.py", "len(value)"),
    ("agents/puts.py", "len(contents)"),
}
"""Counts that can't be one there, or that only a broken sender causes."""


def uncounted() -> list[str]:
    found = []
    for room in ROOMS:
        for path in sorted((PROJECT / room).rglob("*.py")):
            name = str(path.relative_to(PROJECT))
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.JoinedStr):
                    continue
                for value, after in zip(node.values, node.values[1:], strict=False):
                    if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
                        continue
                    written = ast.unparse(value.value)
                    if _PLURAL.match(str(after.value)) and (name, written) not in MORE_THAN_ONE:
                        found.append(f"{name}:{node.lineno}: {{{written}}}{str(after.value)[:30]}")
    return found


def test_no_count_has_a_plural_of_its_own() -> None:
    assert uncounted() == []
