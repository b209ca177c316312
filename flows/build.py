"""Build and sign one Distribution; if it sends immediately, have its Channels send."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.settings import COMMON
from tasks.build_revision import build_revision
from tasks.notify_people import mailing_people
from tasks.plan import was_never_offered
from tasks.report import ended, name_run, show_next_times
from tasks.run_context import read_site, run_context
from tasks.sign_revisions import sign_revisions
from tasks.start_sends import start_sends


@flow(
    name="build",
    flow_run_name="build {distribution}",
    description="Build a new revision of a Distribution if its sources changed, and sign it.",
    **COMMON,
)
async def build(distribution: str, rebaseline: bool = False, allow_removals: bool = False) -> State[Any]:
    """Build one Distribution.

    Args:
        distribution: Its name.
        rebaseline: Build a new baseline even if nothing changed (C8).
        allow_removals: Build also if a source became empty or lost more than max_removals.
    """
    site = read_site()
    if distribution not in site.distributions:
        return ended("Gone", f"Distribution {distribution} isn't in the site any more; the next refresh or apply removes this deployment")
    subject = site.distribution(distribution)
    if not subject.active:
        return ended("Inactive", f"Distribution {distribution} is inactive")
    with run_context(site, subject.distributor) as context:
        await show_next_times(site, subject.distributor)
        result = await context.step(build_revision, distribution, rebaseline, allow_removals)
        if newest := result.revision or result.previous:
            await name_run(f"build {distribution} {newest}", site, [(distribution, str(newest))])
        await context.step(sign_revisions, distribution, [distribution])
        async with mailing_people(subject):
            # Also one that an earlier run built and was killed before it sent it.
            if subject.send_immediately and newest is not None and await was_never_offered(context, distribution):
                await start_sends(distribution, str(newest))
            remark = f"; {result.remark}" if result.remark else ""
            if result.revision is None:
                return ended("No change", f"{distribution}: no change since {result.previous or 'ever'}{remark}")
            revision = str(result.revision)
            return Completed(message=f"built {distribution} {revision}{remark}", data={"distribution": distribution, "revision": revision})
