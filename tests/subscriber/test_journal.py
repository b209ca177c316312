"""The journal survives what a power cut or a full disk leaves of its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.errors import StoreCorruptError
from sluice.subscriber.extract.journal import Beginning, Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    found = Journal(tmp_path / "journal")
    found.begin(Beginning("{}", "2026-03-01T12:00:00.000000Z", True, ()))
    return found


def test_what_is_noted_after_half_a_line_is_read_again(journal: Journal) -> None:
    journal.record_action("pre", 0, token="first")
    path = journal.directory / "actions"
    with path.open("ab") as file:
        file.write(b'{"number":0,"pha')
    assert [each.token for each in journal.actions()] == ["first"]
    journal.record_action("undo pre", 0, token="second")
    assert [(each.phase, each.token) for each in journal.actions()] == [("pre", "first"), ("undo pre", "second")]


@pytest.mark.parametrize("line", [b"\0\0\0\n", b'{"number":0}\n', b"[]\n", b'{"number":0,"phase":"pre"}\n'])
def test_damaged_actions_are_said_to_be(journal: Journal, line: bytes) -> None:
    (journal.directory / "actions").write_bytes(line)
    with pytest.raises(StoreCorruptError):
        journal.actions()


@pytest.mark.parametrize("data", [b"{}", b"[]", b'{"order":"","places":[[1]],"rollback":true,"started":""}'])
def test_a_damaged_beginning_is_said_to_be(journal: Journal, data: bytes) -> None:
    (journal.directory / "begun").write_bytes(data)
    with pytest.raises(StoreCorruptError):
        journal.beginning()
