"""Plan: what is to be sent to whom, from the site, the store and the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sluice.distributor.plan.sends import SendTarget, plan_sends
from sluice.errors import NotFoundError
from sluice.model.site import Site
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


async def was_never_offered(place: Place, distribution: str) -> bool:
    """Whether no run has offered the newest revision to anybody yet, and somebody is due."""
    targets = [target for target in await planned_sends(place, distribution=distribution) if target.is_due]
    states = (await asyncio.to_thread(place.work.ledger.snapshot)).states
    offered = [states[pair].offered if (pair := (t.subscriber, t.distribution)) in states else None for t in targets]
    return bool(targets) and all(one is None or one != target.revision for one, target in zip(offered, targets, strict=True))


def sender_of(site: Site, *, channel: str, distribution: str, distributor: str) -> str:
    """The Distributor whose Distributions are to be sent; empty where nothing is listed.

    Raises:
        NotFoundError: A Channel lists Distributions of several, and none of them was named.
    """
    if distribution:
        owners = {site.distribution(distribution).distributor}
    else:
        owners = {d.distributor for d in site.distributions_of_channel(channel)} if channel else set()
    if distributor:
        owners &= {distributor}
    if len(owners) > 1:
        raise NotFoundError(f"Channel {channel} has Distributions of {', '.join(sorted(owners))}", remedy="name one as distributor")
    return next(iter(owners), "")


def hosts_of(targets: Sequence[SendTarget]) -> set[str]:
    """The Subscribers that are due."""
    return {target.subscriber for target in targets if target.is_due}


def _plan(place: Place, channel: str | None, distribution: str | None, to: Sequence[str | None], check: bool) -> list[SendTarget]:
    work = place.work
    snapshot = work.ledger.snapshot()
    owned = work.site.distributions_of_distributor(work.distributor.name)
    latest = {d.name: kept[-1] for d in owned if (kept := work.store.revisions(d.name))}
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
