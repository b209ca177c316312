"""Plan sends from the site, the store and the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sluice.distributor.plan.sends import SendTarget, newest_revisions, plan_sends, were_never_offered
from tasks.run_context import RunContext, log


async def planned_sends(
    context: RunContext, *, channel: str | None = None, distribution: str | None = None, to: Sequence[str] = (), check: bool = False
) -> list[SendTarget]:
    """List every target of this Distributor that is asked for, due or not.

    No task run of its own: it takes milliseconds, and what it finds are the task runs that follow.
    """
    found = await asyncio.to_thread(_plan, context, channel, distribution, to, check)
    for target in found:
        if not target.is_due:
            log().debug("%s ← %s: not sent: %s", target.subscriber, target.distribution, target.reason)
    return found


async def was_never_offered(context: RunContext, distribution: str) -> bool:
    """Whether no run has offered the newest revision to anybody yet, and somebody is due."""
    targets = await planned_sends(context, distribution=distribution)
    return were_never_offered(targets, (await asyncio.to_thread(context.work.ledger.snapshot)).states)


def hosts_of(targets: Sequence[SendTarget]) -> set[str]:
    """Name the Subscribers that are due."""
    return {target.subscriber for target in targets if target.is_due}


def _plan(context: RunContext, channel: str | None, distribution: str | None, to: Sequence[str], check: bool) -> list[SendTarget]:
    work = context.work
    owned = [each.name for each in work.site.distributions_of_distributor(work.distributor.name)]
    return plan_sends(
        work.site,
        distributor=work.distributor.name,
        channel=channel,
        distribution=distribution,
        to=to,
        latest=newest_revisions(owned, lambda _: work.store),
        states=work.ledger.snapshot().states,
        check=check,
    )
