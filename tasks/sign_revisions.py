"""Sign: publish what can be sent, and renew what nears its expiry."""

from __future__ import annotations

import asyncio

from prefect import task

from sluice.distributor.build.record import sign_recorded
from tasks.run_context import current, log
from tasks.settings import LOCAL


@task(
    name="sign",
    task_run_name="sign {what}",
    description="Publish signed metadata of what can be sent; unchanged, nothing is published",
    **LOCAL,
)
async def sign_revisions(what: str, distributions: list[str]) -> list[str]:
    """Sign Distributions; with none, what nears its expiry.

    Args:
        what: For the run's name.
    Returns:
        The roles that got a new version.
    Raises:
        TrustError: The Distributor has no keys.
    """
    work = current().work
    published = await asyncio.to_thread(sign_recorded, work, distributions)
    if published.changed:
        log().info("published timestamp %s: %s", published.timestamp, ", ".join(published.changed))
    else:
        log().info("the signed metadata is up to date (timestamp %s)", published.timestamp)
    return list(published.changed)
