"""Send: one revision to one Subscriber, and have it extracted if that follows at once.

A try is a task run, and so is each retry, made after a failure by ``rules/retry.py`` through the ledger; the phases of the extraction that
follows are task runs of their own (``phases.py``). A task that waits for its turn in the send queue, for another run or for its time
holds neither thread nor slot.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect import allow_failure, task
from prefect.client.schemas.objects import State as RunState
from prefect.states import Completed

from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.deliver.under_way import BOARD, Step
from sluice.distributor.send_queue.watch import SendCancelledError, Turn
from sluice.errors import SluiceError
from sluice.model.agent_event import AgentEvent
from sluice.model.site import ShownPhases
from sluice.model.ticket import Started, Waiting
from sluice.rules.retry import RetryAt
from sluice.rules.space import size
from tasks.claims import claimed
from tasks.phases import PhaseRuns, shown_phases
from tasks.progress import say, shown
from tasks.run_context import RunContext, current, end_of
from tasks.send_session import SendSession
from tasks.settings import COMMON
from tasks.states import state_of

LAST_RETRIES = 3
"""Retries of a host that are task runs if not all phases are shown: the last ones."""


@task(
    name="send",
    task_run_name="send {distribution} {revision} to {subscriber}",
    description="Send one revision to one Subscriber",
    **COMMON,
)
async def send_revision(distribution: str, revision: str, subscriber: str) -> RunState[Any]:
    """Try to send until it is held; the row is in ``SendSession.rows`` if nothing is to follow.

    Args:
        revision: Names what is sent in the run's name; the delivery made by the flow knows it.
    """
    return await _try(current().session, subscriber, distribution)


@task(
    name="retry",
    task_run_name="retry {number} of {of} to {subscriber} at {at}",
    description="Wait for the time of a retry, then try to send again",
    **COMMON,
)
async def retry_send(distribution: str, revision: str, subscriber: str, number: int, of: int, at: str) -> RunState[Any]:
    """Try again, at the time that the ledger knows; the arguments name it."""
    session = current().session
    await wait_until(session.delivery_for(subscriber, distribution).next_try)
    return await _try(session, subscriber, distribution)


async def deliver(context: RunContext, delivery: Delivery) -> DeliveryResult:
    """Send, retry while the ledger says so, and have it extracted if that follows at once."""
    session, each = context.session, delivery.assignment
    names = each.distribution, str(each.revision), each.subscriber
    distribution = session.work.site.distribution(each.distribution)
    shown = shown_phases(distribution, context.hosts)
    after: list[Any] = list(map(allow_failure, context.after))
    retry: RetryAt | None = None
    try:
        while True:
            if retry is None:
                state = await end_of(send_revision, *names, after=after)
            elif shown is ShownPhases.ALWAYS or retry.number > retry.of - LAST_RETRIES:
                at = f"{retry.at.astimezone(UTC):%H:%M}"
                state = await end_of(retry_send, *names, retry.number, retry.of, at, after=after)
            else:
                await wait_until(retry.at)
                state = await _try(session, each.subscriber, each.distribution)
            if state.state_details.task_run_id:
                after = [allow_failure(state)]
            if (done := session.rows.pop(each.pair, None)) is None:
                await state.aresult()  # raises what is a bug
                phases = PhaseRuns(each, distribution, shown, after)
                done, after = await _extracted(session, delivery, phases), phases.last
            if done is not None and (done.error is None or delivery.next_try is None):
                return done
            # Else again: at once, with the next remedy, if the tree there isn't the one that the delta builds on.
            retry = delivery.decision if done is not None and isinstance(delivery.decision, RetryAt) else None
    finally:
        await session.blocking(delivery.end)  # may wait for the agent's end


async def _extracted(session: SendSession, delivery: Delivery, phases: PhaseRuns) -> DeliveryResult | None:
    """Have it extracted; return the end, None to send again with the next remedy."""

    async def extracting(on_event: Callable[[AgentEvent], None]) -> DeliveryResult | None:
        # The slot was for the transfer: an extraction may take minutes and needs none, only that nobody else is at the pair.
        if not delivery.is_claimed and await session.blocking(delivery.enter) is not None:
            return None  # the claim was lost, and another run came in between and extracts
        async with session.extraction_limit:
            return await session.extracting(delivery.extract, on_event)

    try:
        return await phases.observe(extracting)
    except SluiceError as raised:
        return await _failed(session, delivery, raised)


async def look(session: SendSession, delivery: Delivery) -> DeliveryResult | None:
    """Ask a host that by its receipts lacks nothing, without a task run; None: there is something to do or to report after all."""
    async with session.limits[delivery.assignment.priority]:
        if (done := await session.blocking(delivery.settled) or await claimed(session, delivery)) is not None:
            return done
        return await session.blocking(delivery.look)


async def _try(session: SendSession, subscriber: str, distribution: str) -> RunState[Any]:
    """Try once. If nothing is to follow, or the try failed, its row is kept. Raises LedgerError before the pair is claimed."""
    delivery = session.delivery_for(subscriber, distribution)
    step = BOARD.of(delivery.assignment)
    done, name = await _sent(session, delivery, step)
    if done is None:
        return Completed(name=name)
    session.rows[delivery.assignment.pair] = done
    if done.error is None:  # else it was told as it failed
        say(step, f"{done.state}, {size(done.bytes)} sent, {size(done.resumed)} resumed; {done.reason}")
    end = state_of(done)
    return Completed(name=name, message=done.reason) if name and end.is_completed() else end


async def _sent(session: SendSession, delivery: Delivery, step: Step) -> tuple[DeliveryResult | None, str]:
    """Send until it is held, or fails; return the end, None if the extraction follows, and the name of that state."""
    if (done := await session.blocking(delivery.settled)) is not None:
        return done, ""
    async with session.limits[delivery.assignment.priority]:
        if (done := await claimed(session, delivery)) is not None:
            return done, ""
        try:
            return await _transferred(session, delivery, step)
        except SluiceError as raised:
            return await _failed(session, delivery, raised), ""


async def _transferred(session: SendSession, delivery: Delivery, step: Step) -> tuple[DeliveryResult | None, str]:
    step.now("connecting")
    name = "Already held"
    if await session.blocking(delivery.call):
        name = "Received"
        turn = await _wait_for_slot(session, delivery, step)
        if isinstance(turn, DeliveryResult):
            return turn, ""
        async with shown(step):
            done = await session.blocking(delivery.transfer, step.at(partial(_sending, turn)))
        if done is not None:
            return done, ""
    return (None if delivery.extracts else await session.blocking(delivery.extract)), name


async def _failed(session: SendSession, delivery: Delivery, raised: SluiceError) -> DeliveryResult:
    """Record a failed try; the ledger decides what follows."""
    each, step = delivery.assignment, BOARD.of(delivery.assignment)
    error = await session.blocking(session.mender.repair_and_explain, each.distribution, each.revision, raised)
    failure = await session.blocking(delivery.fail, error)
    say(step, failure.reason, logging.WARNING, failure=str(error))
    if isinstance(again := delivery.decision, RetryAt):
        step.now(f"retry {again.number} of {again.of} at {again.at.astimezone(UTC):%H:%M:%S}")
    return failure


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
