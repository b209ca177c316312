"""The agent as a child process, spoken to as a sender does."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.formats.manifest import read_back_digest
from sluice.model.order import Outcome
from tests.agents.workbench import Workbench
from tests.operations.revisions import make, tree_of


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


def plant(top: Path) -> Path:
    """A small tree with everything in it."""
    (top / "empty").mkdir(parents=True)
    (top / "deep/er").mkdir(parents=True)
    (top / "a.txt").write_text("alpha\n")
    (top / "deep/er/ünï ✓ code").write_text("beta\n" * 1000)
    (top / "nothing").touch()
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "link").symlink_to("deep/er")
    (top / "deep").chmod(0o750)
    return top


def test_a_plain_tree_is_sent_ordered_extracted_and_sworn(bench: Workbench, tmp_path: Path) -> None:
    source = plant(tmp_path / "source")
    made = make("1.1", source)
    conversation = bench.connect()
    bench.send(conversation, made)

    receipt = bench.extract(conversation, bench.order(made, tmp_path / "opt/missing/zone"))

    assert receipt.outcome is Outcome.INSTALLED, receipt.failure
    assert receipt.read_back == read_back_digest(made.manifest)
    assert tree_of(tmp_path / "opt/missing/zone") == tree_of(source)
    conversation.close()
