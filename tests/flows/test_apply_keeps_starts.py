"""An update of a deployment loses no start and makes none twice: apply against a real Prefect server, seconds before a start."""

import asyncio
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun

from sluice.model.schedule import NEVER, Kind, Schedule
from sluice.model.site import Site
from tests.flows.applied import apply
from tests.flows.sites import AT_NIGHT, distribution, site
from tests.flows.test_apply import clean_server, found, on_server

__all__ = ["clean_server"]
pytestmark = pytest.mark.usefixtures("clean_server")


def soon(seconds: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


def once(start: datetime, more: str = "COUNT=1") -> Schedule:
    return Schedule(Kind.RRULE, rrule=f"DTSTART:{start:%Y%m%dT%H%M%S} RRULE:FREQ=DAILY;{more}")


def built(schedule: Schedule, description: str = "") -> Site:
    return site(distribution("zone", build=schedule, description=description))


def extracted(schedule: Schedule) -> Site:
    return site(extract={"helsinki-1": schedule, "oslo-1": AT_NIGHT})


def plan_starts(name: str, since: datetime) -> None:
    """Have the server plan a deployment's starts now, as its scheduler does every few seconds."""
    at, start = found()[name].id, since.isoformat()
    on_server(lambda client: client.request("POST", "/deployments/{id}/schedule", path_params={"id": at}, json={"start_time": start}))


def starts(name: str) -> dict[datetime, list[UUID]]:
    """The runs of a deployment by the instants for which they were planned."""
    at = found()[name].id

    async def read(client: PrefectClient) -> list[FlowRun]:
        return await client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[at])))

    runs: dict[datetime, list[UUID]] = {}
    for run in on_server(read):
        assert run.expected_start_time is not None
        runs.setdefault(datetime.fromtimestamp(run.expected_start_time.timestamp(), UTC), []).append(run.id)
    return runs


@pytest.mark.parametrize("seconds", [1, 3600])
@pytest.mark.parametrize(
    "changed",
    [
        lambda start: built(once(start), description="all time zones"),
        lambda start: built(once(start, "COUNT=2")),
        lambda start: built(once(start - timedelta(days=3), "INTERVAL=3")),
    ],
    ids=["another field", "a schedule that goes on", "a schedule that began before"],
)
def test_a_start_that_is_due_within_seconds_outlives_an_update(changed, seconds: int) -> None:  # type: ignore[no-untyped-def]
    start = soon(seconds + 3)
    asyncio.run(apply(built(once(start))))
    plan_starts("build/zone", start - timedelta(minutes=1))
    assert len(starts("build/zone")[start]) == 1
    asyncio.run(apply(changed(start)))
    assert len(starts("build/zone")[start]) == 1


KILLED = """
import os, signal, sys
from infra.orchestrator import server_objects
from tests.flows.test_apply_keeps_starts import apply, asyncio, built, once, plan_starts, soon, timedelta

async def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(apply(built(once(soon(3600)))))  # which takes longer than the others
start = soon(int(sys.argv[1]))
asyncio.run(apply(built(once(start))))
plan_starts("build/zone", start - timedelta(minutes=1))
print(start.isoformat(), flush=True)
server_objects._plan_again = killed
asyncio.run(apply(built(once(start), description="changed")))
"""


@pytest.mark.parametrize("seconds", [14, 300])
def test_a_start_outlives_an_apply_that_is_killed_before_it_planned_it_again(seconds: int) -> None:
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(seconds)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    start = datetime.fromisoformat(ended.stdout.strip())
    assert str(found()["build/zone"].description).startswith("changed")
    if seconds < 20:  # Prefect's scheduler looks too late for it
        time.sleep(max(0.0, (start - datetime.now(UTC)).total_seconds()))
    plan_starts("build/zone", datetime.now(UTC))  # as the scheduler does: only starts to come
    assert len(starts("build/zone")[start]) == 1


def test_a_start_that_a_schedule_has_no_more_is_not_kept() -> None:
    start = soon(3600)
    asyncio.run(apply(built(once(start))))
    plan_starts("build/zone", start - timedelta(minutes=1))
    asyncio.run(apply(built(once(start + timedelta(hours=1)))))
    assert start not in starts("build/zone")
    asyncio.run(apply(built(NEVER)))
    assert not starts("build/zone")


def test_a_start_outlives_that_its_schedule_gets_another_name() -> None:
    """The slug of an Extract schedule is made from what it says."""
    start = soon(3600)
    asyncio.run(apply(extracted(once(start))))
    plan_starts("extract/hq", start - timedelta(minutes=1))
    asyncio.run(apply(extracted(once(start, "COUNT=3"))))
    assert len(starts("extract/hq")[start]) == 1


def test_a_late_run_waits_on_and_is_not_planned_twice() -> None:
    late, start = soon(-120), soon(3600)
    asyncio.run(apply(built(once(late))))
    plan_starts("build/zone", late - timedelta(minutes=1))
    before = starts("build/zone")
    assert list(before) == [late]
    asyncio.run(apply(built(once(late, "COUNT=2"), description="changed")))
    asyncio.run(apply(built(once(start), description="changed again")))
    assert starts("build/zone")[late] == before[late]


def test_a_paused_schedule_plans_nothing_after_an_update() -> None:
    start = soon(3600)
    asyncio.run(apply(built(once(start))))
    paused = found()["build/zone"]
    on_server(lambda client: client.update_deployment_schedule(paused.id, paused.schedules[0].id, active=False))
    asyncio.run(apply(built(once(start), description="changed")))
    assert not starts("build/zone")
