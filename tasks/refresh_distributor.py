"""Refresh: withdraw what left the site (A14), and record that a Distributor took up the site as it is."""

from __future__ import annotations

import asyncio

from prefect import task

from infra.orchestrator.apply import remove_gone
from sluice.distributor.build.withdraw import withdraw
from sluice.distributor.context import event_of
from sluice.model.event import EventKind
from tasks.run_context import current, log
from tasks.settings import COMMON


@task(
    name="withdraw",
    task_run_name="withdraw what is gone of {distributor}",
    description="Remove deployments and signatures of what left the site",
    **COMMON,
)
async def withdraw_gone(distributor: str) -> list[str]:
    """Remove deployments, and sign that nothing of such a Distribution can be sent or started any more.

    Returns:
        The withdrawn objects.
    """
    work = current().work
    removed = await remove_gone(work.site, distributor)
    unlisted = await asyncio.to_thread(withdraw, work)
    for name in (*removed, *unlisted):
        log().info("withdrew %s", name)
    return [*removed, *unlisted]


@task(name="record refresh", task_run_name="note the refresh of {distributor}", description="Note the refresh in the ledger", **COMMON)
async def record_refresh(distributor: str, withdrawn: int) -> None:
    """Record it. Raises LedgerError."""
    work = current().work
    await asyncio.to_thread(work.ledger.record, event_of(work, EventKind.REFRESHED, data={"withdrawn": withdrawn}))
