"""The ledger in an SQLite file.

A rollback journal, because the versions around 3.40 can corrupt a WAL; ``synchronous=EXTRA``, because a power cut must not undo a commit
that was reported: an order's sequence would be given twice. The journal file stays (``PERSIST``): a commit ends with its header
zeroed and synced, which writes one block, whereas removing or truncating it changes metadata and takes a commit of the file system's own.

Writes begin IMMEDIATE, so that no transaction has to be upgraded. Connections aren't pooled: opening one costs far less than the write
that follows, and nothing is shared with a forked child.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from infra.ledger.database import Database, Fault, Trouble
from sluice.durable import make_directory, sync_directory
from sluice.errors import LedgerError

STOP = "end `sluice up`, stop the workers and wait for running commands, then repeat"
UNHEARD_SECONDS = 1.0
"""Longest wait in SQLite, which takes no signal meanwhile: so long Ctrl-C waits."""
JOURNAL_KEPT = 1 << 20
"""Bytes the journal keeps between transactions."""


def open_sqlite(path: Path, *, busy_seconds: float, tries: int) -> Database:
    """Open the SQLite file ``path`` (0600), creating it, its tables and its directory (0700) if they are missing."""
    make_file(path)
    database = sqlite_database(path, busy_seconds=busy_seconds, tries=tries)
    database.create_tables()
    return database


def sqlite_database(path: Path, *, busy_seconds: float, tries: int, exclusive: bool = False) -> Database:
    """Return the database in the file ``path`` without creating or upgrading anything.

    Args:
        exclusive: Its writes keep readers out too.
    """
    parts = max(1, round(busy_seconds / UNHEARD_SECONDS))
    settings = {"timeout": busy_seconds / parts}
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool, hide_parameters=True, connect_args=settings)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing: ``begin`` below does
        connection.execute("PRAGMA synchronous=EXTRA")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get("sluice_write", False):
            connection.exec_driver_sql("BEGIN")
            return
        connection.exec_driver_sql("PRAGMA journal_mode=PERSIST")
        connection.exec_driver_sql(f"PRAGMA journal_size_limit={JOURNAL_KEPT}")
        connection.exec_driver_sql("BEGIN EXCLUSIVE" if exclusive else "BEGIN IMMEDIATE")

    return Database(engine, engine.execution_options(sluice_write=True), name=str(path), fault_of=_fault_of, tries=tries * parts)


@contextmanager
def at_work(path: Path, *, alone: bool = False) -> Iterator[None]:
    """Hold the directory of the ledger ``path`` while a run works with it, whether it writes by now or not; alone: while it is copied.

    Raises:
        LedgerError: It is being copied; alone: a run works with it.
    """
    with ExitStack() as stack:
        with suppress(OSError):  # there is none yet, or its file system has no locks
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, directory)
            try:
                fcntl.flock(directory, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                what, remedy = ("in use: a run works with it", STOP) if alone else ("being copied", "wait for its end; then use the copy")
                raise LedgerError(f"ledger {path} is {what}", remedy=remedy) from None
        yield


def make_file(path: Path) -> None:
    """Create the file, private: SQLite gives its journal the same mode. Raises LedgerError."""
    try:
        make_directory(path.parent)
        _make_file(path)
    except OSError as error:
        raise LedgerError(f"ledger {path}: {error.strerror}", remedy="see its directory's owner, mode and free space") from error


def _make_file(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return
    os.close(fd)
    sync_directory(path.parent)


def _fault_of(error: SQLAlchemyError) -> Fault:
    original = getattr(error, "orig", None)
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    cause = f": {original or type(error).__name__}"  # the driver's message: no statement, no parameters
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Fault(Trouble.LOCKED, cause)
    if code == sqlite3.SQLITE_FULL:
        return Fault(Trouble.FINAL, cause, "free some space, then repeat")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Fault(Trouble.FINAL, cause, "restore it from a backup; receipts come back from the Subscribers at the next contact")
    return Fault(Trouble.FINAL, cause)
