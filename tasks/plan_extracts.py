"""Plan extractions from the site and the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from sluice.distributor.plan.extractions import ExtractTarget, plan_checks, plan_extracts
from sluice.distributor.plan.sends import SendTarget
from tasks.run_context import RunContext


async def due_extracts(
    context: RunContext, *, distribution: str = "", subscribers: Collection[str] = (), without: Collection[str] = (), at_once: bool = True
) -> list[ExtractTarget]:
    """List every extraction of this Distributor that may begin, now or later in its open window.

    Args:
        distribution: Only this one; empty for all.
        subscribers: Only these; empty for all.
        without: Not these.
        at_once: Whatever the Extract schedules say.
    """
    work = context.work
    snapshot = await asyncio.to_thread(work.ledger.snapshot)
    found = plan_extracts(
        work.site,
        work.distributor.name,
        snapshot.states,
        work.clock.now(),
        subscribers=subscribers,
        distribution=distribution or None,
        at_once=at_once,
    )
    return [target for target in found if target.subscriber not in without]


async def due_checks(
    context: RunContext, channel: str, sends: Sequence[SendTarget], subscribers: Collection[str] = ()
) -> list[ExtractTarget]:
    """List everything that is to be verified as a Channel starts (C10), unless something newer is sent.

    Args:
        sends: The sends of the Channel's start.
        subscribers: Only these; empty for all.
    """
    work = context.work
    snapshot = await asyncio.to_thread(work.ledger.snapshot)
    found = plan_checks(work.site, work.distributor.name, channel, snapshot.states, work.clock.now())
    due = {(target.subscriber, target.distribution) for target in sends if target.is_due}
    wanted = set(subscribers) or {each.subscriber for each in found}
    return [each for each in found if each.subscriber in wanted and (each.subscriber, each.distribution) not in due]
