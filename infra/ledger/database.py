"""Transactions on the ledger's database: the one seam where SQLAlchemy's exceptions become LedgerError.

SQLite is opened with a rollback journal, because the versions around 3.40 can corrupt a WAL, and with ``synchronous=EXTRA``: FULL
alone doesn't make the journal's removal durable, so a power cut right after a commit could undo it and an order's
sequence would be given twice. Writes begin IMMEDIATE, so that no transaction has to be upgraded; threads of one process queue up before
they contend with other processes. Connections aren't pooled: opening one costs far less than the write that follows, and nothing is
shared with a forked child.

Every write first locks the one row of ``schema_version`` (``SELECT ... FOR UPDATE``, which SQLite leaves out because BEGIN IMMEDIATE
says the same): one writer at a time, on every database.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, inspect, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from infra.ledger.tables import SCHEMA_VERSION, metadata, queues, schema_version
from sluice.durable import make_directory, sync_directory
from sluice.errors import LedgerError

BUSY_SECONDS = 10.0
"""How long one try waits for other processes."""
TRIES = 6
"""Tries of a transaction that finds the database locked."""

UPGRADES: Mapping[int, Callable[[Connection], None]] = {1: queues.create}
"""By the version found: what makes the next one of it. Data stay; the version is raised in the same transaction."""

_T = TypeVar("_T")


class Database:
    """An opened database, with its tables made. Safe for threads."""

    def __init__(self, engine: Engine, *, name: str, tries: int) -> None:
        self._readers = engine
        self._writers = engine.execution_options(sluice_write=True)
        self._tries = tries
        self._one_writer = threading.Lock()
        self.name = name

    def read(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction that changes nothing and sees one moment."""
        return self._transact(self._readers, work)

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction, alone; durable when it returns. ``work`` may be run again from the start."""

        def alone(connection: Connection) -> _T:
            connection.execute(select(schema_version.c.version).with_for_update()).one()
            return work(connection)

        with self._one_writer:
            return self._transact(self._writers, alone)

    def create_tables(self) -> None:
        """Make what is missing, and upgrade what an older version made. Two processes that start at once both succeed.

        Raises:
            LedgerError: The tables are of a newer version.
        """

        def version(connection: Connection) -> int | None:
            if not inspect(connection).has_table(schema_version.name):
                return None
            return connection.execute(select(schema_version.c.version)).scalar_one_or_none()

        def make(connection: Connection) -> None:
            if version(connection) is None:
                metadata.create_all(connection)
                if not connection.execute(select(func.count()).select_from(schema_version)).scalar_one():
                    connection.execute(insert(schema_version).values(only=1, version=SCHEMA_VERSION))

        def upgrade(connection: Connection) -> None:
            row = schema_version.c.version
            while (old := connection.execute(select(row).with_for_update()).scalar_one()) in UPGRADES:
                UPGRADES[old](connection)
                connection.execute(update(schema_version).values(version=old + 1))

        found = self.read(version)
        if found is None:
            self._transact(self._writers, make)
            found = self.read(version)
        if found in UPGRADES:
            self._transact(self._writers, upgrade)
            found = self.read(version)
        if found != SCHEMA_VERSION:
            raise LedgerError(
                f"ledger {self.name} has schema version {found}, this Sluice needs {SCHEMA_VERSION}", remedy="use the Sluice that made it"
            )

    def close(self) -> None:
        """Release connections."""
        self._readers.dispose()

    def _transact(self, engine: Engine, work: Callable[[Connection], _T]) -> _T:
        tries = 0
        while True:
            tries += 1
            try:
                with engine.begin() as connection:
                    return work(connection)
            except SQLAlchemyError as error:
                if not _is_locked(error):
                    raise LedgerError(f"ledger {self.name}: {_cause(error)}", remedy=_remedy(error)) from error
                if tries >= self._tries:
                    raise LedgerError(
                        f"ledger {self.name} stayed locked by another process", remedy="see who holds it open, then repeat"
                    ) from error


def open_sqlite(path: Path, *, busy_seconds: float, tries: int) -> Database:
    """Open the SQLite file ``path`` (0600), made if missing with its directory (0700)."""
    try:
        make_directory(path.parent)
        _make_file(path)
    except OSError as error:
        raise LedgerError(f"ledger {path}: {error.strerror}", remedy="see its directory's owner, mode and free space") from error
    engine = create_engine(
        URL.create("sqlite", database=str(path)), poolclass=NullPool, hide_parameters=True, connect_args={"timeout": busy_seconds}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing: ``begin`` below does
        connection.execute("PRAGMA synchronous=EXTRA")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("sluice_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    database = Database(engine, name=str(path), tries=tries)
    database.create_tables()
    return database


def _make_file(path: Path) -> None:
    """SQLite gives its journal the mode of this file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return
    os.close(fd)
    sync_directory(path.parent)


def _original(error: SQLAlchemyError) -> BaseException | None:
    return getattr(error, "orig", None)


def _is_locked(error: SQLAlchemyError) -> bool:
    code = getattr(_original(error), "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _cause(error: SQLAlchemyError) -> str:
    """What the driver says: no statement, no parameters."""
    return str(_original(error) or type(error).__name__)


def _remedy(error: SQLAlchemyError) -> str:
    code = getattr(_original(error), "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return "free some space, then repeat"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return "restore it from a backup; receipts come back from the Subscribers at the next contact"
    return "see that the database can be reached and written, then repeat"
