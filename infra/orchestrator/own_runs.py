"""Run a flow in this process as a run of its deployment, if ``apply`` made one (J3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.flow_engine import run_flow_async
from prefect.states import Pending
from prefect.utilities.callables import get_call_parameters


async def run_here(flow: Flow[..., Any], parameters: Mapping[str, Any], deployment: str) -> State[Any]:
    """Run a flow and return its end.

    Args:
        deployment: Full name; empty, or not on the server: the run belongs to none.
    """
    found = get_call_parameters(flow.fn, (), dict(parameters))
    run = await _pending(deployment, parameters) if deployment else None
    # Its types leave out what return_type does.
    state: State[Any] = await run_flow_async(flow, flow_run=run, parameters=found, return_type="state")  # type: ignore[assignment]
    return state


async def _pending(deployment: str, parameters: Mapping[str, Any]) -> FlowRun | None:
    """Create a run of a deployment that is pending from its beginning, so that no worker takes it.

    None of a deployment that has a limit: the run would take a slot, and keep it if this process is killed; without one it would give
    back another's.
    """
    async with get_client() as client:
        try:
            found = await client.read_deployment_by_name(deployment)
            if found.global_concurrency_limit is not None:
                return None
            return await client.create_flow_run_from_deployment(found.id, parameters=dict(parameters), state=Pending())
        except (ObjectNotFound, PrefectHTTPStatusError):  # it isn't there, or an older version's
            return None
