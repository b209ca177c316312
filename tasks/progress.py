"""Progress of long steps as Prefect progress artifacts: none for what is over in seconds, few updates for what isn't.

The same lines go to the logger ``sluice.progress``, which Prefect doesn't keep: a command in the foreground shows them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from sluice.ports import Progress
from tasks.place import log
from tasks.wording import size

SILENT_SECONDS = 3.0
"""A step shorter than this shows none."""
UPDATE_SECONDS = 2.0
"""Between two updates: each is a request to the server."""
_AT_HAND = logging.getLogger("sluice.progress")


@dataclass(slots=True)
class _Seen:
    done: int = 0
    total: int = 0
    artifact: UUID | None = None


@asynccontextmanager
async def reported(what: str) -> AsyncIterator[Progress]:
    """Give a step something to tell (done, total) in bytes to, from any thread, as often as it likes.

    Args:
        what: For a person: ``zone 1.2 → helsinki-1``.
    """
    seen = _Seen()

    def progress(done: int, total: int) -> None:
        seen.done, seen.total = done, total

    ticker = asyncio.create_task(_tick(what, seen))
    try:
        yield progress
        if seen.artifact is not None:
            seen.done = seen.total
            await _show(what, seen)
    finally:
        ticker.cancel()
        with suppress(asyncio.CancelledError):
            await ticker


async def _tick(what: str, seen: _Seen) -> None:
    await asyncio.sleep(SILENT_SECONDS)
    while True:
        if seen.total:
            await _show(what, seen)
        await asyncio.sleep(UPDATE_SECONDS)


async def _show(what: str, seen: _Seen) -> None:
    percent = min(100.0, 100.0 * seen.done / seen.total)
    text = f"{what}: {size(seen.done)} of {size(seen.total)}"
    _AT_HAND.info(text)
    try:
        if seen.artifact is None:
            seen.artifact = await acreate_progress_artifact(percent, description=text)
        else:
            await aupdate_progress_artifact(seen.artifact, percent, description=text)
    except Exception as error:  # noqa: BLE001 - a server that is busy mustn't stop a transfer
        log().debug("progress of %s isn't shown: %s", what, error)
