"""A disk that fails under the agent is answered as what it is, and the conversation goes on."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from agents.serve import _disk_error
from sluice.errors import NoSpaceError, StoreError
from tests.agents.workbench import Raw, Workbench
from tests.subscriber.revisions import make


def test_a_file_that_cannot_be_read_is_named_and_the_next_request_is_taken(tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    made = make("1.1", source)
    bench.publish(made)
    with Raw(bench) as raw:
        raw.hello()
        assert raw.metadata(bench)["type"] == "accepted"
        unreadable = bench.held / "receiving/1.1/manifest"
        unreadable.mkdir(parents=True)

        reply = raw.put_manifest(made)

        assert (reply["type"], reply["code"]) == ("error", "StoreError")
        assert str(unreadable) in reply["message"]
        unreadable.rmdir()
        assert raw.put_manifest(made)["type"] == "stored"


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, NoSpaceError), (errno.EDQUOT, NoSpaceError), (errno.EIO, StoreError)])
def test_a_full_disk_is_told_from_one_that_fails(number: int, expected: type[Exception]) -> None:
    assert type(_disk_error(OSError(number, "text"), Path("/"))) is expected
