"""Fan a run out over its Subscribers: awaited task runs, one each, and a row for each that never raises."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.deliver.under_way import BOARD
from sluice.distributor.plan.extractions import ExtractTarget, begins
from sluice.distributor.plan.sends import SendTarget
from sluice.model.assignment import Assignment
from sluice.model.order import Demand
from sluice.model.site import Channel, Priority
from sluice.model.state import CurrentState
from tasks.order_extraction import order_extraction
from tasks.progress import copied, say
from tasks.queue_view import queue_shown
from tasks.report import failure_row, row_of
from tasks.run_context import RunContext
from tasks.send_revision import deliver, look, wait_until
from tasks.send_session import SendSession

AT_ONCE = 500
"""Task runs of a priority under way at once: beyond a few hundred they wait for the server, not for the network."""
OFFERED_AT_ONCE = 100
"""Offers in one transaction: a tenth of a second in which no other process writes."""


async def send_all(
    context: RunContext, targets: Sequence[SendTarget], *, extract: bool = False, spread: bool = False, demand: Demand = Demand.DUE
) -> list[DeliveryResult]:
    """Send to every target that is due; return a row for each target, due or not.

    Args:
        extract: Have it extracted at once, whatever the Extract schedules say.
        spread: A schedule started this run: if the Channel's window is random, each Subscriber begins at its own instant in it.
    """
    due = [target for target in targets if target.is_due]
    rows = [row_of(target) for target in targets if not target.is_due]
    if not due:
        return rows
    context.hosts = len({target.subscriber for target in due})
    async with context.sending() as session, copied(session.work), queue_shown(session.work):
        deliveries = [session.make_delivery(target, extract=extract, demand=demand) for target in due]
        instants = [_instant(session, target) if spread else None for target in due]
        await session.blocking(_offer, session, [d for d, at in zip(deliveries, instants, strict=True) if at is None])
        under_way = {priority: asyncio.Semaphore(AT_ONCE) for priority in Priority}
        tries = [_send(context, d, under_way[d.assignment.priority], at) for d, at in zip(deliveries, instants, strict=True)]
        return rows + await _rows(tries, [delivery.assignment for delivery in deliveries])


async def extract_all(context: RunContext, targets: Sequence[ExtractTarget], *, demand: Demand = Demand.DUE) -> list[DeliveryResult]:
    """Have every target extract, each at its time; return a row for each."""
    under_way = asyncio.Semaphore(AT_ONCE)
    context.hosts = len({target.subscriber for target in targets})
    async with context.sending() as session, copied(session.work), queue_shown(session.work):
        return await _rows([_extract(context, target, under_way, demand) for target in targets], targets)


def _offer(session: SendSession, deliveries: Sequence[Delivery]) -> None:
    """Begin all that begin at once, in few transactions."""
    ledger = session.work.ledger
    pairs = [delivery.assignment.pair for delivery in deliveries]
    states = ledger.states(distributions={d for _, d in pairs}, subscribers={s for s, _ in pairs}) if pairs else {}
    offers = [(d, states.get(d.assignment.pair) or CurrentState(*d.assignment.pair)) for d in deliveries]
    records = [record for delivery, state in offers if (record := delivery.offer_record(state)) is not None]
    for at in range(0, len(records), OFFERED_AT_ONCE):
        ledger.record_all(records[at : at + OFFERED_AT_ONCE])


async def _send(context: RunContext, delivery: Delivery, under_way: asyncio.Semaphore, at: datetime | None) -> DeliveryResult:
    session, each = context.session, delivery.assignment
    if at is not None:
        BOARD.of(each).now(f"begins at {at.astimezone(UTC):%H:%M:%S}")
    await wait_until(at)
    async with under_way:
        if at is not None:
            await session.blocking(delivery.offer)
        only_looks = delivery.check and delivery.demand is Demand.DUE and await session.blocking(delivery.is_done_by_receipts)
        if only_looks and (done := await look(session, delivery)) is not None:
            return done
        return await deliver(context, delivery)


async def _extract(context: RunContext, target: ExtractTarget, under_way: asyncio.Semaphore, demand: Demand) -> DeliveryResult:
    if target.at is not None:
        BOARD.of(target).now(f"begins at {target.at.astimezone(UTC):%H:%M:%S}")
    await wait_until(target.at)
    async with under_way:
        return await order_extraction(context, target, demand)


async def _rows(tries: Sequence[Awaitable[DeliveryResult]], assignments: Sequence[Assignment]) -> list[DeliveryResult]:
    for each in assignments:
        BOARD.begin(each.distribution, str(each.revision), each.subscriber)
    ended = await asyncio.gather(*map(_row, tries, assignments), return_exceptions=True)
    return [
        failure_row(assignment, result) if isinstance(result, BaseException) else result
        for assignment, result in zip(assignments, ended, strict=True)
    ]


async def _row(attempt: Awaitable[DeliveryResult], assignment: Assignment) -> DeliveryResult:
    try:
        row = await attempt
    except Exception as error:  # noqa: BLE001 - a bug is this one's failure
        row = failure_row(assignment, error)
    step = BOARD.of(assignment)
    if row.is_error and step.failure != str(row.error):  # else it was told where it happened
        say(step, row.reason, logging.ERROR, failure=str(row.error))
    step.end, step.is_failed = row.state.value, row.is_error
    return row


def _instant(session: SendSession, target: SendTarget) -> datetime | None:
    channel: Channel | None = session.work.site.channels.get(target.channel)
    if channel is None or channel.send.window is None or not channel.send.window.random:
        return None
    now = session.work.clock.now()
    return begins(channel.send, now, now, seed=target.subscriber)
