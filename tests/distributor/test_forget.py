"""Forgetting a Subscriber at a Distributor: everything that is believed of it, however little that is."""

from pathlib import Path

from sluice.distributor.forget import forget_subscriber
from sluice.model.belief import Belief
from sluice.model.event import EventKind
from tests.distributor.distributor import bench
from tests.sender.agent_double import NOW, AgentDouble


def test_an_agent_that_was_only_seen_is_forgotten_too(tmp_path: Path) -> None:
    """Else a clone that was taken away would be told for ever as having another's identity."""
    hq = bench(tmp_path, AgentDouble())
    hq.ledger.believe("hq", "helsinki-1", Belief(NOW, "0.1.0", "a" * 32), [], {})
    hq.publisher.forget_subscriber_key("helsinki-1")
    said = ["forget what Distributor hq saw of its agent"]
    assert forget_subscriber(hq.context(), "helsinki-1", dry_run=True) == said
    assert hq.ledger.known("hq", "helsinki-1").belief is not None
    assert forget_subscriber(hq.context(), "helsinki-1", dry_run=False) == said
    assert hq.ledger.known("hq", "helsinki-1").belief is None
    assert [each.event.kind for each in hq.ledger.events()] == [EventKind.REMOVED]
    assert forget_subscriber(hq.context(), "helsinki-1", dry_run=False) == []
