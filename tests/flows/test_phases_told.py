"""What a long extraction says of itself in the run's log: each phase that lasts, once, however often the agent tells it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sluice.distributor.deliver.under_way import Step
from sluice.model.agent_event import AgentEvent
from tasks import progress

LOOKS = 200
"""Most turns of the loop until a line is there."""


async def _nowhere(_text: str, _percent: float, _artifact: object) -> None:
    """Stand in for Prefect's artifacts."""


@pytest.fixture(autouse=True)
def _lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "log", lambda: logging.getLogger("told"))
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(progress, "UPDATE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_show", _nowhere)
    caplog.set_level(logging.INFO, "told")


def told(caplog: pytest.LogCaptureFixture, *events: AgentEvent) -> list[str]:
    async def extraction() -> None:
        step = Step("zone", "1.1", "oslo")
        step.now("connecting")
        async with progress.shown(step):
            for event in events:
                step.on_event(event)
                for _ in range(LOOKS):
                    await asyncio.sleep(0)

    asyncio.run(extraction())
    return caplog.messages


def test_a_phase_that_lasts_is_told_once_and_an_action_with_how_many_there_are(caplog: pytest.LogCaptureFixture) -> None:
    waits = "pre action 2: waits for stubborn (PID 12) to end"
    events = [AgentEvent("pre action 1", 0, 2), AgentEvent(waits, 1, 2), AgentEvent(waits, 1, 2), AgentEvent("stage", 5, 9)]
    assert told(caplog, *events, AgentEvent("stage", 9, 9)) == [
        "oslo ← zone 1.1: running pre action 1 of 2",
        "oslo ← zone 1.1: running pre action 2 of 2: waits for stubborn (PID 12) to end",
        "oslo ← zone 1.1: extracting",
    ]


def test_what_is_over_soon_and_an_agent_that_flips_its_phases_say_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SILENT_SECONDS", 3600.0)
    assert told(caplog, *[AgentEvent(f"phase {n}", 0, 0) for n in range(10)]) == []
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(progress, "UPDATE_SECONDS", 3600.0)
    assert told(caplog, *[AgentEvent(f"phase {n}", 0, 0) for n in range(10)]) == ["oslo ← zone 1.1: phase 0"]
