"""Refresh a Distributor: take up the site as it is, renew signatures, withdraw what is gone."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.settings import COMMON
from sluice.rules.wording import counted
from tasks.refresh_distributor import record_refresh, withdraw_gone
from tasks.report import ended, show_next_times
from tasks.run_context import read_site, run_context
from tasks.sign_revisions import sign_revisions


@flow(
    name="refresh",
    flow_run_name="refresh {distributor}",
    description="Re-read the site for a Distributor, renew its signatures, withdraw what left the site.",
    **COMMON,
)
async def refresh(distributor: str) -> State[Any]:
    """Refresh one Distributor (A12, A13)."""
    site = read_site()
    if distributor not in site.distributors:
        return ended("Gone", f"Distributor {distributor} isn't in the site any more; the next apply removes this deployment")
    with run_context(site, distributor):
        await show_next_times(site, distributor)
        withdrawn = await withdraw_gone(distributor)
        owned = [d.name for d in site.distributions_of_distributor(distributor)]
        changed = await sign_revisions(f"what is sendable of {distributor}", owned)
        await record_refresh(distributor, len(withdrawn))
    message = f"{counted(len(changed), 'role')} renewed, {counted(len(withdrawn), 'object')} withdrawn"
    return Completed(message=message, data={"renewed": changed, "withdrawn": withdrawn})
