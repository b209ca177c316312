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

from sluice.errors import SluiceError
from sluice.operations.deliver import Delivered, Delivery
from sluice.rules.retry import prefect_retry_settings
from tasks.claims import entered, lease_kept
from tasks.place import log
from tasks.progress import reported
from tasks.sending import Sends, current_sends
from tasks.settings import COMMON
from tasks.wording import size

TURN_SECONDS = 0.5
"""Between two questions for a slot."""
TURNS_PER_LOOK = 6
"""Questions for a slot between two looks whether somebody cancelled."""


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
        tags=[f"subscriber:{target.subscriber}"],
    )


class _UntilNextTry(list[float]):
    """Prefect's list of retry delays, read when a try has failed: the ledger has just said when the next one is."""

    def __init__(self, delivery: Delivery, every: float) -> None:
        super().__init__([every])
        self._delivery = delivery

    def __getitem__(self, index: Any) -> Any:
        at = self._delivery.next_try
        return super().__getitem__(index) if at is None else max(0.1, _seconds_until(at))


async def _try(sends: Sends, delivery: Delivery, room: AsyncExitStack, what: str) -> Delivered | None:
    """One try; None: begin another at once. ``room`` is left as soon as only the extraction is left to do."""
    if (done := await entered(sends, delivery.enter, delivery.settled, what)) is not None:
        return done
    try:
        async with lease_kept(sends, delivery.renew):
            if await sends.blocking(delivery.call):
                if (done := await _turn(sends, delivery, what)) is not None:
                    return done
                async with reported(what) as progress:
                    await sends.blocking(delivery.transfer, progress)
            # The slot is for transfers: an extraction may take minutes and needs none, only that nobody else is at the pair.
            await sends.blocking(delivery.leave)
            if not delivery.extracts:
                return await sends.blocking(delivery.extract)
            if await sends.blocking(delivery.enter) is not None:
                return None  # another run came in between, and extracts
            await room.aclose()
            async with sends.extracting:
                return await sends.ordered(delivery.extract)
    except SluiceError as error:
        failed = await sends.blocking(delivery.fail, error)
        log().warning("%s: %s", what, failed.reason)
        raise
    finally:
        # Closing may wait for the agent's end.
        await sends.blocking(delivery.close)
        await sends.blocking(delivery.leave)


async def _turn(sends: Sends, delivery: Delivery, what: str) -> Delivered | None:
    """Wait until the send queue gives a slot; the end, where it was cancelled meanwhile."""
    said, asked = "", 0
    while (waiting := await sends.blocking(delivery.ask)) is not None:
        if not said:
            log().info("%s: %s", what, waiting.reason)
            said = waiting.reason
        await asyncio.sleep(TURN_SECONDS)
        asked += 1
        if asked % TURNS_PER_LOOK == 0 and (done := await sends.blocking(delivery.cancelled)) is not None:
            return done
    return None


async def _until(at: datetime | None) -> None:
    if at is not None:
        await asyncio.sleep(max(0.0, _seconds_until(at)))


def _seconds_until(at: datetime) -> float:
    return (at - datetime.now(at.tzinfo)).total_seconds()
