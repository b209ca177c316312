"""Tell in Prefect, and to other processes, what the steps of a run are at: nothing of those that are over in seconds, little of the others.

Bytes are Prefect progress artifacts, the phases of a step lines of the run's log, one for each that lasts. The steps are those of the
board (``under_way.py``), which a command in the foreground shows by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from infra.workplace import Workplace
from sluice.distributor.deliver.under_way import BELIEVED_SECONDS, BOARD, DIRECTORY, Step
from sluice.rules.space import size
from tasks.run_context import log

SILENT_SECONDS = 3.0
"""A step shorter than this shows none."""
UPDATE_SECONDS = 2.0
"""Between two updates: each is a request to the server, a line of the log, or a file."""


def say(step: Step, text: str, level: int = logging.INFO, failure: str = "") -> None:
    """Log a line about a step.

    Args:
        failure: The part of the text that says why it failed: a terminal shows that once.
    """
    log().log(level, "%s: %s", step.label, text, extra={"step": step, "failure": failure})
    step.failure = failure or step.failure


@asynccontextmanager
async def shown(step: Step) -> AsyncIterator[None]:
    """Show a step in Prefect while it lasts: its phases in the log, its bytes as an artifact."""
    artifact: UUID | None = None
    logged = ""

    async def update() -> None:
        nonlocal logged, artifact
        text = step.text
        if text != logged:  # only the newest is logged: an agent that changes its phase all the time fills no log
            logged = text
            say(step, text)
        if (percent := step.percent) is not None:
            artifact = await _show(f"{step.label}: {text}: {size(step.done)} of {size(step.total)}", float(percent), artifact)

    async with repeated(update):
        yield
        if artifact is not None:
            await _show(f"{step.label}: {size(step.total)}" if step.total else step.label, 100.0, artifact)


@asynccontextmanager
async def copied(work: Workplace) -> AsyncIterator[None]:
    """Keep a copy of the board in the Distributor's working directory while a run sends; copies of killed runs go."""
    path = Path(work.distributor.working_directory) / DIRECTORY / work.flow_run

    async def update() -> None:
        with suppress(OSError):  # nothing depends on it
            await asyncio.to_thread(BOARD.write, path)

    with suppress(OSError):
        for other in path.parent.iterdir():
            if time.time() - other.stat().st_mtime > BELIEVED_SECONDS:
                other.unlink()
    try:
        async with repeated(update):
            yield
    finally:
        with suppress(OSError):
            path.unlink()


@asynccontextmanager
async def repeated(update: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Update every UPDATE_SECONDS, after SILENT_SECONDS, until the step is over."""

    async def repeat() -> None:
        await asyncio.sleep(SILENT_SECONDS)
        while True:
            await update()
            await asyncio.sleep(UPDATE_SECONDS)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _show(text: str, percent: float, artifact: UUID | None) -> UUID | None:
    try:
        if artifact is None:
            return await acreate_progress_artifact(percent, description=text)
        await aupdate_progress_artifact(artifact, percent, description=text)
    except Exception as error:  # noqa: BLE001 - a server that is busy mustn't stop a transfer
        log().debug("progress isn't shown: %s: %s", text, error)
    return artifact
