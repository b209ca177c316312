"""Sign what can be sent of one Distribution."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.settings import COMMON
from tasks.run_context import read_site, run_context
from tasks.sign_revisions import sign_revisions


@flow(
    name="sign",
    flow_run_name="sign {distribution}",
    description="Publish signed metadata of what can be sent of a Distribution.",
    **COMMON,
)
async def sign(distribution: str) -> State[Any]:
    """Sign one Distribution; unchanged, nothing is published."""
    site = read_site()
    with run_context(site, site.distribution(distribution).distributor):
        changed = await sign_revisions(distribution, [distribution])
    message = f"published {', '.join(changed)}" if changed else "the signed metadata is up to date"
    return Completed(message=message, data={"roles": changed})
