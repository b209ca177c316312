"""What a dry run shows of the changes that hosts foretell."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.rehearse_changes import RehearsedChanges
from sluice.formats.rehearsals import COUNT_MAX
from sluice.model.change import Change, ChangeKind, Changes, Stop
from tests.subscriber.revisions import make


def test_each_kind_has_its_number_and_its_first_paths_and_more_than_are_counted_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make("1.1", tmp_path).manifest
    replaced = tuple(Change(ChangeKind.REPLACED, f"/etc/{n}", "a file, 3 bytes") for n in range(22))
    stops = (Stop("/etc/x is a link", "move it away"),)
    found = Changes(stops, 1, (*replaced, Change(ChangeKind.REMOVED, "/a")), {ChangeKind.REPLACED: 22, ChangeKind.REMOVED: 1})
    many = Changes(counts={ChangeKind.FOREIGN_REMOVED: COUNT_MAX + 1})
    answers = RehearsedChanges([("oslo", manifest, found, True), ("rome", manifest, many, False)])

    answers.show()

    out = capsys.readouterr().out.splitlines()
    assert out[:4] == [
        "oslo would fail to extract zone 1.1: /etc/x is a link",
        "    move it away",
        "oslo would replace 22 paths that it did not place, unless already equal, with zone 1.1:",
        "    /etc/0 (a file, 3 bytes)",
    ]
    assert out[-4:] == [
        "oslo would remove 1 path with zone 1.1:",
        "    /a",
        "rome would remove more than 20000 paths that it did not place with zone 1.1",
        "rome: its agent is too old to say what else would change; run: sluice subscriber bootstrap rome",
    ]
    assert out[-5] == "    and 2 more"
    rows = answers.as_json()
    assert rows["removals"][0] | {"subscriber": "oslo", "paths": ["/a"], "count": 1, "problem": "/etc/x is a link"} == rows["removals"][0]
    assert answers.failures() == {("oslo", "zone"): "ExtractError"}  # what its agent didn't name
    assert rows["changes"][0]["counts"] == {"replaced": 22, "removed": 1}
    assert rows["changes"][0]["paths"][0] == {"kind": "replaced", "path": "/etc/0", "detail": "a file, 3 bytes"}
