"""What a long extraction says of itself in the run's log: each phase that lasts, once, however often the agent tells it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.tasks import Task

from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.deliver.under_way import Step
from sluice.errors import LockedTargetError
from sluice.model.agent_event import AgentEvent
from sluice.model.assignment import Assignment
from sluice.model.order import ActionReport
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distribution, DistributionType, ShownPhases
from sluice.model.state import State as PairState
from tasks import phases, progress
from tasks.phases import PhaseRuns

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


def test_a_hostile_agent_fills_no_log_and_nothing_that_it_says_after_the_end_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, int, str]] = []

    async def end_of(task: Task[..., Any], *_: object, after: object) -> State[Any]:
        bar = phases._BAR.get()
        while await bar.lines.get() is not None:
            shown.append(("line", 0, ""))
        assert bar.end is not None
        shown.append((task.name, 1, bar.end.type.value))
        return bar.end

    monkeypatch.setattr(phases, "end_of", end_of)
    assignment = Assignment("oslo", "zone", RevisionNumber(1, 1))
    distribution = Distribution("zone", "hq", DistributionType.FILE)
    report = ActionReport("pre", "x", 0.0, 0, "y" * 8000)

    async def extraction() -> PhaseRuns:
        runs = PhaseRuns(assignment, distribution, ShownPhases.ALWAYS, [])

        async def hostile(on_event: Callable[[AgentEvent], None]) -> DeliveryResult:
            for _ in range(10_000):
                on_event(AgentEvent("stage", report=report))
            on_event(AgentEvent("roll back"))
            await asyncio.sleep(0)
            return DeliveryResult(*assignment.pair, assignment.revision, PairState.FAILED, "no", error=LockedTargetError("held"))

        await runs.observe(hostile)
        runs.on_event(AgentEvent("post actions"))
        await asyncio.sleep(0)
        return runs

    asyncio.run(extraction())
    assert sum(kind == "line" for kind, _, _ in shown) <= phases.MILESTONES_MAX
    assert [each for each in shown if each[1]] == [("stage", 1, "COMPLETED"), ("roll back", 1, "FAILED"), ("extract", 1, "CANCELLED")]


def test_a_run_that_is_cancelled_before_anything_began_makes_no_task_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "end_of", lambda *_, **__: pytest.fail("a task run"))

    async def cancelled() -> None:
        runs = PhaseRuns(
            Assignment("oslo", "zone", RevisionNumber(1, 1)), Distribution("zone", "hq", DistributionType.FILE), ShownPhases.ALWAYS, []
        )

        async def waits(_on_event: object) -> DeliveryResult:
            raise asyncio.CancelledError

        await runs.observe(waits)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
