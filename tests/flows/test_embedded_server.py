"""The embedded server: transactions that begin IMMEDIATE (ADR 0017), events that are stored before it ends (ADR 0032)."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import sqlite3
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import prefect
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from prefect.cli._server_utils import _run_in_foreground
from prefect.server.api.server import create_app
from prefect.server.database.configurations import AioSqliteConfiguration, AsyncPostgresConfiguration
from prefect.server.database.interface import PrefectDBInterface
from prefect.server.utilities.messaging import Message, memory
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from infra.orchestrator import embedded_server
from infra.orchestrator.embedded_server import begin_immediate, replace_begin, store_before_the_end
from infra.orchestrator.server_address import ServerAddress, prefect_home, state_directory

READ = sa.text("SELECT count(*) FROM runs")
WRITE = sa.text("INSERT INTO runs VALUES (1)")
Begin = Callable[..., Any]
SERVED = "25cb9ba0950daad2"
PINNED = ("3.8.8", "fc7404da66bcec5e")


def test_prefect_begins_transactions_as_it_did_when_its_method_was_replaced() -> None:
    """Pin what the launcher relies on. After an upgrade read these methods and ADR 0017, measure, then change the values here."""
    relied_on = (AioSqliteConfiguration.begin_transaction, AioSqliteConfiguration.begin_sqlite_stmt, PrefectDBInterface.session_context)
    digest = hashlib.sha256("".join(map(inspect.getsource, relied_on)).encode()).hexdigest()
    assert (prefect.__version__, digest[:16]) == PINNED


def test_prefect_starts_its_server_and_counts_its_messages_as_it_did_when_the_launcher_was_written() -> None:
    """Pin what the launcher does in Prefect's stead. After an upgrade read these and ADR 0032, then change the value here."""
    relied_on = (_run_in_foreground, create_app, memory.update_metric, memory.Subscription.deliver, memory.Consumer._consume_loop)
    digest = hashlib.sha256("".join(map(inspect.getsource, relied_on)).encode()).hexdigest()
    assert digest[:16] == SERVED


def test_a_server_ends_once_each_event_is_consumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By both consumers, of which one is slow; an event that nobody consumes is waited for in vain, and not for ever."""
    monkeypatch.setattr(memory, "METRICS", type(memory.METRICS)(memory.METRICS.default_factory))
    ended: list[tuple[int, int]] = []

    async def serve(app: FastAPI, *, publish_to: str) -> None:
        async with app.router.lifespan_context(app):
            for number in range(5):
                await memory.Topic.by_name(publish_to).publish(memory.MemoryMessage(str(number), {}))

    async def run() -> None:
        quick, slow = list[str](), list[str]()

        async def take(message: Message) -> None:
            quick.append(str(message.data))

        async def take_slowly(message: Message) -> None:
            await asyncio.sleep(0.05)
            slow.append(str(message.data))

        @asynccontextmanager
        async def services(_: FastAPI) -> AsyncIterator[None]:
            tasks = [asyncio.create_task(memory.Consumer("test").run(handler)) for handler in (take, take_slowly)]
            yield
            ended.append((len(quick), len(slow)))
            for task in tasks:
                task.cancel()

        app = FastAPI(lifespan=services)
        store_before_the_end(app)
        await serve(app, publish_to="test")
        memory.Topic.by_name("nobody").subscribe()
        monkeypatch.setattr(embedded_server, "STORE_SECONDS", 0.05)
        await serve(app, publish_to="nobody")

    asyncio.run(run())
    memory.Topic.clear_all()
    assert ended[0] == (5, 5)
    assert len(ended) == 2


def test_the_replacement_is_called_as_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, postgres = AioSqliteConfiguration.begin_transaction, AsyncPostgresConfiguration.begin_transaction
    monkeypatch.setattr(AioSqliteConfiguration, "begin_transaction", theirs)  # undone at the end
    replace_begin()
    assert AioSqliteConfiguration.begin_transaction is begin_immediate  # type: ignore[comparison-overlap]
    assert AsyncPostgresConfiguration.begin_transaction is postgres

    def called(function: Begin) -> list[tuple[Any, ...]]:
        return [(p.name, p.kind, p.default) for p in list(inspect.signature(function).parameters.values())[1:]]

    assert called(begin_immediate) == called(theirs)


@asynccontextmanager
async def runs(path: Path) -> AsyncIterator[Callable[[Begin | None], Any]]:
    """Yield a way to open a session of Prefect's on a new database, marked as a transaction begun by ``begin`` or unmarked."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (number)")
    configuration = AioSqliteConfiguration(f"sqlite+aiosqlite:///{path}")
    engine = await configuration.engine()

    @asynccontextmanager
    async def opened(begin: Begin | None) -> AsyncIterator[AsyncSession]:
        async with await configuration.session(engine) as session:
            if begin is None:
                yield session
            else:
                async with begin(configuration, session):
                    yield session

    yield opened
    await engine.dispose()


def can_write(path: Path) -> bool:
    """Whether another connection can write without waiting; it does."""
    with closing(sqlite3.connect(path, timeout=0)) as other:
        try:
            other.execute("INSERT INTO runs VALUES (2)")
            other.commit()
        except sqlite3.OperationalError:
            return False
        return True


async def read_then_write(path: Path, begin: Begin) -> bool:
    async with runs(path) as opened, opened(begin) as session:
        await session.execute(READ)
        another_wrote = can_write(path)
        await session.execute(WRITE)
        return another_wrote


def test_a_transaction_that_reads_before_it_writes_is_not_overtaken(tmp_path: Path) -> None:
    assert not asyncio.run(read_then_write(tmp_path / "ours", begin_immediate))
    # The reason for all this: Prefect's own is overtaken, and refused at once whatever its timeout.
    with pytest.raises(OperationalError, match="database is locked"):
        asyncio.run(read_then_write(tmp_path / "theirs", AioSqliteConfiguration.begin_transaction))


def test_reads_wait_for_no_transaction_not_even_within_one(tmp_path: Path) -> None:
    async def read_within() -> tuple[int, bool]:
        async with runs(tmp_path / "db") as opened, opened(begin_immediate) as writing, opened(None) as reading:
            await writing.execute(WRITE)
            found = (await asyncio.create_task(reading.execute(READ))).scalar_one()
            return found, can_write(tmp_path / "db")

    assert asyncio.run(read_within()) == (0, False)


def test_a_transaction_that_fails_gives_the_lock_back(tmp_path: Path) -> None:
    async def fail() -> tuple[bool, int]:
        async with runs(tmp_path / "db") as opened:
            with suppress(ZeroDivisionError):
                async with opened(begin_immediate) as session:
                    await session.execute(WRITE)
                    raise ZeroDivisionError
            async with opened(None) as session:
                return can_write(tmp_path / "db"), (await session.execute(READ)).scalar_one()

    assert asyncio.run(fail()) == (True, 1)


def request(url: str, method: str, body: dict[str, Any]) -> int:
    sent = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(sent, timeout=90) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_real_server_answers_what_was_overtaken_by_another_writer(server: ServerAddress) -> None:
    """The server reads the pool, then writes it. Begun DEFERRED it is refused if another writer commits between; IMMEDIATE it can't be."""
    pool = f"{server.api_url}/work_pools/overtaken"
    assert request(f"{server.api_url}/work_pools/", "POST", {"name": "overtaken", "type": "process"}) == 201
    database = prefect_home(state_directory(Path())) / "prefect.db"
    statuses: list[int] = []
    for number in range(5):
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asked = threading.Thread(target=lambda n=number: statuses.append(request(pool, "PATCH", {"description": str(n)})))
            asked.start()
            asked.join(0.3)  # long enough for a DEFERRED transaction to have read; nothing depends on it otherwise
            other.execute("UPDATE work_pool SET updated = updated WHERE name = 'overtaken'")
            other.execute("COMMIT")
            asked.join()
    assert statuses == [204] * 5
