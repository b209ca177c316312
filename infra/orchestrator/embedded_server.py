"""Run Prefect's server with SQLite transactions that begin IMMEDIATE (ADR 0017): the embedded server of ``sluice up`` and commands.

``python -m infra.orchestrator.embedded_server ARGUMENTS`` is ``prefect server start ARGUMENTS`` with one method of Prefect's replaced. A
test pins Prefect's version and that method's source. Servers in production use PostgreSQL and Prefect's own command.

Prefect begins transactions DEFERRED: one that reads first and then writes is refused at once ("database is locked", whatever the timeout)
if another connection committed in between. Begun IMMEDIATE, it waits for its turn before it reads. Sessions that Prefect doesn't mark as
transactions only read, or write in single statements; they begin nothing, so reads wait for no writer.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.server.database.configurations import AioSqliteConfiguration
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


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


def main() -> None:
    """Run the server until it is ended."""
    from prefect.cli import app

    replace_begin()
    sys.argv[1:1] = ["server", "start"]
    app()


if __name__ == "__main__":
    main()
