"""docs/parity.md is true in what a machine can see: its tests exist, and every row says one of three things."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| ([A-Z]\d+) \| (.+?) \| (done|partly: .+|not yet) \| (.*) \|$")
TEST = re.compile(r"`([^`]+\.py)::(\w+)`")
ROWS = [line for line in (ROOT / "docs/parity.md").read_text().splitlines() if re.match(r"\| [A-Z]\d", line)]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_row_is_well_formed_and_its_tests_exist(row: str) -> None:
    match = ROW.match(row)
    assert match, row
    tests = TEST.findall(match[4])
    assert bool(tests) == (match[3] != "not yet")
    for file, name in tests:
        assert name in functions(ROOT / "tests" / file), f"{file} has no {name}"


def test_every_requirement_has_its_row_once() -> None:
    ids = [row.split("|")[1].strip() for row in ROWS]
    counts = {letter: sum(1 for i in ids if i[0] == letter) for letter in "ABCDEFGHIX"}
    assert len(set(ids)) == len(ids)
    assert counts == {"A": 15, "B": 23, "C": 13, "D": 15, "E": 6, "F": 10, "G": 10, "H": 4, "I": 13, "X": 8}
