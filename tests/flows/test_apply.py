"""plan and apply against a real Prefect server, and prefect.yaml beside them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse

from infra.orchestrator import heartbeat
from infra.orchestrator.apply import apply, plan, remove_gone
from infra.orchestrator.project_file import project_file
from infra.orchestrator.server_address import ServerAddress
from infra.orchestrator.server_objects import found_fields, read_deployments
from sluice.distributor.plan.deployments import deployments
from sluice.errors import OrchestratorError
from tests.flows.sites import distribution, site

pytestmark = pytest.mark.usefixtures("clean_server")
T = TypeVar("T")


def on_server(work: Callable[[PrefectClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with get_client() as client:
            return await work(client)

    return asyncio.run(run())


def found() -> dict[str, DeploymentResponse]:
    return on_server(lambda client: read_deployments(client, ["build", "send", "extract", "refresh", "distribute"]))


@pytest.fixture
def clean_server(server: ServerAddress) -> Iterator[None]:
    """Without deployments and pools before and after, whichever tests used the server."""

    async def empty(client: PrefectClient) -> None:
        for deployment in await client.read_deployments():
            await client.delete_deployment(deployment.id)
        for pool in await client.read_work_pools():
            await client.delete_work_pool(pool.name)

    on_server(empty)
    yield
    on_server(empty)


def foreign_deployment(flow: str, name: str, tags: list[str]) -> UUID:
    async def make(client: PrefectClient) -> UUID:
        flow_id = await client.create_flow_from_name(flow)
        return await client.create_deployment(flow_id, name, tags=tags)

    return on_server(make)


def test_apply_makes_everything_and_a_second_one_nothing() -> None:
    assert len(asyncio.run(plan(site())).as_json()["create"]) == len(asyncio.run(apply(site())).changes)
    assert sorted(found()) == [spec.full_name for spec in deployments(site())]
    assert not asyncio.run(plan(site()))
    before = {name: deployment.updated for name, deployment in found().items()}
    assert not asyncio.run(apply(site()))
    assert {name: deployment.updated for name, deployment in found().items()} == before


def test_queue_priorities_are_those_of_the_blueprint() -> None:
    asyncio.run(apply(site()))
    queues = on_server(lambda client: client.read_work_queues(work_pool_name="hq.build"))
    assert [q.name for q in sorted(queues, key=lambda q: q.priority or 0)][:3] == ["high", "medium", "low"]
    assert on_server(lambda client: client.read_work_pool("hq.build")).concurrency_limit == 2


def test_only_what_changed_is_sent_and_plan_says_what_differs() -> None:
    asyncio.run(apply(site()))
    changed = site(distribution("zone", description="all time zones"))
    (row,) = asyncio.run(plan(changed)).as_json()["update"][:1]
    assert row["name"] == "build/zone"
    assert list(row["differs"]) == ["description"]
    assert [c.name for c in asyncio.run(apply(changed)).changes] == ["build/zone", "distribute/zone"]


def test_a_schedule_that_somebody_paused_stays_paused() -> None:
    asyncio.run(apply(site()))
    paused = found()["build/zone"]
    on_server(lambda client: client.update_deployment_schedule(paused.id, paused.schedules[0].id, active=False))
    asyncio.run(apply(site(distribution("zone", description="changed"))))
    assert [s.active for s in found()["build/zone"].schedules] == [False]


def test_an_inactive_schedule_runs_again_once_its_object_is_active() -> None:
    asyncio.run(apply(site(distribution("zone", active=False))))
    assert [s.active for s in found()["build/zone"].schedules] == [False]
    asyncio.run(apply(site()))
    assert [s.active for s in found()["build/zone"].schedules] == [True]


def test_a_deployment_whose_object_is_gone_is_removed_and_nobody_elses_is_touched() -> None:
    others = {
        foreign_deployment("send", "newsletter", []),
        foreign_deployment("build", "kernel", ["sluice", "site:elsewhere", "distributor:elsewhere"]),
    }
    asyncio.run(apply(site(distribution("zone"), distribution("tools"))))
    assert [c.name for c in asyncio.run(plan(site())).changes if c.act == "delete"] == ["build/tools", "distribute/tools"]
    asyncio.run(apply(site()))
    left = found()
    assert "build/tools" not in left
    assert others <= {deployment.id for deployment in left.values()}


def test_a_name_that_somebody_else_has_is_refused_before_anything_is_written() -> None:
    foreign_deployment("send", "night", ["mine"])
    with pytest.raises(OrchestratorError, match="send/night on this Prefect server belongs to somebody else"):
        asyncio.run(apply(site()))
    assert list(found()) == ["send/night"]


def test_a_pool_that_somebody_else_has_is_refused_and_not_taken_over() -> None:
    mine = WorkPoolCreate(name="hq.send", type="process", description="mine", concurrency_limit=3)
    on_server(lambda client: client.create_work_pool(mine))
    with pytest.raises(OrchestratorError, match=r"work pool hq\.send on this Prefect server belongs to somebody else"):
        asyncio.run(apply(site()))
    assert on_server(lambda client: client.read_work_pool("hq.send")).concurrency_limit == 3


def test_a_refresh_removes_gone_deployments_although_another_name_is_taken() -> None:
    """Otherwise signatures would expire because of somebody else's deployment."""
    asyncio.run(apply(site(distribution("zone"), distribution("tools"))))
    foreign_deployment("send", "night", ["mine"])
    assert asyncio.run(remove_gone(site(), "hq")) == ["build/tools", "distribute/tools"]


def test_a_distributor_that_left_takes_its_pools_along() -> None:
    asyncio.run(apply(site(distribution("zone"), distribution("tools", "branch"), distributors=("hq", "branch"))))
    on_server(lambda client: client.create_work_pool(WorkPoolCreate(name="branch.mine", type="process")))
    asyncio.run(apply(site()))
    assert {p.name for p in on_server(lambda client: client.read_work_pools())} == {"hq.build", "hq.send", "branch.mine"}
    assert "extract/branch" not in found()


def test_a_refresh_removes_gone_deployments_of_its_distributor_only() -> None:
    both = ("hq", "branch")
    asyncio.run(apply(site(distribution("zone"), distribution("tools"), distribution("fonts", "branch"), distributors=both)))
    left = site(distribution("zone"), distributors=both)
    assert asyncio.run(remove_gone(left, "hq")) == ["build/tools", "distribute/tools"]
    assert "build/fonts" in found()


def test_the_heartbeat_automation_exists_once() -> None:
    asyncio.run(apply(site()))
    asyncio.run(apply(site(distribution("zone", description="changed"))))
    (automation,) = on_server(lambda client: client.read_automations_by_name(heartbeat.NAME))
    assert automation.enabled
    assert "prefect.flow-run.heartbeat" in automation.trigger.after  # type: ignore[union-attr]


def test_prefect_deploy_of_the_project_file_equals_apply(tmp_path: Path, server: ServerAddress) -> None:
    asyncio.run(apply(site()))
    applied = {name: comparable(deployment) for name, deployment in found().items()}
    for deployment in found().values():
        on_server(lambda client, at=deployment.id: client.delete_deployment(at))  # type: ignore[misc]

    (tmp_path / "prefect.yaml").write_text(project_file(deployments(site())), encoding="utf-8")
    deployed = subprocess.run(
        [Path(sys.executable).with_name("prefect"), "--no-prompt", "deploy", "--all"],
        cwd=tmp_path,
        env=os.environ | {"PREFECT_API_URL": server.api_url},
        capture_output=True,
        text=True,
        check=False,
    )

    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    for name, deployment in found().items():
        assert comparable(deployment) == applied.pop(name)
    assert not applied
    assert not asyncio.run(plan(site()))


def comparable(deployment: DeploymentResponse) -> dict[str, Any]:
    return found_fields(deployment) | {
        "digest": sorted(deployment.tags),
        "version": deployment.version,
        "schema": deployment.parameter_openapi_schema,
        "enforced": deployment.enforce_parameter_schema,
        "pull": deployment.pull_steps,
        "paused": deployment.paused,
    }


def test_a_server_that_does_not_answer_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.orchestrator.embedded import _prefect_settings

    with _prefect_settings("http://127.0.0.1:9/api"), pytest.raises(OrchestratorError, match=r"didn't answer.*run: sluice up"):
        asyncio.run(plan(site()))
