"""Send: one revision to one Subscriber, and have it extracted if that follows at once.

One task run is one Subscriber; its retries are Prefect's, decided by ``rules/retry.py`` through the ledger. While it waits for its
turn in the send queue, for another run or for its next try it holds neither thread nor slot.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.deliver.under_way import BOARD, Step
from sluice.distributor.send_queue.watch import SendCancelledError, Turn
from sluice.errors import SluiceError
from sluice.model.ticket import Started, Waiting
from sluice.rules.retry import RetryAt, prefect_retry_settings
from sluice.rules.space import size
from tasks.claims import claimed
from tasks.progress import say, shown
from tasks.run_context import current
from tasks.send_session import SendSession
from tasks.settings import COMMON


@task(name="send revision", description="Send one revision to one Subscriber; if due, have it extracted", **COMMON)
async def send_revision(subscriber: str, distribution: str, revision: str) -> str:
    """Send until it is held, and extracted if that is to follow.

    Args:
        revision: Names what is sent in the run's name; the delivery made by the flow knows it.
    Returns:
        How it ended, in words; the row is in ``SendSession.rows``, also if the extraction failed. (Prefect would take an object that
        two results share, such as a name, for a dependency between their tasks.)
    Raises:
        SluiceError: The try failed; Prefect retries it while the ledger says so.
    """
    session = current().session
    delivery = session.delivery_for(subscriber, distribution)
    await wait_until(delivery.next_try)
    done = await session.blocking(delivery.settled)
    while done is None:  # again, with the next remedy, if the tree there isn't the one the delta builds on
        async with AsyncExitStack() as limit:
            await limit.enter_async_context(session.limits[delivery.assignment.priority])
            done = await _try(session, delivery, limit)
    session.rows[subscriber, distribution] = done
    text = f"{done.state}, {size(done.bytes)} sent, {size(done.resumed)} resumed; {done.error or done.reason}"
    failure = str(done.error or "")
    say(BOARD.of(delivery.assignment), text, logging.ERROR if failure else logging.INFO, failure=failure)
    return text


def sending_task(delivery: Delivery) -> Task[..., Any]:
    """Make ``send_revision`` for one delivery: named after Subscriber and revision, retried as its Distributor's rule says."""
    each = delivery.assignment
    retries, every = prefect_retry_settings(delivery.context.distributor.retry)

    # Prefect takes plain functions only.
    def again(_task: Task[..., Any], _run: TaskRun, _state: State[Any]) -> bool:
        return delivery.next_try is not None

    return send_revision.with_options(
        task_run_name=f"send {each.distribution} {each.revision} to {each.subscriber}",
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


async def look(session: SendSession, delivery: Delivery) -> DeliveryResult | None:
    """Ask a host that by its receipts lacks nothing, without a task run; None: there is something to do or to report after all."""
    async with session.limits[delivery.assignment.priority]:
        if (done := await session.blocking(delivery.settled) or await claimed(session, delivery)) is not None:
            return done
        return await session.blocking(delivery.look)


async def _try(session: SendSession, delivery: Delivery, limit: AsyncExitStack) -> DeliveryResult | None:
    """Try once; None: begin another try at once. ``limit`` is left as soon as only the extraction remains to be done."""
    if (done := await claimed(session, delivery)) is not None:
        return done
    step = BOARD.of(delivery.assignment)
    step.now("connecting")
    try:
        if await session.blocking(delivery.call):
            turn = await _wait_for_slot(session, delivery, step)
            if isinstance(turn, DeliveryResult):
                return turn
            async with shown(step):
                done = await session.blocking(delivery.transfer, step.at(partial(_sending, turn)))
            if done is not None:
                return done
        if not delivery.extracts:
            return await session.blocking(delivery.extract)
        # The slot was for the transfer: an extraction may take minutes and needs none, only that nobody else is at the pair.
        if not delivery.is_claimed and await session.blocking(delivery.enter) is not None:
            return None  # the claim was lost, and another run came in between and extracts
        await limit.aclose()
        async with session.extraction_limit, shown(step):
            return await session.extracting(delivery.extract, step.on_event)
    except SluiceError as raised:
        each = delivery.assignment
        error = await session.blocking(session.mender.repair_and_explain, each.distribution, each.revision, raised)
        failed = await session.blocking(delivery.fail, error)
        say(step, failed.reason, logging.WARNING, failure=str(error))
        if isinstance(again := delivery.decision, RetryAt):
            step.now(f"retry {again.number} of {again.of} at {again.at.astimezone(UTC):%H:%M:%S}")
        raise error from raised
    finally:
        # Closing may wait for the agent's end.
        await session.blocking(delivery.end)


async def _wait_for_slot(session: SendSession, delivery: Delivery, step: Step) -> Turn | DeliveryResult:
    """Wait until the send queue gives a slot; return the end if it was cancelled meanwhile. Raises LeaseLostError, LedgerError."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def on_decision() -> None:
        loop.call_soon_threadsafe(changed.set)

    turn: Turn = await session.blocking(delivery.ask, on_decision)
    step.now(partial(_sending, turn))
    while True:
        await changed.wait()
        changed.clear()
        match turn.decision:
            case Started():
                step.now("preparing")
                return turn
            case Waiting(reason=reason):
                say(step, reason)
            case SendCancelledError(name=name):
                return await session.blocking(delivery.cancel, name)
            case SluiceError() as error:
                raise error


def _sending(turn: Turn) -> str:
    """Say whether it sends, or why it waits for a slot."""
    if turn.has_slot:
        return "sending"
    return turn.decision.reason if isinstance(turn.decision, Waiting) else "waiting for a slot"


async def wait_until(at: datetime | None) -> None:
    """Wait for a time, if there is one."""
    if at is not None:
        await asyncio.sleep(max(0.0, _seconds_until(at)))


def _seconds_until(at: datetime) -> float:
    return (at - datetime.now(at.tzinfo)).total_seconds()
