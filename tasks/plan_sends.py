"""Plan: what is to be sent to whom, from the site, the store and the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sluice.model.site import Site
from sluice.operations.send_plan import SendTarget, plan_sends
from tasks.place import Place, log


async def planned_sends(
    place: Place, *, channel: str | None = None, distribution: str | None = None, to: Sequence[str] = (), check: bool = False
) -> list[SendTarget]:
    """Every target of this Distributor that is asked for, due or not.

    No task run of its own: it takes milliseconds, and what it finds are the task runs that follow.
    """
    found = await asyncio.to_thread(_plan, place, channel, distribution, to or (None,), check)
    for target in found:
        if not target.is_due:
            log().debug("%s ← %s: not sent: %s", target.subscriber, target.distribution, target.reason)
    return found


def channels_of(site: Site, targets: Sequence[SendTarget]) -> set[str]:
    """The Channels they come through."""
    return {target.channel for target in targets if target.channel in site.channels}


def _plan(place: Place, channel: str | None, distribution: str | None, to: Sequence[str | None], check: bool) -> list[SendTarget]:
    work = place.work
    snapshot = work.ledger.snapshot()
    latest = {
        d.name: kept[-1] for d in work.site.distributions_of_distributor(work.distributor.name) if (kept := work.store.revisions(d.name))
    }
    found: dict[tuple[str, str], SendTarget] = {}
    for name in to:
        for target in plan_sends(
            work.site,
            distributor=work.distributor.name,
            channel=channel,
            distribution=distribution,
            to=name,
            latest=latest,
            states=snapshot.states,
            check=check,
        ):
            found[target.subscriber, target.distribution] = target
    return list(found.values())
