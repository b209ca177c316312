"""A plan for review: as Markdown, in which nothing acts, and as a file that an apply is held against."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli.changes_markdown import changes_markdown
from infra.orchestrator.changes import Act, Change, Changes, ObjectKind
from infra.orchestrator.reviewed import ReviewedPlan, plan_json

COMMENT_MAX = 65_536
"""Characters that GitHub takes."""


def change(act: Act, name: str, kind: ObjectKind = ObjectKind.DEPLOYMENT, **differs: tuple[Any, Any]) -> Change:
    return Change(act, kind, name, {field: {"found": old, "wanted": new} for field, (old, new) in differs.items()})


def markdown(*changes: Change) -> tuple[str, list[str]]:
    """Write it; return it and the lines of its block."""
    written = changes_markdown(Changes(changes), "d" * 64)
    found = re.search(r"^(`{3,})diff\n(.*?)\n\1$", written, re.DOTALL | re.MULTILINE)
    assert found, written
    assert found[1] not in found[2]
    assert all(line.isprintable() for line in written.split("\n"))
    return written, found[2].split("\n")


def test_each_object_is_marked_by_its_act_and_deletions_come_first() -> None:
    updated = change(Act.UPDATE, "build/zone", queue=("low", "high"))
    written, block = markdown(updated, change(Act.CREATE, "build/new"), change(Act.DELETE, "build/old"))
    assert block == [
        "- delete deployment build/old",
        "! update deployment build/zone",
        "      priority: low -> high",
        "+ create deployment build/new",
    ]
    assert written.startswith("### Sluice: in Prefect 1 to create, 1 to update, 1 to delete\n")
    assert written.endswith(f"\nPlan `{'d' * 64}`\n")


@pytest.mark.parametrize(
    "hostile", ["```", "`" * 50, "```\n@everyone", "</details><img src=x>", "\x1b[2J", "a\u202eb", "\r\n- delete pool x"]
)
def test_no_value_leaves_the_block_or_begins_a_line(hostile: str) -> None:
    _, block = markdown(change(Act.UPDATE, "build/zone", description=("", hostile)))
    assert block[0] == "! update deployment build/zone"
    assert all(line.startswith("      ") for line in block[1:])


@pytest.mark.parametrize("value", ["x" * 200_000, "`" * 30_000, "\N{GRINNING FACE}" * 30_000, "word " * 40_000])
def test_a_long_plan_is_cut_at_a_line_with_what_is_left_out_and_shows_its_deletions(value: str) -> None:
    many = [change(Act.UPDATE, f"build/{number}", description=("", f"{number} {value}")) for number in range(3)]
    written, block = markdown(*many, change(Act.DELETE, "build/old"))
    assert len(written.encode()) < COMMENT_MAX
    assert block[0] == "- delete deployment build/old"
    assert re.search(r"\*\*\d+ more lines? left out", written)
    assert "3 to update, 1 to delete" in written


def test_nothing_to_change_is_a_heading() -> None:
    assert changes_markdown(Changes(()), "d" * 64) == "### Sluice: Prefect is in line with the site\n"


PLANNED = (
    change(Act.CREATE, "hq.build/high", ObjectKind.QUEUE, priority=(None, 1)),
    change(Act.UPDATE, "build/zone", queue=("low", "high"), limit=(1, 2)),
    change(Act.DELETE, "build/old", queue=("low", None)),
)


def reviewed(path: Path, *changes: Change) -> ReviewedPlan:
    path.write_text(json.dumps(plan_json(Changes(changes))))
    return ReviewedPlan.read(path)


@pytest.mark.parametrize(
    "left",
    [
        PLANNED,
        PLANNED[1:],
        (),
        (change(Act.UPDATE, "build/zone", limit=(1, 2)),),
    ],
)
def test_what_a_killed_apply_has_left_is_of_its_plan(left: tuple[Change, ...], tmp_path: Path) -> None:
    assert reviewed(tmp_path / "plan.json", *PLANNED).beyond(Changes(left)) == ()


@pytest.mark.parametrize(
    "other",
    [
        change(Act.UPDATE, "build/zone", queue=("medium", "high")),
        change(Act.UPDATE, "build/zone", queue=("low", "medium")),
        change(Act.UPDATE, "build/zone", pool=("a", "b")),
        change(Act.CREATE, "build/zone", queue=(None, "high")),
        change(Act.DELETE, "build/zone", queue=("low", None)),
        change(Act.DELETE, "build/old", queue=("high", None)),
        change(Act.CREATE, "hq.build/high", ObjectKind.QUEUE, priority=(None, 2)),
        change(Act.UPDATE, "hq.build/high", ObjectKind.QUEUE, priority=(2, 1)),
        change(Act.CREATE, "build/high", priority=(None, 1)),
    ],
    ids=str,
)
def test_whatever_the_plan_doesnt_say_is_beyond_it(other: Change, tmp_path: Path) -> None:
    assert reviewed(tmp_path / "plan.json", *PLANNED).beyond(Changes((*PLANNED[:1], other))) == (other,)


def test_a_digest_is_of_all_that_is_changed_old_and_new_whatever_its_order() -> None:
    digests = {plan_json(Changes(changes))["digest"] for changes in (PLANNED, PLANNED[::-1])}
    older = change(Act.UPDATE, "build/zone", queue=("medium", "high"), limit=(1, 2))
    others = {plan_json(Changes(changes))["digest"] for changes in (PLANNED[:2], (PLANNED[0], older, PLANNED[2]))}
    assert (len(digests), len(others - digests)) == (1, 2)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"digest": ""}', '{"create": 1}', "[" * 100_000, "\udcff"])
def test_a_file_that_is_no_plan_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match="this is no plan"):
        ReviewedPlan.read(tmp_path / "plan.json")


def test_a_plan_that_was_changed_after_it_was_made_is_refused(tmp_path: Path) -> None:
    reviewed(tmp_path / "plan.json", *PLANNED)
    (tmp_path / "plan.json").write_text((tmp_path / "plan.json").read_text().replace("build/old", "build/other"))
    with pytest.raises(ValueError, match="changed after it was made"):
        ReviewedPlan.read(tmp_path / "plan.json")
