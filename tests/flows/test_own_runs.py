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
from prefect.states import Pending, Running

from infra.orchestrator.own_runs import run_here
from sluice.blueprint import load_site
from tests.cli.real_site import RealSite, forked_site
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
    site = forked_site(tmp_path, monkeypatch, a="a")
    site.write(SITE)
    return site


def run(flow: str, name: str, **parameters: str) -> State[Any]:
    return asyncio.run(run_here(getattr(import_module(f"flows.{flow}"), flow), parameters, f"{flow}/{name}"))


def deployment(name: str) -> Any:
    async def read() -> Any:
        async with get_client() as client:
            return await client.read_deployment_by_name(name)

    return asyncio.run(read())


def test_a_run_has_its_tags_and_belongs_to_its_deployment_as_soon_as_there_is_one(real: RealSite) -> None:
    before = as_seen(run("distribute", "own", distribution="own"), tasks=5)
    assert before.run.name == "distribute own 1.1 → 1 Subscriber"
    assert {"distribution:own", "revision:1.1", "priority:high"} <= set(before.run.tags)
    assert as_seen(run("extract", "hq", distributor="hq"), tasks=0).run.deployment_id is None

    asyncio.run(apply(load_site(real.directory)))
    text = deployment("build/own").description
    for line in ("- priority high", "- build every 2 h (", "- send web: never", "- extract immediately", "- refresh never"):
        assert line in text
    after = as_seen(run("extract", "hq", distributor="hq"), tasks=0)
    assert (after.run.deployment_id, after.run.state_name) == (deployment("extract/hq").id, "Nothing due")
    assert "distributor:hq" in after.run.tags


def test_a_run_of_a_deployment_with_a_limit_belongs_to_none_and_takes_no_slot(real: RealSite) -> None:
    """A command does what it was asked for, also while a worker builds, and frees no slot of that worker."""
    asyncio.run(apply(load_site(real.directory)))

    async def taken() -> None:
        async with get_client() as client:
            working = await client.create_flow_run_from_deployment(deployment_id)
            await client.set_flow_run_state(working.id, Pending())
            await client.set_flow_run_state(working.id, Running())

    deployment_id = deployment("distribute/own").id
    asyncio.run(taken())
    assert as_seen(run("distribute", "own", distribution="own"), tasks=5).run.deployment_id is None
    limit = deployment("distribute/own").global_concurrency_limit
    assert (limit.limit, limit.active_slots) == (1, 1)


def test_the_next_times_of_a_distributor_stand_in_one_table(real: RealSite) -> None:
    asyncio.run(apply(load_site(real.directory)))
    run("distribute", "own", distribution="own")

    async def tables() -> list[Any]:
        async with get_client() as client:
            return await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["next-times-hq"])))

    (table,) = asyncio.run(tables())
    (row,) = json.loads(str(table.data))
    assert (row["Stage"], row["Name"]) == ("build", "own")
    assert row["Schedule"].startswith("every 2 h (")
    assert row["Next"].endswith(":00Z")
