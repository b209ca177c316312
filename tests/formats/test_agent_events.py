"""Events of an agent: read back as they were told, and nothing in them breaks an extraction off or reaches a terminal as it is."""

from __future__ import annotations

import pytest

from sluice.errors import TamperedError
from sluice.formats.agent_events import event_from_json, event_to_json
from sluice.model.agent_event import AgentEvent, ExtractPhase
from sluice.model.order import ActionReport, Failure

REPORT = ActionReport("pre", "stop webd", 0.25, None, "one\n\ttwo")
FAILURE = Failure("LockedTargetError", "locked: /opt/a", "end what uses it", True)


@pytest.mark.parametrize(
    "event",
    [
        AgentEvent(ExtractPhase.STAGE, 3, 9),
        AgentEvent(ExtractPhase.PRE_ACTIONS, report=REPORT),
        AgentEvent(ExtractPhase.ROLL_BACK, failure=FAILURE),
    ],
)
def test_it_is_read_as_it_was_told(event: AgentEvent) -> None:
    assert event_from_json(event_to_json(event)) == event


@pytest.mark.parametrize("key", ["report", "failure"])
@pytest.mark.parametrize("value", [{"label": "of a later version"}, [], "x"])
def test_what_cannot_be_read_in_it_is_left_out(key: str, value: object) -> None:
    assert event_from_json({"type": "event", "phase": "stage", "done": 0, "total": 0, key: value}) == AgentEvent("stage")


def test_control_characters_of_other_machines_are_replaced() -> None:
    said = ActionReport("pre\x1b[2J", "la\x07bel", 0.0, 1, "out\x1b]0;t\x07\n")
    read = event_from_json(event_to_json(AgentEvent("stage", report=said)))
    assert read.report == ActionReport("pre?[2J", "la?bel", 0.0, 1, "out?]0;t?\n")


@pytest.mark.parametrize("more", [{"phase": "x" * 65}, {"phase": "a\x1b"}, {"done": -1}, {"total": "1"}])
def test_an_event_that_is_none_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(TamperedError, match="the agent's"):
        event_from_json({"type": "event", "phase": "stage", "done": 0, "total": 0, **more})
