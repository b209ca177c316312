"""Refresh: note in the ledger that a Distributor took up the site as it stands."""

from __future__ import annotations

import asyncio

from prefect import task

from sluice.model.event import Event, EventKind
from tasks.place import here
from tasks.settings import COMMON


@task(name="record refresh", task_run_name="note the refresh of {distributor}", description="Note the refresh in the ledger", **COMMON)
async def record_refresh(distributor: str, withdrawn: int) -> None:
    """Record it. Raises LedgerError."""
    place = here()
    work = place.work
    event = Event(work.clock.now(), EventKind.REFRESHED, distributor, flow_run=place.flow_run, data={"withdrawn": withdrawn})
    await asyncio.to_thread(work.ledger.record, event)
