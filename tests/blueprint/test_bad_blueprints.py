"""Every blueprint in ``bad/`` is refused with exactly the errors its head says.

A head line ``#! 3: path: what: remedy`` is one error; its line counts from the first line after the head, and ``HERE:3`` in it is
line 3 of this file. Each is put into the good site of ``around.yaml``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sluice.blueprint import load_site
from sluice.errors import SiteError

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))


def split(text: str) -> tuple[list[str], str]:
    """The head's errors, and the blueprint without its head."""
    lines = text.splitlines(keepends=True)
    head = [line for line in lines if line.startswith("#! ")]
    assert lines[: len(head)] == head
    return [line.removeprefix("#! ").rstrip("\n") for line in head], "".join(lines[len(head) :])


@pytest.mark.parametrize("bad", BAD, ids=lambda p: p.stem)
def test_a_bad_blueprint_is_refused_with_exactly_these_errors(bad: Path, tmp_path: Path) -> None:
    expected, blueprint = split(bad.read_text())
    (tmp_path / "bad.yaml").write_text(blueprint)
    shutil.copy(HERE / "around.yaml", tmp_path)
    with pytest.raises(SiteError) as refusal:
        load_site(tmp_path)
    found = [str(e).replace(f"{tmp_path}/", "") for e in refusal.value.errors]
    assert found == [f"bad.yaml:{e.replace('HERE:', 'bad.yaml:')}" for e in expected]


def test_there_are_at_least_forty_bad_blueprints() -> None:
    assert len(BAD) >= 40
