"""The agent as a child process, spoken to as a sender does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sluice.errors import NoSpaceError
from sluice.formats.manifest.document import read_back_digest
from sluice.model.agent_event import AgentEvent
from sluice.model.locked import Locked
from sluice.model.order import Outcome
from sluice.trust.roles import manifest_target, ted_target
from tests.agents.workbench import Workbench
from tests.subscriber.holder import held
from tests.subscriber.revisions import make, tree_of


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


def test_a_put_that_would_leave_too_little_free_is_refused_with_the_subscribers_name(bench: Workbench, tmp_path: Path) -> None:
    made = make("1.1", plant(tmp_path / "source"))
    conversation = bench.connect()
    bench.publish(made)
    bench.push_metadata(conversation)
    conversation.put_manifest(manifest_target("zone", made.manifest.revision), made.manifest_bytes)
    target, file = ted_target("zone", made.manifest.revision, made.file), made.ted_file(tmp_path)
    with pytest.raises(NoSpaceError, match=r"^Subscriber oslo: the \.ted of zone 1\.1 needs .* 1024 PiB must stay free"):
        conversation.put_ted(target, file, min_free=2**60)
    assert not conversation.put_ted(target, file, min_free=1).held
    conversation.close()


@pytest.mark.slow
def test_locked_targets_are_waited_for_as_the_order_says_and_told_meanwhile(bench: Workbench, tmp_path: Path) -> None:
    source, target, events = plant(tmp_path / "source"), tmp_path / "zone", list[AgentEvent]()
    conversation = bench.connect()
    bench.send(conversation, make("1.1", source))
    bench.extract(conversation, bench.order(make("1.1", source), target))
    (source / "a.txt").write_text("changed")
    second = make("1.2", source)
    bench.send(conversation, second)
    waits = Locked(1, timedelta(seconds=1))

    with held(target / "a.txt") as holder:
        receipt = bench.extract(conversation, bench.order(second, target, locked=waits), events)
    assert receipt.failure is not None
    assert receipt.failure.message == f"locked: {target}/a.txt (held by pid {holder.pid})"
    told = [(each.done, each.total) for each in events if each.phase == receipt.failure.message[:64]]
    assert told[0] == (1, 2)
    assert (target / "a.txt").read_text() == "alpha\n"

    assert bench.extract(conversation, bench.order(second, target, locked=waits)).outcome is Outcome.INSTALLED
    assert tree_of(target) == tree_of(source)
    conversation.close()
