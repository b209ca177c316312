"""Examine Prefect as a site needs it: server, database, pools, queues, workers, deployments.

Import it within ``reached``: Prefect reads its settings once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import prefect
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import WorkerStatus

from infra.orchestrator.apply import plan
from infra.orchestrator.server_objects import read_pools
from infra.orchestrator.translate import translated
from sluice.distributor.plan.deployments import pools
from sluice.errors import SluiceError
from sluice.model.site import Site
from sluice.rules import diagnosis
from sluice.rules.diagnosis import Finding, Health, WorkerSeen

SHOWN = 3
"""Most changes that are named."""


async def look(site: Site, *, embedded: bool, now: datetime) -> list[Finding]:
    """Examine a server that answers.

    Args:
        embedded: Whether it is the server of ``sluice up``, whose database is SQLite.
    """
    found: list[Finding] = []
    try:
        with translated("connecting"):
            async with get_client() as client:
                found += await _server(client, site, embedded=embedded)
                found += await _pools(client, site, now)
        found.append(_in_line(len((changes := await plan(site)).changes), [str(change) for change in changes.changes]))
    except SluiceError as error:
        found.append(Finding(Health.FAILED, "prefect", "server", error.message, error.remedy))
    return found


async def _server(client: PrefectClient, site: Site, *, embedded: bool) -> list[Finding]:
    answer = await client.request("GET", "/admin/settings")
    kind = "sqlite" if embedded else str(answer.json()["server"]["database"]["driver"] or "").partition("+")[0]
    found = [
        Finding(Health.OK, "prefect", "server", f"{client.api_url} answers and lets us in"),
        diagnosis.server_version(await client.api_version(), prefect.__version__),
        diagnosis.database(kind, distributors=len(site.distributors), subscribers=sum(s.active for s in site.subscribers.values())),
    ]
    if date := answer.headers.get("date"):
        found.append(diagnosis.clocks_apart("prefect", "clock", parsedate_to_datetime(date) - datetime.now(UTC)))
    return found


async def _pools(client: PrefectClient, site: Site, now: datetime) -> list[Finding]:
    existing, found = await read_pools(client), []
    for pool in pools(site):
        if pool.name not in existing:
            found.append(Finding(Health.FAILED, "prefect", f"pool {pool.name}", "it doesn't exist", "run `sluice apply`"))
            continue
        if existing[pool.name].is_paused:
            found.append(Finding(Health.WARNING, "prefect", f"pool {pool.name}", "it is paused: nothing runs", "resume it in Prefect"))
        found += [
            Finding(Health.WARNING, "prefect", f"queue {pool.name}/{queue.name}", "it is paused", "resume it in Prefect")
            for queue in await client.read_work_queues(work_pool_name=pool.name)
            if queue.is_paused
        ]
        seen = await client.read_workers_for_work_pool(pool.name)
        found.append(
            diagnosis.workers(
                pool.name,
                [WorkerSeen(each.name, each.status is WorkerStatus.ONLINE, each.last_heartbeat_time) for each in seen],
                now,
            )
        )
    return found


def _in_line(number: int, changes: list[str]) -> Finding:
    if not number:
        return Finding(Health.OK, "prefect", "deployments", "in line with the site")
    more = f" and {number - SHOWN} more" if number > SHOWN else ""
    return Finding(
        Health.WARNING, "prefect", "deployments", f"not as the site says: {', '.join(changes[:SHOWN])}{more}", "run `sluice apply`"
    )
