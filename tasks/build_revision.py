"""Build: scan a Distribution's sources and make the next revision if anything changed."""

from __future__ import annotations

import asyncio

from prefect import task

from sluice.distributor.build.build import BuildResult
from sluice.distributor.build.record import build_recorded
from sluice.distributor.deliver.under_way import BOARD
from sluice.rules.space import size
from sluice.rules.wording import counted
from tasks.progress import shown
from tasks.run_context import current, log
from tasks.settings import LOCAL


@task(
    name="build revision",
    task_run_name="build {distribution}",
    description="Scan the sources; if something changed, make the next revision",
    **LOCAL,
)
async def build_revision(distribution: str, rebaseline: bool = False, allow_removals: bool = False) -> BuildResult:
    """Build one Distribution. Raises SourceError, StoreError, and TrustError before anything is read if nothing could be signed."""
    work = current().work
    step, options = BOARD.begin(distribution), {"rebaseline": rebaseline, "allow_removals": allow_removals}
    step.now("reading its sources")
    async with shown(step):
        result = await asyncio.to_thread(
            build_recorded, work, distribution, progress=step.at("reading its sources"), making=step.at("making a delta"), **options
        )
    step.end = f"built {result.revision}" if result.revision else "no change"
    log().info("%s", described(result))
    if result.remark:
        log().warning("%s", result.remark)
    return result


def described(result: BuildResult) -> str:
    """Describe a build in one line. The bytes sent depend on what each Subscriber has: the new content is the same for all."""
    found = f"{counted(result.files, 'file')}, {size(result.bytes)}, {result.files_read} read"
    if result.revision is None:
        return f"{result.distribution}: no change since {result.previous or 'ever'} ({found})"
    changes = f"{result.added} added, {result.modified} modified, {result.removed} removed"
    return f"{result.distribution} {result.revision}: {found}; {changes}; {size(result.bytes_new)} of new content"
