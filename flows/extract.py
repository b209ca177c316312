"""Have Subscribers extract what they hold, when their Extract schedules say so."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.settings import COMMON
from sluice.model.order import Demand
from sluice.rules.wording import counted
from tasks.fan_out import extract_all
from tasks.plan import doubted_pairs, due_extracts
from tasks.report import end_state, ended, name_run, publish_table, show_next_times
from tasks.run_context import read_site, run_context


@flow(
    name="extract",
    flow_run_name="extract {distributor}",
    description="Have Subscribers extract what they hold, when their Extract schedules say so, and keep their receipts.",
    **COMMON,
)
async def extract(
    distributor: str,
    subscribers: list[str] | None = None,
    distribution: str = "",
    at_once: bool = False,
    verify: bool = False,
    force: bool = False,
    allow_removals: bool = False,
) -> State[Any]:
    """Extract; due extractions are found in the ledger, not in the schedule that started the run.

    Args:
        distributor: The owner of the Distributions.
        subscribers: Only these.
        distribution: Only this one.
        at_once: Whatever the Extract schedules say.
        verify: Have also what is installed read back, and repaired if it differs; that alone if not ``at_once``.
        force: Have every file written anew and the actions run, also if it is installed.
        allow_removals: Have also more removed than max_removals.
    """
    site, demand = read_site(), Demand.of(verify=verify, force=force)
    if distributor not in site.distributors:
        return ended("Gone", f"Distributor {distributor} isn't in the site any more; the next apply removes this deployment")
    with run_context(site, distributor, allow_removals=allow_removals) as context:
        await show_next_times(site, distributor)
        targets = await due_extracts(context, distribution=distribution, subscribers=subscribers or (), at_once=at_once, demand=demand)
        asked = demand is not Demand.DUE
        besides = await doubted_pairs(context, targets, distribution=distribution, subscribers=subscribers or ()) if asked else ""
        if not targets:
            if asked and not at_once:
                return ended("Nothing due", f"nothing is installed that could be read back{besides}")
            return ended("Nothing due", f"no Subscriber holds something that is to be extracted now{besides}")
        name = f"extract {distribution or distributor} on {counted(len({target.subscriber for target in targets}), 'Subscriber')}"
        await name_run(name, site, {(target.distribution, str(target.revision)) for target in targets})
        rows = await extract_all(context, targets, demand=demand)
        await publish_table(f"extract-{distributor}", rows, f"Extractions of Distributor {distributor}.")
        return end_state(rows, f"extract {distribution or distributor}", besides)
