"""The fan-out of a run over its Subscribers: awaited task runs, one each, and a row for each that never raises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import datetime

from sluice.errors import SluiceError
from sluice.model.site import Channel
from sluice.operations.deliver import Delivered
from sluice.operations.extract_plan import ExtractTarget, begins
from sluice.operations.send_plan import SendTarget
from tasks.order_extraction import order_extraction
from tasks.place import Place
from tasks.report import failure_row, row_of
from tasks.send_revision import sending_task
from tasks.sending import Sends, sends_of

AT_ONCE = 500
"""Task runs under way at once: beyond a few hundred the server, not the network, is what they wait for."""


async def send_all(place: Place, targets: Sequence[SendTarget], *, extract: bool = False, spread: bool = False) -> list[Delivered]:
    """Send to every target that is due; a row for each target, due or not.

    Args:
        extract: Have it extracted at once, whatever the Extract schedules say.
        spread: A schedule started this run: where the Channel's window is random, each Subscriber begins at its own instant in it.
    """
    due = [target for target in targets if target.is_due]
    rows = [row_of(target) for target in targets if not target.is_due]
    for name in {name for target in due for name in _watched(target)}:
        await asyncio.to_thread(place.work.ledger.clear_cancel, name)
    under_way = asyncio.Semaphore(AT_ONCE)
    async with sends_of(place) as sends:
        tries = [_send(sends, target, under_way, extract=extract, spread=spread) for target in due]
        rows += await _rows(tries, [(t.subscriber, t.distribution, t.revision) for t in due])
    return rows


async def extract_all(place: Place, targets: Sequence[ExtractTarget]) -> list[Delivered]:
    """Have every target extract, each at its time; a row for each."""
    under_way = asyncio.Semaphore(AT_ONCE)
    async with sends_of(place) as sends:
        tries = [_extract(sends, target, under_way) for target in targets]
        return await _rows(tries, [(t.subscriber, t.distribution, t.revision) for t in targets])


async def _send(sends: Sends, target: SendTarget, under_way: asyncio.Semaphore, *, extract: bool, spread: bool) -> Delivered:
    if spread and (at := _instant(sends.place, target)) is not None:
        await _until(at)
    async with under_way:
        delivery = sends.delivery(target, extract=extract, watched=_watched(target))
        await sends.blocking(delivery.offer)
        try:
            await sending_task(sends, delivery)(target.subscriber, target.distribution, str(target.revision))
        except SluiceError:
            if delivery.failed is None:
                raise
            return delivery.failed  # as the ledger has it: with what follows
        return sends.rows[target.subscriber, target.distribution]


async def _extract(sends: Sends, target: ExtractTarget, under_way: asyncio.Semaphore) -> Delivered:
    await _until(target.at)
    async with under_way:
        await order_extraction(target.subscriber, target.distribution, str(target.revision))
        return sends.rows[target.subscriber, target.distribution]


async def _until(at: datetime) -> None:
    await asyncio.sleep(max(0.0, (at - datetime.now(at.tzinfo)).total_seconds()))


async def _rows(tries: Sequence[Awaitable[Delivered]], names: Sequence[tuple[str, str, object]]) -> list[Delivered]:
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
