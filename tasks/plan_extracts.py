"""Plan: who is to extract what it holds, from the site and the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from sluice.operations.extract_plan import ExtractTarget, plan_extracts
from tasks.place import Place


async def due_extracts(
    place: Place, *, distribution: str = "", subscribers: Collection[str] = (), without: Collection[str] = (), at_once: bool = True
) -> list[ExtractTarget]:
    """Every extraction of this Distributor that may begin, now or later in its open window.

    Args:
        distribution: Only this one; empty for all.
        subscribers: Only these; empty for all.
        without: Not these.
        at_once: Whatever the Extract schedules say.
    """
    work = place.work
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
