"""Plan sends and extractions of a run, from the site, the store and the ledger.

No task runs of their own: planning takes milliseconds, and its targets are the task runs that follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial

from sluice.distributor.plan.extractions import ExtractTarget, doubted, plan_checks, plan_extracts
from sluice.distributor.plan.sends import SendTarget, newest_revisions, plan_sends, were_never_offered
from sluice.model.order import Demand
from sluice.model.state import CurrentState
from tasks.report import NAMED_MAX
from tasks.run_context import RunContext, log


async def planned_sends(
    context: RunContext, *, channel: str = "", distribution: str = "", to: Collection[str] = (), check: bool = False
) -> list[SendTarget]:
    """List every target of this Distributor that is asked for, due or not."""
    work, asked = context.work, _asked(context, distribution, channel)
    targets = plan_sends(
        work.site,
        distributor=work.distributor.name,
        channel=channel or None,
        distribution=distribution or None,
        to=to,
        latest=await asyncio.to_thread(newest_revisions, asked, lambda _: work.store),
        states=await _states(context, asked, to),
        check=check,
    )
    for target in targets:
        if not target.is_due:
            log().debug("%s ← %s: not sent: %s", target.subscriber, target.distribution, target.reason)
    return targets


async def was_never_offered(context: RunContext, distribution: str) -> bool:
    """Whether no run has offered the newest revision to anybody yet, and somebody is due."""
    states = await _states(context, _asked(context, distribution))
    return were_never_offered(await planned_sends(context, distribution=distribution), states)


def hosts_of(targets: Collection[SendTarget]) -> set[str]:
    """Name the Subscribers that are due."""
    return {target.subscriber for target in targets if target.is_due}


async def due_extracts(
    context: RunContext,
    *,
    distribution: str = "",
    subscribers: Collection[str] = (),
    without: Collection[str] = (),
    at_once: bool = True,
    demand: Demand = Demand.DUE,
) -> list[ExtractTarget]:
    """List every extraction of this Distributor that may begin, now or later in its open window.

    Args:
        distribution: Only this one; empty for all.
        subscribers: Only these; empty for all.
        without: Not these.
        at_once: Whatever the Extract schedules say.
    """
    work, about = context.work, distribution or None
    found = plan_extracts(
        work.site,
        work.distributor.name,
        await _states(context, _asked(context, distribution), subscribers),
        work.clock.now(),
        subscribers=subscribers,
        distribution=about,
        at_once=at_once,
        demand=demand,
    )
    return [target for target in found if target.subscriber not in without]


async def doubted_pairs(
    context: RunContext, targets: Collection[ExtractTarget], *, distribution: str = "", subscribers: Collection[str] = ()
) -> str:
    """Name what is read back by none of the targets because it is doubted, for the end of a run's message; empty if nothing is."""
    work, about = context.work, distribution or None
    states = await _states(context, _asked(context, distribution), subscribers)
    found = doubted(work.site, work.distributor.name, states, targets, subscribers=subscribers, distribution=about)
    for each in found:
        log().warning("not read back: %s", each)
    more = f"; and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
    return f". Not read back: {'; '.join(found[:NAMED_MAX])}{more}" if found else ""


async def due_checks(
    context: RunContext, channel: str, sends: Collection[SendTarget], subscribers: Collection[str] = ()
) -> list[ExtractTarget]:
    """List everything that is to be verified as a Channel starts (C10), unless something newer is sent.

    Args:
        sends: The sends of the Channel's start.
        subscribers: Only these; empty for all.
    """
    work = context.work
    states = await _states(context, _asked(context, channel=channel), subscribers)
    found = plan_checks(work.site, work.distributor.name, channel, states, work.clock.now())
    due = {(target.subscriber, target.distribution) for target in sends if target.is_due}
    return [each for each in found if each.pair not in due and (not subscribers or each.subscriber in subscribers)]


def _asked(context: RunContext, distribution: str = "", channel: str = "") -> list[str]:
    """Name this Distributor's Distributions that are asked about: empty names leave out none."""
    owned = context.work.site.distributions_of_distributor(context.work.distributor.name)
    return [each.name for each in owned if distribution in ("", each.name) and channel in ("", *each.channels)]


async def _states(
    context: RunContext, distributions: Collection[str], subscribers: Collection[str] = ()
) -> Mapping[tuple[str, str], CurrentState]:
    read = partial(context.work.ledger.states, distributions=distributions, subscribers=subscribers)
    return await asyncio.to_thread(read) if distributions else {}
