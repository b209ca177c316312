"""Wait for claims of a run's tasks, without a thread."""

from __future__ import annotations

import asyncio

from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.extraction import Extraction
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.deliver.under_way import BOARD
from tasks.progress import say
from tasks.send_session import SendSession

OCCUPIED_SECONDS = 3.0
"""Between two looks whether another run has finished with the same Subscriber and Distribution, or somebody cancelled."""
WAITS = "waits until that ends; in the foreground Ctrl-C leaves it"


async def claimed(session: SendSession, steps: Delivery | Extraction, *, instead: str = "") -> DeliveryResult | None:
    """Claim a pair, however long another run has it; return the end if nothing remains to be done then.

    Args:
        instead: Appended to the log's advice how to leave: what else can be done meanwhile.
    """
    step, logged = BOARD.of(steps.assignment), ""
    while (occupied := await session.blocking(steps.enter)) is not None:
        if occupied.reason != logged:
            logged = occupied.reason
            step.now(f"waiting: {logged}")
            say(step, f"{logged}; {WAITS}{instead}")
        await asyncio.sleep(OCCUPIED_SECONDS)
        if (done := await session.blocking(steps.settled)) is not None:
            return done
    return None
