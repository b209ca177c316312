"""A verification that finds a tree changed lends what it lacks and orders again: what the ledger is told of it (C10)."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from sluice.distributor.deliver.extraction import IF_CHANGED, Extraction
from sluice.distributor.deliver.orders import ExtractResult, Orders
from sluice.distributor.send_queue.watch import QueueWatch
from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind
from sluice.model.order import Failure, Outcome, Receipt
from sluice.model.recipe import RenderedRecipe
from sluice.model.state import State
from sluice.model.ticket import Occupied
from tests.distributor.distributor import bench, subscriber_named
from tests.sender.agent_double import NOW, AgentDouble


@pytest.mark.parametrize(("features", "told"), [(["delta", "script"], IF_CHANGED), (["script"], "")])
def test_what_is_lent_is_told_with_the_order_that_follows(
    features: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking, large = os.urandom(20_000), os.urandom(60_000)
    agent = AgentDouble(extracted={"zone": "1.1"}, features=features, hello={"codecs": ["hdiff", "lzma", "zstd"], "memory": 1 << 32})
    hq = bench(tmp_path, agent)
    revision = hq.build("1.1", {"a": lacking, "b": large})
    agent.lacks = iter([[blake3(lacking).hexdigest()]])
    orders: list[dict[str, Any]] = []

    def give(_: Orders, **told: Any) -> ExtractResult:
        orders.append(told)
        changed = Failure("BaseDiffersError", "a changed", "", retryable=False) if len(orders) == 1 else None
        outcome = Outcome.FAILED if changed else Outcome.INSTALLED
        return ExtractResult(
            Receipt("hq", agent.name, len(orders), "zone", revision, outcome, NOW, NOW, 1, 1, 20_000, "ab" * 32, failure=changed)
        )

    monkeypatch.setattr(Orders, "give", give)
    context = hq.context()
    watch = QueueWatch("hq", None, ledger=hq.ledger, clock=context.clock)
    sender, assignment = hq.sending(revision).sender, Assignment(agent.name, "zone", revision)
    recipe = RenderedRecipe(("/opt/zone",))
    extraction = Extraction(context, watch, sender, subscriber_named(agent.name), assignment, lambda: recipe, check=True)
    done = extraction.extract()
    assert orders[0].get("if_changed") == told
    if told:
        assert (done.state, len(orders)) == (State.INSTALLED, 2)
        assert 20_000 < orders[1]["supplement"] < 22_000
    else:
        assert (done.state, len(orders), agent.lent) == (State.FAILED, 1, [])


def test_an_extraction_that_another_run_did_meanwhile_is_settled_without_a_call(tmp_path: Path) -> None:
    agent = AgentDouble()
    hq = bench(tmp_path, agent)
    revision = hq.build("1.1", {"a": b"content"})
    assignment, context = Assignment(agent.name, "zone", revision), hq.context()
    watch = QueueWatch("hq", None, ledger=hq.ledger, clock=context.clock)

    def extraction(*, check: bool) -> Extraction:
        sender, subscriber = hq.sending(revision).sender, subscriber_named(agent.name)
        return Extraction(context, watch, sender, subscriber, assignment, lambda: RenderedRecipe(("/opt/zone",)), check)

    first, second = extraction(check=False), extraction(check=False)
    assert first.enter() is None
    assert isinstance(second.enter(), Occupied)
    assert second.settled() is None
    receipt = Receipt("hq", agent.name, 1, "zone", revision, Outcome.INSTALLED, NOW, NOW, 1, 0, 9, "ab" * 32)
    hq.ledger.accept_receipt(receipt, "{}", Event(NOW, EventKind.INSTALLED))
    first.leave()
    first.leave()
    assert second.enter() is None
    done = second.settled()
    assert done is not None
    assert (done.state, done.reason, agent.requests) == (State.INSTALLED, "done by another run", [])
    second.leave()
    assert not hq.ledger.snapshot().tickets


@pytest.mark.parametrize("ahead", [timedelta(minutes=4), timedelta(0), timedelta(minutes=-4)])
def test_a_check_is_done_by_another_run_only_if_that_ends_after_it_came(ahead: timedelta, tmp_path: Path) -> None:
    """Receipts have the host's times, and its clock needn't be right."""
    agent = AgentDouble()
    hq = bench(tmp_path, agent)
    revision = hq.build("1.1", {"a": b"content"})
    assignment, context = Assignment(agent.name, "zone", revision), hq.context()
    watch = QueueWatch("hq", None, ledger=hq.ledger, clock=context.clock)
    sender, subscriber = hq.sending(revision).sender, subscriber_named(agent.name)

    def read_back(sequence: int) -> None:
        at = NOW + ahead + timedelta(seconds=sequence)
        receipt = Receipt("hq", agent.name, sequence, "zone", revision, Outcome.INSTALLED, at, at, 0, 1, 9, "ab" * 32, files_read=1)
        hq.ledger.accept_receipt(receipt, str(sequence), Event(NOW, EventKind.INSTALLED))

    read_back(1)
    check = Extraction(context, watch, sender, subscriber, assignment, lambda: RenderedRecipe(("/opt/zone",)), check=True)
    assert check.enter() is None
    assert check.settled() is None, "nobody has read it back since"
    read_back(2)
    done = check.settled()
    assert done is not None
    assert done.reason == "done by another run"
    check.leave()
