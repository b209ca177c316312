"""Claims of a run's tasks: waited for without a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sluice.distributor.deliver.result import DeliveryResult
from sluice.model.ticket import Occupied
from tasks.place import log
from tasks.sending import Sends

OCCUPIED_SECONDS = 3.0
"""Between two looks whether another run has finished with the same Subscriber and Distribution, or somebody cancelled."""
WAITS = "waits until that ends; in the foreground Ctrl-C leaves it"


async def entered(
    sends: Sends, enter: Callable[[], Occupied | None], settled: Callable[[], DeliveryResult | None], what: str, *, instead: str = ""
) -> DeliveryResult | None:
    """Claim a pair, however long another run has it; what there is to say where nothing is left to do then.

    Args:
        what: For the log.
        instead: Said after how to leave: what else can be done meanwhile.
    """
    said = ""
    while (occupied := await sends.blocking(enter)) is not None:
        if occupied.reason != said:
            said = occupied.reason
            log().info("%s: %s; %s%s", what, said, WAITS, instead)
        await asyncio.sleep(OCCUPIED_SECONDS)
        if (done := await sends.blocking(settled)) is not None:
            return done
    return None
