"""Show the progress of long steps: none of those that are over in seconds, few updates of the others.

Bytes are Prefect progress artifacts; the same lines go to the logger ``sluice.progress``, which Prefect doesn't keep: a command in the
foreground shows them. The phases of an extraction are lines of the run's log, one for each that lasts.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from sluice.ports import Progress
from sluice.rules.space import size
from sluice.sender.conversation import AgentEvent
from tasks.run_context import log

SILENT_SECONDS = 3.0
"""A step shorter than this shows none."""
UPDATE_SECONDS = 2.0
"""Between two updates: each is a request to the server, or a line of the log."""
_ACTION = re.compile(r"(?:pre|post) action [0-9]+")
_FOREGROUND = logging.getLogger("sluice.progress")


@dataclass(slots=True)
class _Progress:
    done: int = 0
    total: int = 0
    artifact: UUID | None = None


@asynccontextmanager
async def reported(what: str) -> AsyncIterator[Progress]:
    """Give a step a callback for (done, total) in bytes, to be called from any thread, as often as it likes.

    Args:
        what: Names it for a person: ``zone 1.2 → helsinki-1``.
    """
    seen = _Progress()

    def progress(done: int, total: int) -> None:
        seen.done, seen.total = done, total

    async def update() -> None:
        if seen.total:
            await _show(what, seen)

    async with _repeated(update):
        yield progress
        if seen.artifact is not None:
            seen.done = seen.total
            await _show(what, seen)


@asynccontextmanager
async def phases_logged(what: str) -> AsyncIterator[Callable[[AgentEvent], None]]:
    """Give an extraction a callback for its agent's events, to be called from any thread, as often as that likes.

    Args:
        what: Names it for a person: ``helsinki-1 ← zone 1.2``.
    """
    newest = logged = ""

    def on_event(event: AgentEvent) -> None:
        nonlocal newest
        newest = _phase(event)  # only the newest is logged: an agent that changes its phase all the time fills no log

    async def update() -> None:
        nonlocal logged
        if newest != logged:
            logged = newest
            log().info("%s: %s", what, logged)

    async with _repeated(update):
        yield on_event


@asynccontextmanager
async def _repeated(update: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
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


def _phase(event: AgentEvent) -> str:
    """Describe a phase: ``pre action 1 of 2: waits for NAME (PID 12) to end``; without the counts of others, which change all the time."""
    return _ACTION.sub(lambda found: f"{found[0]} of {event.total}", event.phase, count=1) if _ACTION.match(event.phase) else event.phase


async def _show(what: str, seen: _Progress) -> None:
    percent = min(100.0, 100.0 * seen.done / seen.total)
    text = f"{what}: {size(seen.done)} of {size(seen.total)}"
    _FOREGROUND.info(text)
    try:
        if seen.artifact is None:
            seen.artifact = await acreate_progress_artifact(percent, description=text)
        else:
            await aupdate_progress_artifact(seen.artifact, percent, description=text)
    except Exception as error:  # noqa: BLE001 - a server that is busy mustn't stop a transfer
        log().debug("progress of %s isn't shown: %s", what, error)
