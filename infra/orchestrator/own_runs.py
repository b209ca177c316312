"""Run a flow in this process as a run of its deployment, if ``apply`` made one (J3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateDetails
from prefect.exceptions import ObjectNotFound
from prefect.flow_engine import run_flow_async
from prefect.states import Cancelled, Pending, Scheduled
from prefect.utilities.callables import get_call_parameters

NEVER = timedelta(days=3650)
"""No worker takes a run that is scheduled so late, if this process is killed before it has it pending."""


async def run_here(flow: Flow[..., Any], parameters: Mapping[str, Any], deployment: str) -> State[Any]:
    """Run a flow and return its end.

    Args:
        deployment: Full name; empty, or not on the server: the run belongs to none.
    """
    run = await _pending(deployment, parameters) if deployment else None
    found = get_call_parameters(flow.fn, (), dict(parameters))
    state: State[Any] = await run_flow_async(flow, flow_run=run, parameters=found, return_type="state")  # type: ignore[assignment]
    return state


async def _pending(deployment: str, parameters: Mapping[str, Any]) -> FlowRun | None:
    """Create a run of a deployment that no worker takes, and have it pending with its slot; None if it would have to wait for one."""
    now = datetime.now(UTC)
    async with get_client() as client:
        try:
            found = await client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            return None
        limit = found.global_concurrency_limit
        if limit is not None and limit.active_slots >= limit.limit:
            return None
        # A run that is created pending gets no slot and gives one back at its end, which is then another run's.
        run = await client.create_flow_run_from_deployment(
            found.id, parameters=dict(parameters), state=Scheduled(scheduled_time=now + NEVER)
        )
        wanted: State[Any] = Pending(state_details=StateDetails.model_validate({"scheduled_time": now}))
        reply = await client.set_flow_run_state(run.id, wanted)
        if reply.state is not None and reply.state.is_pending():
            return await client.read_flow_run(run.id)
        await client.set_flow_run_state(run.id, Cancelled(message="another run of its deployment came first"), force=True)
        return None
