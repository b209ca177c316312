"""Extract: have one Subscriber extract what it holds."""

from __future__ import annotations

import logging

from prefect import task

from sluice.distributor.deliver.extraction import Extraction
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.deliver.under_way import BOARD
from sluice.model.assignment import Assignment
from sluice.model.order import Demand
from sluice.model.revision import RevisionNumber
from tasks.claims import claimed
from tasks.progress import say, shown
from tasks.run_context import current
from tasks.send_session import SendSession
from tasks.settings import COMMON

MEANWHILE = ", and `sluice extract OTHER` is for other Subscribers"


@task(
    name="extract",
    task_run_name="{subscriber} extracts {distribution} {revision}",
    description="Have one Subscriber extract what it holds, and keep its receipt",
    **COMMON,
)
async def order_extraction(subscriber: str, distribution: str, revision: str, check: bool = False, demand: Demand = Demand.DUE) -> str:
    """Order one extraction. An unreachable host is no reason to retry here: the next Extract start is.

    Args:
        check: It is extracted: its tree is verified and repaired.
    Returns:
        How it ended, in words; the row is in ``SendSession.rows``, also if the extraction failed.
    Raises:
        SluiceError: The host can't be reached, or its receipt can't be believed.
    """
    session = current().session
    priority = session.work.site.distribution(distribution).priority
    assignment = Assignment(subscriber, distribution, RevisionNumber.parse(revision), priority=priority)
    done = session.rows[assignment.pair] = await _extract(session, session.make_extraction(assignment, check=check, demand=demand))
    text = f"{done.state}; {done.error or done.reason}"
    failure = str(done.error or "")
    say(BOARD.of(assignment), text, logging.ERROR if failure else logging.INFO, failure=failure)
    return text


async def _extract(session: SendSession, extraction: Extraction) -> DeliveryResult:
    if (done := await claimed(session, extraction, instead=MEANWHILE)) is not None:
        return done
    try:
        async with session.extraction_limit:
            if (done := await session.blocking(extraction.settled)) is not None:
                return done
            step = BOARD.of(extraction.assignment)
            step.now("connecting")
            async with shown(step):
                return await session.extracting(extraction.extract, step.on_event)
    finally:
        await session.blocking(extraction.leave)
