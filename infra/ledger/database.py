"""Transactions on the ledger's database: the one seam where SQLAlchemy's exceptions become LedgerError.

Every write first locks the one row of ``schema_version`` (``SELECT ... FOR UPDATE``, which SQLite leaves out because BEGIN IMMEDIATE
says the same): one writer at a time, on every database. Threads of one process share transactions (``group.py``).

A transaction that surely wasn't committed is repeated, within bounds. If the connection broke at COMMIT, its outcome is unknown, so each
transaction leaves its process's number in ``writers``, and the repetition looks there first, under the lock, which the broken
transaction held to its end.
"""

from __future__ import annotations

import enum
import os
import time
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from infra.ledger import schema
from infra.ledger.group import Batch, Entry, GroupCommit
from infra.ledger.tables import SCHEMA_VERSION, schema_version, writers
from sluice.errors import LedgerError

BUSY_SECONDS = 10.0
"""Seconds that one try waits for other writers."""
TRIES = 6
"""Tries of a transaction that finds the database locked."""
RECONNECT_SECONDS = 30.0
"""Seconds during which a server that went away is called again."""
FIRST_PAUSE, LAST_PAUSE = 0.05, 1.0
"""Seconds before the first repetition, doubled up to the last."""
WRITERS_KEPT = timedelta(days=7)
"""Time for which the mark of a process that no longer writes is kept: far longer than any repetition takes."""

_LOCK = select(schema_version.c.version).with_for_update()
_MARK = update(writers).where(writers.c.id == bindparam("own"))

_T = TypeVar("_T")


class Trouble(enum.Enum):
    """What an exception of the database means for the transaction."""

    LOCKED = "locked"
    """Other writers had it for longer than one try waits."""
    CONFLICT = "conflict"
    """Rolled back in favour of another one."""
    LOST = "lost"
    """The connection broke, or couldn't be made."""
    FINAL = "final"
    """Repeating it can't help."""


@dataclass(frozen=True)
class Fault:
    """An exception of the database, translated for the ledger: safe to log."""

    trouble: Trouble
    cause: str
    """Follows the ledger's name."""
    remedy: str = "see that the database can be reached and written, then repeat"


STAYED_LOCKED = Fault(Trouble.LOCKED, " stayed locked by another process", "see which program holds it open, then repeat")


class Database:
    """An open database with its tables. Safe for threads; a forked child goes on with connections of its own."""

    def __init__(self, readers: Engine, writers: Engine, *, name: str, fault_of: Callable[[SQLAlchemyError], Fault], tries: int) -> None:
        self._readers, self._writers = readers, writers
        self._fault_of, self._tries = fault_of, tries
        self._reconnect_seconds = 0.0  # opening a ledger fails at once if the server is away
        self.name = name
        self._begin()
        _opened.add(self)

    def _begin(self) -> None:
        self._group = GroupCommit(self._run)
        self._id, self._last = uuid.uuid4().hex, 0

    def after_fork(self) -> None:
        """Begin anew in a forked child: the parent's connections are neither used nor closed, and its waiting works stay its own."""
        self._readers.dispose(close=False)
        self._begin()

    def read(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction that changes nothing and sees one moment."""
        return self._transact(self._readers, work)

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` with no other writer; its changes are durable on return. ``work`` may be run again from the start, in any thread.

        Works of other threads may share its transaction; an exception of one of them undoes that one only.
        """
        return self._group.write(work)

    def write_alone(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction of its own that may write, without the lock that ``write`` takes and without its mark."""
        return self._transact(self._writers, work)

    def create_tables(self) -> None:
        """Create missing tables, and upgrade those of an older version. Two processes that start at once both succeed.

        Raises:
            LedgerError: The tables are of a newer version.
        """
        found = self.read(schema.version)
        if found is None:
            self._transact(self._writers, schema.create)
            found = self.read(schema.version)
        if found in schema.UPGRADES:
            self._transact(self._writers, schema.upgrade)
            found = self.read(schema.version)
        self._check(found)
        self._reconnect_seconds = RECONNECT_SECONDS

    def close(self) -> None:
        """Release connections."""
        self._readers.dispose()

    def _check(self, found: int | None) -> None:
        if found != SCHEMA_VERSION:
            raise LedgerError(
                f"ledger {self.name} has schema version {found}, this Sluice needs {SCHEMA_VERSION}",
                remedy="run the Sluice that made it",
            )

    # --- a transaction, repeated if that is safe --------------------------------------------------------------------------

    def _transact(self, engine: Engine, work: Callable[[Connection], _T]) -> _T:
        locked, lost_since, pause = 0, 0.0, FIRST_PAUSE
        while True:
            try:
                with engine.begin() as connection:
                    return work(connection)
            except SQLAlchemyError as error:
                fault = self._fault_of(error)
                if fault.trouble is Trouble.FINAL:
                    raise self._error(fault) from error
                if fault.trouble is Trouble.LOST:
                    lost_since = lost_since or time.monotonic()
                    if time.monotonic() - lost_since >= self._reconnect_seconds:
                        raise self._error(fault) from error
                else:
                    locked += 1
                    if locked >= self._tries:
                        raise self._error(STAYED_LOCKED) from error
            # A try that found the database locked has waited there already.
            if fault.trouble is not Trouble.LOCKED:
                time.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE)

    def error_of(self, error: SQLAlchemyError) -> LedgerError:
        """Translate an exception of this database."""
        return self._error(self._fault_of(error))

    def _error(self, fault: Fault) -> LedgerError:
        return LedgerError(f"ledger {self.name}{fault.cause}", remedy=fault.remedy)

    def _run(self, batch: Batch) -> None:
        """Complete a batch: each entry gets its outcome, and those that succeeded are durable."""
        try:
            self._transact(self._writers, lambda connection: self._write_all(connection, batch))
        except LedgerError as error:
            batch.fail(error)

    def _write_all(self, connection: Connection, batch: Batch) -> None:
        self._check(connection.execute(_LOCK).scalar_one())
        if batch.mark and batch.mark == connection.execute(select(writers.c.last).where(writers.c.id == self._id)).scalar_one_or_none():
            return
        wanted = [entry for entry in batch.entries if not entry.abandoned]
        for entry in wanted:
            self._write_one(connection, entry, alone=len(wanted) == 1)
        if all(entry.error is not None for entry in wanted):
            connection.get_transaction().rollback()  # type: ignore[union-attr] # there is one: engine.begin()
            return
        self._last += 1
        self._mark_writer(connection)
        batch.mark = self._last

    def _write_one(self, connection: Connection, entry: Entry[Any], *, alone: bool) -> None:
        """Run one work so that nothing of it remains if it fails; if it is alone in the transaction, a rollback does that."""
        if not alone:
            connection.exec_driver_sql("SAVEPOINT one")
        try:
            entry.run(connection)
        except SQLAlchemyError as error:
            fault = self._fault_of(error)
            if fault.trouble is not Trouble.FINAL:
                raise
            entry.error = self._error(fault)
            entry.error.__cause__ = error
        except Exception as error:  # noqa: BLE001 # any exception is raised again in the thread that wrote
            entry.error = error
        if alone:
            return
        try:
            if entry.error is not None:
                connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one")
            connection.exec_driver_sql("RELEASE SAVEPOINT one")
        except SQLAlchemyError as error:
            # SQLite undoes the whole transaction if its disk is full or fails; the work's error says why.
            cause = entry.error.__cause__ if entry.error is not None else None
            raise cause if isinstance(cause, SQLAlchemyError) else error from None

    def _mark_writer(self, connection: Connection) -> None:
        """Leave this process's mark in the transaction."""
        now = datetime.now(UTC)
        if connection.execute(_MARK, {"own": self._id, "last": self._last, "at": now}).rowcount == 0:
            connection.execute(delete(writers).where(writers.c.at < now - WRITERS_KEPT))
            connection.execute(insert(writers).values(id=self._id, last=self._last, at=now))


_opened: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork() -> None:
    for database in _opened:
        database.after_fork()


os.register_at_fork(after_in_child=_after_fork)
