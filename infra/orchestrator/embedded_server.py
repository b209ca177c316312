"""Run Prefect's server as ``prefect server start`` does, with three differences: the embedded server of ``sluice up`` and of commands.

Its SQLite transactions begin IMMEDIATE (ADR 0017), it ends once it has stored every event that was sent to it (ADR 0032), and it lists the
time zones once. A test pins Prefect's version and the source of what this relies on. Servers in production use PostgreSQL and Prefect's own
command.

``python -m infra.orchestrator.embedded_server FD`` serves a listening socket that it inherited, and with ``--while-stdin`` only as long as
its standard input stays open: however the process that started it ends.

Prefect begins transactions DEFERRED: one that reads first and then writes is refused at once ("database is locked", whatever the timeout)
if another connection committed in between. Begun IMMEDIATE, it waits for its turn before it reads. Sessions that Prefect doesn't mark as
transactions only read, or write in single statements; they begin nothing, so reads wait for no writer.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from prefect.server.database.configurations import AioSqliteConfiguration
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

STORE_SECONDS = 5.0
"""Most time for the events that wait in memory when the server is ended."""
END_SECONDS = 30.0
"""Most time for a server to end, once the process for which it was started has ended."""
SHARED = ("prefect.main", "prefect.flow_engine", "prefect.task_engine", "sqlalchemy.ext.asyncio", "fastapi.encoders")
"""Modules that a run imports as well as a server."""


@asynccontextmanager
async def begin_immediate(
    _configuration: AioSqliteConfiguration,
    session: AsyncSession,
    with_for_update: bool = False,
) -> AsyncGenerator[AsyncSessionTransaction, None]:
    """Begin a transaction with the write lock held, in place of ``AioSqliteConfiguration.begin_transaction``."""
    from prefect.server.database.configurations import SQLITE_BEGIN_MODE

    async with session.begin() as transaction:
        token = SQLITE_BEGIN_MODE.set("IMMEDIATE")
        try:
            await session.connection()  # sends BEGIN now
        finally:
            # Before the caller goes on: another session opened meanwhile, or a task started, would inherit the mode and wait for us.
            SQLITE_BEGIN_MODE.reset(token)
        yield transaction


def replace_begin() -> None:
    """Have every transaction on SQLite in this process begin IMMEDIATE; PostgreSQL's are as they were."""
    from prefect.server.database.configurations import AioSqliteConfiguration

    AioSqliteConfiguration.begin_transaction = begin_immediate  # type: ignore[assignment, method-assign]


async def store_events() -> None:
    """Wait until every event that was published is consumed: services that are stopped drop those that wait in memory.

    Events that a closed subscription left are consumed by nobody: they are waited for in vain, ``STORE_SECONDS`` at most.
    """
    from prefect.server.utilities.messaging.memory import METRICS

    deadline = time.monotonic() + STORE_SECONDS
    while any(topic["consumed"] < topic["published"] for topic in METRICS.values()):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.01)


def store_before_the_end(app: FastAPI) -> None:
    """Have an application store its events after the last request and before its services end."""
    theirs = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(started: FastAPI) -> AsyncIterator[Any]:
        async with theirs(started) as state:
            yield state
            await store_events()

    app.router.lifespan_context = lifespan


def serve(listening: int, *, is_brief: bool) -> None:
    """Run the server on an inherited socket until it is ended, and a brief one until its standard input is closed.

    In a process that was forked Prefect may be imported, with the settings of the parent.
    """
    if is_brief:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    gc.disable()  # imports leave no garbage: looking for it takes a sixth of their time
    import uvicorn

    server = uvicorn.Server
    if is_brief:
        from infra.orchestrator import brief_server

        brief_server.leave_out()
        server = brief_server.Server
    from prefect.context import refresh_global_settings_context
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    from infra.orchestrator.time_zones import list_time_zones_once

    refresh_global_settings_context()
    replace_begin()
    list_time_zones_once()
    app, settings = create_app(ephemeral=is_brief, final=not is_brief), get_current_settings().server
    store_before_the_end(app)
    config = uvicorn.Config(
        app,
        log_level=settings.logging_level.lower(),
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
    )
    gc.freeze()
    gc.enable()
    server(config).run(sockets=[socket.socket(fileno=listening)])


def _end_with_stdin() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)  # it waits for a request that doesn't end


def main() -> None:
    """Run the server that the arguments say."""
    serve(int(sys.argv[1]), is_brief="--while-stdin" in sys.argv)


if __name__ == "__main__":
    main()
