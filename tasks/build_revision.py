"""Build: scan a Distribution's sources and make the next revision if anything changed."""

from __future__ import annotations

import asyncio

from prefect import task

from sluice.distributor.build.build import BuildResult
from sluice.distributor.build.record import build_recorded
from tasks.place import here, log
from tasks.progress import reported
from tasks.settings import COMMON, LOCAL_RETRIES, LOCAL_RETRY_SECONDS, if_retryable
from tasks.wording import counted, size


@task(
    name="build revision",
    task_run_name="build {distribution}",
    description="Scan the sources; where something changed, make the next revision",
    retries=LOCAL_RETRIES,
    retry_delay_seconds=LOCAL_RETRY_SECONDS,
    retry_condition_fn=if_retryable,
    **COMMON,
)
async def build_revision(distribution: str, rebaseline: bool = False) -> BuildResult:
    """Build one Distribution. Raises SourceError, StoreError, and TrustError before anything is read where nothing could be signed."""
    place = here()
    work = place.work
    await asyncio.to_thread(work.publisher.check_keys)
    async with reported(f"reading the sources of {distribution}") as progress:
        result = await asyncio.to_thread(
            build_recorded,
            work.site.distribution(distribution),
            store=work.store,
            source=work.source,
            ledger=work.ledger,
            clock=work.clock,
            flow_run=place.flow_run,
            rebaseline=rebaseline,
            progress=progress,
        )
    log().info("%s", told(result))
    return result


def told(result: BuildResult) -> str:
    """What a build did, in one line. What each Subscriber is sent depends on what it has: the new content is the same for all."""
    found = f"{counted(result.files, 'file')}, {size(result.bytes)}, {result.files_read} of them read"
    if result.revision is None:
        return f"{result.distribution}: no change since {result.previous or 'ever'} ({found})"
    changes = f"{result.added} added, {result.modified} modified, {result.removed} removed"
    return f"{result.distribution} {result.revision}: {found}; {changes}; {size(result.bytes_new)} of new content"
