"""Read Prefect's objects into plain fields and write them from specs. One function per object; each may be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, StateType, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from sluice.distributor.plan.deployments import DIGEST_TAG, INACTIVE_TAG, TAG, DeploymentSpec, PoolSpec, ScheduleSpec, keeps_active

PAGE = 200
"""Objects in one answer: Prefect's default ceiling."""
WORKER_TYPE = "process"
_SOON = timedelta(seconds=20)
"""Time to a start in which the server's scheduler may not look: it looks every 5 s."""
_PAST = timedelta(seconds=1)
"""Time after which a start has come by the server's clock too."""
_PATIENCE = timedelta(minutes=1)
"""Longest wait for the starts of one deployment."""
_CLOCKS_APART = timedelta(minutes=5)
"""Most by which the server's clock may be behind ours if no start is to be lost."""


async def read_deployments(client: PrefectClient, flows: Collection[str]) -> dict[str, DeploymentResponse]:
    """Return all deployments of flows with these names and all that carry Sluice's tag, by full name; each is read once.

    A flow at a time: within one their names, by which the server sorts them, don't repeat, so that no page misses one.
    """
    found: dict[str, DeploymentResponse] = {}
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    others = {flow.name for flow in await client.read_flows(deployment_filter=tagged, limit=PAGE)}.difference(flows)
    for flow in (*flows, *sorted(others)):
        only, of_flow = tagged if flow in others else None, FlowFilter(name=FlowFilterName(any_=[flow]))
        offset = 0
        while page := await client.read_deployments(flow_filter=of_flow, deployment_filter=only, limit=PAGE, offset=offset):
            found |= {f"{flow}/{deployment.name}": deployment for deployment in page}
            offset += len(page)
            if len(page) < PAGE:
                break
    return found


async def read_pools(client: PrefectClient) -> dict[str, WorkPool]:
    """Return all work pools, by name."""
    found: dict[str, WorkPool] = {}
    while page := await client.read_work_pools(limit=PAGE, offset=len(found)):
        found |= {pool.name: pool for pool in page}
        if len(page) < PAGE:
            break
    return found


async def deployments_in(client: PrefectClient, pool: str) -> list[DeploymentResponse]:
    """Return the deployments whose runs a pool takes, whoever they belong to."""
    found: list[DeploymentResponse] = []
    only = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    while page := await client.read_deployments(work_pool_filter=only, limit=PAGE, offset=len(found)):
        found += page
        if len(page) < PAGE:
            break
    return found


async def read_queues(client: PrefectClient, pool: str) -> dict[str, int | None]:
    """Return the priorities of a pool's queues, by name."""
    return {queue.name: queue.priority for queue in await client.read_work_queues(work_pool_name=pool)}


def pool_fields(pool: PoolSpec | WorkPool) -> dict[str, Any]:
    """Return the compared fields of a pool."""
    limit = pool.limit if isinstance(pool, PoolSpec) else pool.concurrency_limit
    return {"description": pool.description, "limit": limit}


async def write_pool(client: PrefectClient, pool: PoolSpec, *, exists: bool) -> None:
    """Create the pool, or update its limit and description."""
    if exists:
        await client.update_work_pool(pool.name, WorkPoolUpdate(description=pool.description, concurrency_limit=pool.limit))
        return
    template = await get_default_base_job_template_for_infrastructure_type(WORKER_TYPE)
    await client.create_work_pool(
        WorkPoolCreate(
            name=pool.name,
            description=pool.description,
            type=WORKER_TYPE,
            base_job_template=template or {},
            concurrency_limit=pool.limit,
        )
    )


async def write_queue(client: PrefectClient, pool: str, queue: str, priority: int, *, exists: bool) -> None:
    """Create the queue, or update its priority; Prefect moves the other queues' priorities."""
    if not exists:
        await client.create_work_queue(queue, priority=priority, work_pool_name=pool)
        return
    found = await client.read_work_queue_by_name(queue, work_pool_name=pool)
    await client.update_work_queue(found.id, priority=priority)


def spec_fields(spec: DeploymentSpec, found: DeploymentResponse | None = None) -> dict[str, Any]:
    """Return the compared fields of a deployment, as the site wants it; a pause that somebody made in ``found`` stays."""
    return {
        "entrypoint": spec.entrypoint,
        "parameters": dict(spec.parameters),
        "schedules": [
            _schedule_fields(s.slug, _as_sent(s).schedule, s.active) for s in sorted(kept_schedules(spec, found), key=lambda s: s.slug)
        ],
        **_tag_fields(spec.tags),
        "description": spec.description,
        "pool": spec.pool,
        "queue": spec.queue,
        "limit": spec.limit,
        "collision": spec.collision.value if spec.collision else None,
        "environment": dict(spec.environment),
        "job_variables": {},
    }


def found_fields(found: DeploymentResponse) -> dict[str, Any]:
    """Return the compared fields of a deployment, as Prefect has it."""
    schedules = sorted(found.schedules, key=lambda s: s.slug or "")
    limit = found.global_concurrency_limit
    options = found.concurrency_options
    return {
        "entrypoint": found.entrypoint,
        "parameters": found.parameters,
        "schedules": [_schedule_fields(s.slug or "", s.schedule, s.active) for s in schedules],
        **_tag_fields(found.tags),
        "description": found.description,
        "pool": found.work_pool_name,
        "queue": found.work_queue_name,
        "limit": limit.limit if limit else None,
        "collision": options.collision_strategy.value if options else None,
        "environment": found.job_variables.get("env") or {},
        "job_variables": {key: value for key, value in found.job_variables.items() if key != "env"},
    }


def _tag_fields(tags: Iterable[str]) -> dict[str, Any]:
    shown = sorted(t for t in tags if t != INACTIVE_TAG and not t.startswith(DIGEST_TAG))
    return {"active": INACTIVE_TAG not in tags, "tags": shown}


def kept_schedules(spec: DeploymentSpec, found: DeploymentResponse | None) -> tuple[ScheduleSpec, ...]:
    """Return the spec's schedules; those that somebody paused in Prefect stay paused."""
    before = {s.slug: s.active for s in found.schedules} if found else {}
    was_inactive = found is not None and INACTIVE_TAG in found.tags
    return tuple(replace(s, active=keeps_active(s.active, before.get(s.slug), was_inactive=was_inactive)) for s in spec.schedules)


async def write_deployment(
    client: PrefectClient, spec: DeploymentSpec, found: DeploymentResponse | None, say: Callable[[str], object]
) -> None:
    """Write every field of the deployment: Prefect replaces it as a whole, and loses no start of its schedules over it.

    Args:
        say: Called with a start that is waited for.
    """
    planned = await _planned_starts(client, found.id) if found else {}
    await _let_begin(spec.full_name, list(planned.values()), say)
    # The flow itself says what parameters it takes, as it does for `prefect deploy`; imported by name, since flows stand above.
    flow: Flow[..., Any] = load_flow_from_entrypoint(spec.entrypoint)
    options = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(spec.collision.value)) if spec.collision else None
    await client.create_deployment(
        flow_id=await client.create_flow_from_name(spec.flow),
        name=spec.name,
        version=flow.version,
        schedules=[_as_sent(schedule) for schedule in kept_schedules(spec, found)],
        concurrency_limit=spec.limit,
        concurrency_options=options,
        parameters=dict(spec.parameters),
        description=spec.description,
        work_pool_name=spec.pool,
        work_queue_name=spec.queue,
        tags=list(spec.all_tags),
        entrypoint=spec.entrypoint,
        parameter_openapi_schema=parameter_schema(flow).model_dump(exclude_unset=True),
        enforce_parameter_schema=True,
        pull_steps=[],
        job_variables={"env": dict(spec.environment)},
    )
    if found:
        await _plan_again(client, found.id, planned)


async def _planned_starts(client: PrefectClient, deployment: UUID) -> dict[UUID, datetime]:
    """Return the starts to come that the server has planned, by their runs; not those that wait since long."""
    to_come = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        next_scheduled_start_time=FlowRunFilterNextScheduledStartTime.model_validate({"after_": datetime.now(UTC) - _CLOCKS_APART}),
    )
    runs = await client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=to_come,
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=PAGE,
    )
    return {run.id: run.next_scheduled_start_time for run in runs if run.auto_scheduled and run.next_scheduled_start_time}


async def _let_begin(name: str, starts: Sequence[datetime], say: Callable[[str], object]) -> None:
    """Wait until no start is due soon: a run whose start has come isn't deleted, and the server's scheduler knows the others in time.

    Starts that come closer one after the other than that aren't waited for longer than ``_PATIENCE``.
    """
    until = datetime.now(UTC) + _PATIENCE
    while (now := datetime.now(UTC)) < until and (soon := [at for at in starts if now < at + _PAST <= now + _SOON]):
        say(f"{name} starts at {soon[0]:%H:%M:%S} UTC: it is updated after that")
        await asyncio.sleep((soon[0] + _PAST - now).total_seconds())


async def _plan_again(client: PrefectClient, deployment: UUID, planned: dict[UUID, datetime]) -> None:
    """Have the server plan the schedules' starts from the first on that an update deleted.

    Its own scheduler does so within seconds, but only starts that are still to come then. It knows a start by schedule and instant, so
    none is planned twice; those before were not deleted, and wait or run.
    """
    kept = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(planned))), limit=PAGE) if planned else []
    if lost := planned.keys() - {run.id for run in kept}:
        first = min(planned[run] for run in lost)
        await client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment}, json={"start_time": first.isoformat()})


def _as_sent(spec: ScheduleSpec) -> DeploymentScheduleCreate:
    """Return a schedule as the server will keep it: a rule without a beginning is given one on the way."""
    return DeploymentScheduleCreate.model_validate({"slug": spec.slug, "active": spec.active, "schedule": dict(spec.rule)})


def _schedule_fields(slug: str, schedule: Any, active: bool) -> dict[str, Any]:
    return {"slug": slug, "active": active, **schedule.model_dump(mode="json", exclude_none=True)}
