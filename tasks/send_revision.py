"""Send: one revision to one Subscriber, and have it extracted where that is to follow at once.

One task run is one Subscriber; its retries are Prefect's, decided by ``rules/retry.py`` through the ledger. While it waits for its
place in the send queue, for another run or for its next try it holds neither thread nor slot.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.send_queue.watch import SendCancelledError
from sluice.errors import SluiceError
from sluice.model.ticket import Started, Waiting
from sluice.rules.retry import prefect_retry_settings
from tasks.claims import entered
from tasks.place import log
from tasks.progress import phases_told, reported
from tasks.sending import Sends, current_sends
from tasks.settings import COMMON
from tasks.wording import size


@task(name="send revision", description="Send one revision to one Subscriber; where due, have it extracted", **COMMON)
async def send_revision(subscriber: str, distribution: str, revision: str) -> str:
    """Send until it is held, and extracted if that is to follow.

    Args:
        revision: Names what is sent in the run's name; the delivery made by the flow knows it.
    Returns:
        How it ended, in words; the row is in ``Sends.rows``, also where the extraction failed. (Prefect would take an object that
        two results share, such as a name, for a dependency between their tasks.)
    Raises:
        SluiceError: The try failed; Prefect retries it while the ledger says so.
    """
    sends = current_sends()
    delivery = sends.known(subscriber, distribution)
    await _until(delivery.next_try)
    done = await sends.blocking(delivery.settled)
    while done is None:  # once more, whole, where the tree there isn't what the delta builds on
        async with AsyncExitStack() as room:
            await room.enter_async_context(sends.rooms[delivery.target.priority])
            done = await _try(sends, delivery, room, f"{subscriber} ← {distribution} {revision}")
    sends.rows[subscriber, distribution] = done
    text = f"{done.state}, {size(done.bytes)} sent, {size(done.resumed)} resumed; {done.error or done.reason}"
    log().log(logging.ERROR if done.is_error else logging.INFO, "%s ← %s %s: %s", subscriber, distribution, revision, text)
    return text


def sending_task(sends: Sends, delivery: Delivery) -> Task[..., Any]:
    """``send_revision`` for one delivery: named after Subscriber and revision, retried as its Distributor's rule says."""
    target = delivery.target
    retries, every = prefect_retry_settings(sends.place.work.distributor.retry)

    # Prefect takes plain functions only.
    def again(_task: Task[..., Any], _run: TaskRun, _state: State[Any]) -> bool:
        return delivery.next_try is not None

    return send_revision.with_options(
        task_run_name=f"send {target.distribution} {target.revision} to {target.subscriber}",
        retries=retries,
        retry_delay_seconds=lambda _: _UntilNextTry(delivery, every),
        retry_condition_fn=again,
    )


class _UntilNextTry(list[float]):
    """Prefect's list of retry delays, read when a try has failed: the ledger has just said when the next one is."""

    def __init__(self, delivery: Delivery, every: float) -> None:
        super().__init__([every])
        self._delivery = delivery

    def __getitem__(self, index: Any) -> Any:
        at = self._delivery.next_try
        return super().__getitem__(index) if at is None else max(0.1, _seconds_until(at))


async def look(sends: Sends, delivery: Delivery) -> DeliveryResult | None:
    """Ask a host that by its receipts lacks nothing, without a task run; None: there is something to do or to report after all."""
    target = delivery.target
    async with sends.rooms[target.priority]:
        if (done := await sends.blocking(delivery.settled)) is not None:
            return done
        what = f"{target.subscriber} ← {target.distribution} {target.revision}"
        if (done := await entered(sends, delivery.enter, delivery.settled, what)) is not None:
            return done
        return await sends.blocking(delivery.look)


async def _try(sends: Sends, delivery: Delivery, room: AsyncExitStack, what: str) -> DeliveryResult | None:
    """One try; None: begin another at once. ``room`` is left as soon as only the extraction is left to do."""
    if (done := await entered(sends, delivery.enter, delivery.settled, what)) is not None:
        return done
    try:
        if await sends.blocking(delivery.call):
            if (done := await _turn(sends, delivery, what)) is not None:
                return done
            async with reported(what) as progress:
                done = await sends.blocking(delivery.transfer, progress)
            if done is not None:
                return done
        if not delivery.extracts:
            return await sends.blocking(delivery.extract)
        # The slot was for the transfer: an extraction may take minutes and needs none, only that nobody else is at the pair.
        if not delivery.is_claimed and await sends.blocking(delivery.enter) is not None:
            return None  # the claim was lost, and another run came in between and extracts
        await room.aclose()
        async with sends.extracting, phases_told(what) as on_event:
            return await sends.ordered(delivery.extract, on_event)
    except SluiceError as met:
        target = delivery.target
        error = await sends.blocking(sends.mender.mended, target.distribution, delivery.revision, met)
        failed = await sends.blocking(delivery.fail, error)
        log().warning("%s: %s", what, failed.reason)
        raise error from met
    finally:
        # Closing may wait for the agent's end.
        await sends.blocking(delivery.end)


async def _turn(sends: Sends, delivery: Delivery, what: str) -> DeliveryResult | None:
    """Wait until the send queue gives a slot; the end, where it was cancelled meanwhile. Raises LeaseLostError, LedgerError."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def heard() -> None:
        loop.call_soon_threadsafe(changed.set)

    turn = await sends.blocking(delivery.ask, heard)
    while True:
        await changed.wait()
        changed.clear()
        match turn.told:
            case Started():
                return None
            case Waiting(reason=reason):
                log().info("%s: %s", what, reason)
            case SendCancelledError(name=name):
                return await sends.blocking(delivery.cancel, name)
            case SluiceError() as error:
                raise error


async def _until(at: datetime | None) -> None:
    if at is not None:
        await asyncio.sleep(max(0.0, _seconds_until(at)))


def _seconds_until(at: datetime) -> float:
    return (at - datetime.now(at.tzinfo)).total_seconds()
