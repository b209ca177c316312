"""Runs of a command belong to their deployment and carry tags, on a real Prefect server with a real agent."""

import asyncio
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State
from prefect.states import Completed, Pending, Running

from infra.orchestrator.own_runs import run_here
from infra.transports.local import LocalTransport
from sluice.blueprint import load_site
from tests.agents.workbench import ForkedAgents
from tests.cli.real_site import RealSite
from tests.flows.applied import apply
from tests.flows.seen import as_seen
from tests.flows.test_apply import clean_server

__all__ = ["clean_server"]
pytestmark = pytest.mark.usefixtures("clean_server")

SITE = """\
---
kind: Distribution
name: own
distributor: hq
type: file
priority: high
channels: [web]
extract: immediately
build: {every: 2 h}
files:
  - {source: src, destination: "{{ LOCAL_DIRECTORY }}/tree"}
"""


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealSite:
    monkeypatch.setattr(LocalTransport, "connect", ForkedAgents.connect)
    monkeypatch.setenv("SLUICE_SITE", str(tmp_path / "site"))
    site = RealSite(tmp_path / "site")
    (site.directory / "src").mkdir()
    (site.directory / "src/a").write_text("a")
    site.write(SITE)
    return site


def distribute() -> State[Any]:
    return asyncio.run(run_here(import_module("flows.distribute").distribute, {"distribution": "own"}, "distribute/own"))


def test_a_run_belongs_to_its_deployment_as_soon_as_there_is_one(real: RealSite) -> None:
    before = as_seen(distribute(), tasks=5)
    assert before.run.deployment_id is None
    assert {"distribution:own", "revision:1.1", "priority:high"} <= set(before.run.tags)
    assert before.run.name == "distribute own 1.1 → 1 Subscriber"

    asyncio.run(apply(load_site(real.directory)))

    async def deployment() -> Any:
        async with get_client() as client:
            return await client.read_deployment_by_name("distribute/own")

    found = asyncio.run(deployment())
    for line in ("- priority high", "- build every 2 h (", "- send web: never", "- extract immediately", "- refresh never"):
        assert line in found.description
    after = as_seen(distribute(), tasks=2)
    assert (after.run.deployment_id, after.run.state_type.value if after.run.state_type else "") == (found.id, "COMPLETED")
    assert after.run.parameters == {"distribution": "own"}
    assert {"sluice", "distribution:own", "revision:1.1", "priority:high"} <= set(after.run.tags)


def test_a_run_that_would_have_to_wait_for_another_of_its_deployment_belongs_to_none(real: RealSite) -> None:
    """A command does what it was asked for; a run that waits in Prefect would be taken by a worker."""
    asyncio.run(apply(load_site(real.directory)))

    async def other() -> Any:
        async with get_client() as client:
            found = await client.read_deployment_by_name("distribute/own")
            run = await client.create_flow_run_from_deployment(found.id)
            await client.set_flow_run_state(run.id, Pending())
            await client.set_flow_run_state(run.id, Running())
            return run.id

    async def of_it(id_: Any) -> list[Any]:
        async with get_client() as client:
            deployment = (await client.read_flow_run(id_)).deployment_id
            found = [run.id for run in await client.read_flow_runs() if run.deployment_id == deployment]
            await client.set_flow_run_state(id_, Completed())
            return found

    busy = asyncio.run(other())
    seen = as_seen(distribute(), tasks=5)
    assert seen.run.deployment_id is None
    assert asyncio.run(of_it(busy)) == [busy]


def test_the_next_times_of_a_distributor_stand_in_one_table(real: RealSite) -> None:
    asyncio.run(apply(load_site(real.directory)))
    distribute()

    async def tables() -> list[Any]:
        async with get_client() as client:
            return await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["next-times-hq"])))

    (table,) = asyncio.run(tables())
    (row,) = json.loads(str(table.data))
    assert (row["Stage"], row["Name"]) == ("build", "own")
    assert row["Schedule"].startswith("every 2 h (")
    assert row["Next"].endswith(":00Z")
