"""Send what Subscribers lack: of a Channel on its schedule, or of a Distribution immediately."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.settings import COMMON
from sluice.errors import NotFoundError
from tasks.fan_out import send_all
from tasks.place import read_site, was_scheduled, working
from tasks.plan_sends import planned_sends
from tasks.report import end_state, ended, name_run, publish_table
from tasks.wording import counted


@flow(
    name="send",
    flow_run_name="send {channel}{distribution}",
    description="Send what Subscribers lack of the newest revisions, and have it extracted where that is to follow at once.",
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
) -> State[Any]:
    """Send.

    Args:
        channel: A Channel; with ``distribution`` only that of it.
        distribution: A Distribution; alone, through all its Channels.
        distributor: Whose Distributions of the Channel; needed only where several own some.
        to: Only these Subscribers.
        revision: What asked for the run; the newest is sent.
        check: Ask the Subscribers what they hold, although receipts tell.
        extract: Have it extracted at once, whatever the Extract schedules say.
    """
    site = read_site()
    if (channel and channel not in site.channels) or (distribution and distribution not in site.distributions):
        return ended("Gone", f"{channel or distribution} isn't in the site any more; the next refresh or apply removes this deployment")
    if channel and not site.channel(channel).active:
        return ended("Inactive", f"Channel {channel} is inactive")
    if distribution:
        owners = {site.distribution(distribution).distributor}
    else:
        owners = {d.distributor for d in site.distributions_of_channel(channel)} if channel else set()
    wanted = sorted(owners & {distributor} if distributor else owners)
    if not wanted:
        return ended(
            "Nothing listed", f"nothing is listed in {channel or 'no Channel'}{f' of Distributor {distributor}' if distributor else ''}"
        )
    if len(wanted) > 1:
        raise NotFoundError(f"Channel {channel} has Distributions of {', '.join(wanted)}", remedy="name one with distributor")
    with working(site, wanted[0]) as place:
        targets = await planned_sends(place, channel=channel or None, distribution=distribution or None, to=to or (), check=check)
        due = [target for target in targets if target.is_due]
        what = " ".join(filter(None, (distribution, revision) if distribution else (channel,)))
        await name_run(f"send {what} → {counted(len({t.subscriber for t in due}), 'Subscriber')}")
        rows = await send_all(place, targets, extract=extract, spread=was_scheduled())
        await publish_table(f"send-{what}", rows, f"Send of {what}: where each Subscriber stands.")
        return end_state(
            [row for row in rows if (row.subscriber, row.distribution) in {(t.subscriber, t.distribution) for t in due}], "sent"
        )
