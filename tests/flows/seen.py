"""A flow run as Prefect shows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterTaskRunId,
)
from prefect.client.schemas.objects import Artifact, FlowRun, State, TaskRun

LIMIT_SECONDS = 60
"""Events and logs reach the server late if the machine is busy."""


@dataclass(frozen=True)
class Seen:
    """A flow run, its task runs in the order in which they began, and its artifacts."""

    run: FlowRun
    tasks: Sequence[TaskRun]
    artifacts: Sequence[Artifact]

    @property
    def ends(self) -> list[tuple[str, str, str]]:
        """Name, type and name of the end state of each task run."""
        return [(task.name, task.state.type.value, str(task.state.name)) for task in self.tasks if task.state]

    def before(self, name: str) -> set[str]:
        """Name the task runs that one waits for: the arrows that lead to it."""
        (task,) = (each for each in self.tasks if each.name == name)
        names = {each.id: each.name for each in self.tasks}
        return {names[each.id] for each in task.task_inputs.get("wait_for", []) if isinstance(getattr(each, "id", None), UUID)}

    def says(self, text: str, task: str = "") -> bool:
        """Whether the log of the run, or of one of its task runs, holds a text, soon."""
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[self.run.id]))
        if task:
            (id_,) = (each.id for each in self.tasks if each.name == task)
            wanted = LogFilter(task_run_id=LogFilterTaskRunId(any_=[id_]))

        async def read() -> str:
            async with get_client() as client:
                return "\n".join(each.message for each in await client.read_logs(wanted))

        deadline = time.monotonic() + LIMIT_SECONDS
        while not (found := text in asyncio.run(read())) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found


def as_seen(state: State[Any], *, tasks: int) -> Seen:
    """Return the run that ended so, once the events of this many task runs have arrived."""
    id_ = state.state_details.flow_run_id
    assert id_ is not None

    async def read() -> Seen:
        async with get_client() as client:
            only = FlowRunFilter(id=FlowRunFilterId(any_=[id_]))
            artifacts = await client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[id_])))
            found = await client.read_task_runs(flow_run_filter=only)
            return Seen(await client.read_flow_run(id_), sorted(found, key=lambda each: str(each.start_time)), artifacts)

    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        seen = asyncio.run(read())
        if (len(seen.tasks) >= tasks and all(task.state and task.state.is_final() for task in seen.tasks)) or time.monotonic() > deadline:
            return seen
        time.sleep(0.5)
