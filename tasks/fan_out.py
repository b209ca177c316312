"""The fan-out of a run over its Subscribers: awaited task runs, one each, and a row for each that never raises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import datetime

from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.plan.extractions import ExtractTarget, begins
from sluice.distributor.plan.sends import SendTarget
from sluice.errors import SluiceError
from sluice.model.site import Channel, Priority
from sluice.model.state import CurrentState
from tasks.order_extraction import order_extraction
from tasks.place import Place
from tasks.report import failure_row, row_of
from tasks.send_revision import look, sending_task
from tasks.sending import Sends, sends_of

AT_ONCE = 500
"""Task runs of a priority under way at once: beyond a few hundred the server, not the network, is what they wait for."""
OFFERED_AT_ONCE = 100
"""Offers in one transaction: a tenth of a second in which nobody else writes."""


async def send_all(place: Place, targets: Sequence[SendTarget], *, extract: bool = False, spread: bool = False) -> list[DeliveryResult]:
    """Send to every target that is due; a row for each target, due or not.

    Args:
        extract: Have it extracted at once, whatever the Extract schedules say.
        spread: A schedule started this run: where the Channel's window is random, each Subscriber begins at its own instant in it.
    """
    due = [target for target in targets if target.is_due]
    if not due:
        return [row_of(target) for target in targets]
    rows = [row_of(target) for target in targets if not target.is_due]
    async with sends_of(place) as sends:
        deliveries = [sends.delivery(target, extract=extract, watched=_watched(target)) for target in due]
        instants = [_instant(place, target) if spread else None for target in due]
        await sends.blocking(_offer, place, [d for d, at in zip(deliveries, instants, strict=True) if at is None])
        under_way = {priority: asyncio.Semaphore(AT_ONCE) for priority in Priority}
        tries = [_send(sends, d, under_way[d.target.priority], at) for d, at in zip(deliveries, instants, strict=True)]
        rows += await _rows(tries, [(t.subscriber, t.distribution, t.revision) for t in due])
    return rows


async def extract_all(place: Place, targets: Sequence[ExtractTarget]) -> list[DeliveryResult]:
    """Have every target extract, each at its time; a row for each."""
    under_way = asyncio.Semaphore(AT_ONCE)
    async with sends_of(place) as sends:
        tries = [_extract(sends, target, under_way) for target in targets]
        return await _rows(tries, [(t.subscriber, t.distribution, t.revision) for t in targets])


def _offer(place: Place, deliveries: Sequence[Delivery]) -> None:
    """Begin the course of all that begin at once, in few transactions."""
    states = place.work.ledger.snapshot().states
    pairs = [(d, (d.target.subscriber, d.target.distribution)) for d in deliveries]
    records = [record for d, pair in pairs if (record := d.offered(states.get(pair) or CurrentState(*pair))) is not None]
    for at in range(0, len(records), OFFERED_AT_ONCE):
        place.work.ledger.record_all(records[at : at + OFFERED_AT_ONCE])


async def _send(sends: Sends, delivery: Delivery, under_way: asyncio.Semaphore, at: datetime | None) -> DeliveryResult:
    target = delivery.target
    if at is not None:
        await _until(at)
    async with under_way:
        if at is not None:
            await sends.blocking(delivery.offer)
        if target.check and await sends.blocking(delivery.stands) and (done := await look(sends, delivery)) is not None:
            return done
        try:
            await sending_task(sends, delivery)(target.subscriber, target.distribution, str(target.revision))
        except SluiceError:
            if delivery.failed is None:
                raise
            return delivery.failed  # as the ledger has it: with what follows
        return sends.rows[target.subscriber, target.distribution]


async def _extract(sends: Sends, target: ExtractTarget, under_way: asyncio.Semaphore) -> DeliveryResult:
    await _until(target.at)
    async with under_way:
        await order_extraction(target.subscriber, target.distribution, str(target.revision), target.is_check)
        return sends.rows[target.subscriber, target.distribution]


async def _until(at: datetime) -> None:
    await asyncio.sleep(max(0.0, (at - datetime.now(at.tzinfo)).total_seconds()))


async def _rows(tries: Sequence[Awaitable[DeliveryResult]], names: Sequence[tuple[str, str, object]]) -> list[DeliveryResult]:
    ended = await asyncio.gather(*tries, return_exceptions=True)
    return [
        failure_row(*name, error=result) if isinstance(result, BaseException) else result for name, result in zip(names, ended, strict=True)
    ]


def _instant(place: Place, target: SendTarget) -> datetime | None:
    channel: Channel | None = place.work.site.channels.get(target.channel)
    if channel is None or channel.send.window is None or not channel.send.window.random:
        return None
    now = place.work.clock.now()
    return begins(channel.send, now, now, seed=target.subscriber)


def _watched(target: SendTarget) -> tuple[str, ...]:
    return tuple(name for name in (target.channel, target.distribution) if name)
