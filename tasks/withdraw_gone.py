"""Withdraw what left the site, at a refresh (A14): nothing of such a Distribution can be sent or started any more."""

from __future__ import annotations

import asyncio

from prefect import task

from infra.orchestrator.apply import remove_gone
from sluice.distributor.build.withdraw import withdraw
from tasks.run_context import current, log
from tasks.settings import COMMON


@task(
    name="withdraw",
    task_run_name="withdraw what is gone of {distributor}",
    description="Remove deployments and signatures of what left the site",
    **COMMON,
)
async def withdraw_gone(distributor: str) -> list[str]:
    """Remove deployments, and sign that nothing of them can be sent.

    Returns:
        The withdrawn objects.
    """
    work = current().work
    removed = await remove_gone(work.site, distributor)
    unlisted = await asyncio.to_thread(withdraw, work)
    for name in (*removed, *unlisted):
        log().info("withdrew %s", name)
    return [*removed, *unlisted]
