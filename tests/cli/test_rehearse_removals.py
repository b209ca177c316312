"""What a dry run shows of the paths that would go."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.rehearse_removals import RehearsedRemovals
from sluice.formats.rehearsals import COUNT_MAX, Removals
from tests.subscriber.revisions import make


def test_how_many_paths_would_go_is_shown_and_where_they_are_too_many_that_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make("1.1", tmp_path).manifest
    RehearsedRemovals([("oslo", manifest, Removals(("/a",), 1)), ("rome", manifest, Removals((), COUNT_MAX + 1))]).show()
    assert capsys.readouterr().out.splitlines() == [
        "oslo would remove 1 path with zone 1.1:",
        "    /a",
        "rome would remove more than 20000 paths with zone 1.1",
    ]
