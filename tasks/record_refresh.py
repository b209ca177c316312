"""Refresh: record in the ledger that a Distributor took up the site as it is."""

from __future__ import annotations

import asyncio

from prefect import task

from sluice.distributor.context import event_of
from sluice.model.event import EventKind
from tasks.run_context import current
from tasks.settings import COMMON


@task(name="record refresh", task_run_name="note the refresh of {distributor}", description="Note the refresh in the ledger", **COMMON)
async def record_refresh(distributor: str, withdrawn: int) -> None:
    """Record it. Raises LedgerError."""
    work = current().work
    await asyncio.to_thread(work.ledger.record, event_of(work, EventKind.REFRESHED, data={"withdrawn": withdrawn}))
