"""Build, sign, send and extract one Distribution at once, whatever the schedules say."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.settings import COMMON
from sluice.model.order import Demand
from sluice.rules.wording import counted
from tasks.build_revision import build_revision
from tasks.fan_out import extract_all, send_all
from tasks.notify_people import mailing_people
from tasks.plan import due_extracts, hosts_of, planned_sends
from tasks.report import end_state, ended, name_run, publish_table, show_next_times
from tasks.run_context import read_site, run_context
from tasks.sign_revisions import sign_revisions


@flow(
    name="distribute",
    flow_run_name="distribute {distribution}",
    description="Build, sign, send and extract a Distribution now, whatever the schedules say.",
    **COMMON,
)
async def distribute(
    distribution: str,
    to: list[str] | None = None,
    rebaseline: bool = False,
    allow_removals: bool = False,
    verify: bool = False,
    force: bool = False,
) -> State[Any]:
    """Distribute one Distribution to those its Channels join it with.

    Args:
        distribution: Its name.
        to: Only these Subscribers.
        rebaseline: Build a new baseline even if nothing changed (C8).
        allow_removals: Build also if a source became empty or lost more than max_removals, and have that removed.
        verify: Have also what is installed read back, and repaired if it differs.
        force: Have every file written anew and the actions run, also if it is installed.
    """
    site, demand = read_site(), Demand.of(verify=verify, force=force)
    if distribution not in site.distributions:
        return ended("Gone", f"Distribution {distribution} isn't in the site any more; the next refresh or apply removes this deployment")
    subject = site.distribution(distribution)
    if not subject.active:
        return ended("Inactive", f"Distribution {distribution} is inactive")
    with run_context(site, subject.distributor, allow_removals=allow_removals) as context:
        await show_next_times(site, subject.distributor)
        result = await context.step(build_revision, distribution, rebaseline, allow_removals)
        await context.step(sign_revisions, distribution, [distribution])
        async with mailing_people(subject):
            if not subject.channels:
                return ended("Not sent", f"{distribution} {result.revision or result.previous} is built, but not sent: no Channel lists it")
            targets = await planned_sends(context, distribution=distribution, to=to or (), check=demand is not Demand.DUE)
            due = hosts_of(targets)
            waiting = await due_extracts(context, distribution=distribution, subscribers=to or (), without=due)
            served = due | {target.subscriber for target in waiting}
            revision = str(result.revision or result.previous)
            name = f"distribute {distribution} {revision} → {counted(len(served), 'Subscriber')}"
            await name_run(name, site, [(distribution, revision)])
            rows = await send_all(context, targets, extract=True, demand=demand)
            extracted = await extract_all(context, waiting) if waiting else []
            again = {row.subscriber for row in extracted}
            rows = [row for row in rows if row.subscriber not in again] + extracted
            await publish_table(f"distribute-{distribution}", rows, f"{distribution}: the state of each Subscriber.")
            return end_state(rows, f"distribute {distribution}")
