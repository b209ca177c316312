"""Show in Prefect who sends, waits and is paused: an artifact a Distributor, updated in place, and a concurrency limit for show (J4).

The send queue in the ledger is the one authority (``rules/dispatch.py``); nothing asks what is shown here. Of several runs the one with the
oldest ticket shows the queue; a run that lasts some seconds shows it once more at its end, so that it sets right what a kill left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

from infra.orchestrator.tables import keep_table
from infra.workplace import Workplace
from sluice.model.ticket import UNLIMITED_IN_PROCESS, Phase, Ticket
from tasks.progress import repeated
from tasks.run_context import log

_WORDS = {Phase.ENTERED: "calling its host, or extracting", Phase.READY: "waiting", Phase.RUNNING: "running", Phase.PAUSED: "paused"}
_ORDER = [Phase.RUNNING, Phase.PAUSED, Phase.READY, Phase.ENTERED]


@asynccontextmanager
async def queue_shown(work: Workplace) -> AsyncIterator[None]:
    """Show the send queue while a run sends, if that takes some seconds."""
    view = _View(work)
    try:
        async with repeated(view.update):
            yield
    finally:
        if view.has_looked:
            await view.update(is_last=True)


class _View:
    def __init__(self, work: Workplace) -> None:
        self._work = work
        self.has_looked = False
        self._stamp: int | None = None
        """Of the queue as it is shown; None: it isn't yet."""

    async def update(self, *, is_last: bool = False) -> None:
        """Show the queue if it has changed; neither a server nor a ledger that is busy stops a transfer by that."""
        self.has_looked = True
        try:
            await self._update(is_last=is_last)
        except Exception as error:  # noqa: BLE001 - what is shown decides nothing
            log().debug("the send queue isn't shown: %s", error)

    async def _update(self, *, is_last: bool) -> None:
        distributor, ledger = self._work.distributor, self._work.ledger
        stamp = (await asyncio.to_thread(ledger.look, distributor.name)).stamp
        if stamp == self._stamp and not is_last:
            return
        now, tickets = self._work.clock.now(), await asyncio.to_thread(ledger.tickets, distributor.name)
        live = [ticket for ticket in tickets if ticket.live(now)]
        if live and live[0].holder != self._work.flow_run and not is_last:
            return
        async with get_client() as client:
            await self._show(client, live)
        self._stamp = stamp

    async def _show(self, client: PrefectClient, tickets: list[Ticket]) -> None:
        distributor = self._work.distributor
        ordered = sorted(tickets, key=lambda t: (_ORDER.index(t.phase), t.priority.rank, t.number))
        most = "unlimited" if distributor.max_concurrent is None else str(distributor.max_concurrent)
        about = f"The send queue of Distributor {distributor.name}; max_concurrent: {most}."
        await keep_table(client, f"send-queue-{distributor.name}", [_row(ticket) for ticket in ordered], about)
        limit = f"sends of {distributor.name}"
        await client.upsert_global_concurrency_limit_by_name(limit, distributor.max_concurrent or UNLIMITED_IN_PROCESS)
        running = sum(ticket.phase is Phase.RUNNING for ticket in tickets)
        await client.update_global_concurrency_limit(limit, GlobalConcurrencyLimitUpdate(active_slots=running))


def _row(ticket: Ticket) -> dict[str, Any]:
    return {
        "Priority": ticket.priority.value,
        "Distribution": f"{ticket.distribution} {ticket.revision}",
        "Subscriber": ticket.subscriber,
        "State": _WORDS[ticket.phase],
        "Since": f"{ticket.entered:%Y-%m-%d %H:%M:%S} UTC",
        "Flow run": ticket.holder,
    }
