"""``sluice up`` tells of each flow run once as it begins and once as it ends, on a real Prefect server."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.states import Cancelled, Completed, Failed, Running

from infra.orchestrator.follow import Follower

pytestmark = pytest.mark.usefixtures("server")
ENDS = [
    (Completed(message="send night: 3 of 3 Subscribers done"), "completed", "send night: 3 of 3 Subscribers done"),
    (Failed(message="send night: 2 of 3 Subscribers done. oslo (zone): no\x1b[31m space"), "failed", "no [31m space"),
    (Completed(name="No change", message="zone: no change since 1.1"), "no change", "zone: no change since 1.1"),
    (Cancelled(message=""), "cancelled", ""),
]


@flow(name="followed")
def followed() -> None:
    """Stands for any."""


def test_each_begin_and_each_end_is_told_once_with_how_long_it_took() -> None:
    told: list[str] = []

    async def scene(client: PrefectClient) -> None:
        before = await client.create_flow_run(followed, name="before", state=Completed())
        follower = Follower(client, told.append, since=datetime.now(UTC) + timedelta(milliseconds=1))
        await follower.look()
        assert before.name not in str(told)
        told.clear()  # runs that killed flows of other tests left
        for number, (end, outcome, sentence) in enumerate(ENDS):
            run = await client.create_flow_run(followed, name=f"send night {number}")
            await follower.look()
            assert not told
            await client.set_flow_run_state(run.id, Running(), force=True)
            await follower.look()
            await follower.look()
            assert [line.partition(" send ")[2] for line in told] == [f"night {number}: begun"]
            await client.set_flow_run_state(run.id, end, force=True)
            await follower.look()
            await follower.look()
            told.pop(0)
            (line,) = told
            assert re.match(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d send night {number}: {outcome} in [0-9.]+ s", line)
            assert sentence in line
            assert "\x1b" not in line
            told.clear()

    async def run() -> None:
        async with get_client() as client:
            await scene(client)

    asyncio.run(run())
