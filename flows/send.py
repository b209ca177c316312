"""Send the revisions that Subscribers lack: of a Channel on its schedule, or of a Distribution immediately."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.settings import COMMON
from sluice.distributor.plan.sends import sender_of
from sluice.model.order import Demand
from sluice.rules.wording import counted
from tasks.fan_out import extract_all, send_all
from tasks.plan import due_checks, hosts_of, planned_sends
from tasks.report import end_state, ended, name_run, publish_table, show_next_times
from tasks.run_context import is_too_late, read_site, run_context, was_scheduled


@flow(
    name="send",
    flow_run_name="send {channel} {distribution}",
    description="Send the newest revisions to Subscribers that lack them, and have them extracted if that follows at once.",
    **COMMON,
)
async def send(
    channel: str = "",
    distribution: str = "",
    distributor: str = "",
    to: list[str] | None = None,
    revision: str = "",
    check: bool = False,
    extract: bool = False,
    verify: bool = False,
    force: bool = False,
    allow_removals: bool = False,
) -> State[Any]:
    """Send.

    Args:
        channel: A Channel; with ``distribution`` only that of it.
        distribution: A Distribution; alone, through all its Channels.
        distributor: The owner of the Channel's Distributions that are sent; needed only if several own some.
        to: Only these Subscribers.
        revision: The one whose build asked for the run; the newest is sent.
        check: Ask the Subscribers what they hold, although receipts say so.
        extract: Have it extracted at once, whatever the Extract schedules say.
        verify: Have also what is installed read back, and repaired if it differs.
        force: Have every file written anew and the actions run, also if it is installed.
        allow_removals: Have also more removed than max_removals.
    """
    site, demand = read_site(), Demand.of(verify=verify, force=force)
    check = check or demand is not Demand.DUE
    if (channel and channel not in site.channels) or (distribution and distribution not in site.distributions):
        return ended("Gone", f"{channel or distribution} isn't in the site any more; the next refresh or apply removes this deployment")
    if channel and not site.channel(channel).active:
        return ended("Inactive", f"Channel {channel} is inactive")
    if channel and is_too_late(site.channel(channel).send):
        return ended("Too late", f"the window of Channel {channel} was over before a worker took this run; the next start sends")
    sender = sender_of(site, channel=channel, distribution=distribution, distributor=distributor)
    if not sender:
        return ended("Nothing listed", f"no Distribution is listed in {channel or 'no Channel'}")
    with run_context(site, sender, allow_removals=allow_removals) as context:
        await show_next_times(site, sender)
        targets = await planned_sends(context, channel=channel, distribution=distribution, to=to or (), check=check)
        what = " ".join(filter(None, (distribution, revision) if distribution else (channel,)))
        about = {(target.distribution, str(target.revision)) for target in targets if target.is_due}
        await name_run(f"send {what} → {counted(len(hosts_of(targets)), 'Subscriber')}", site, about, channel)
        checks = await due_checks(context, channel, targets, to or ()) if channel and not revision else []
        rows = await send_all(context, targets, extract=extract, spread=was_scheduled(), demand=demand)
        if checks:
            verified = {(row.subscriber, row.distribution): row for row in await extract_all(context, checks)}
            rows = [verified.pop((row.subscriber, row.distribution), row) for row in rows] + list(verified.values())
        await publish_table(f"send-{what}", rows, f"Send of {what}: the state of each Subscriber.")
        return end_state(rows, f"send {what}")
