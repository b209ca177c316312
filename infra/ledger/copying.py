"""Copy a ledger, whole, from one database to another, whatever the two are.

The source is locked meanwhile and neither written nor upgraded. The target has no rows, or no tables yet. One transaction there makes
the tables, inserts everything, reads it back and compares it row by row, in the order of keys; so a copy that was killed has left nothing,
and one whose end nobody saw is found equal when it is repeated. Values are copied as the databases hold them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, zip_longest
from typing import Any

from sqlalchemy import Connection, Integer, Table, TableClause, column, exists, func, insert, select, table, text
from sqlalchemy.exc import SQLAlchemyError

from infra.ledger import schema
from infra.ledger.database import BUSY_SECONDS, Database
from infra.ledger.sql import POSTGRES, path_of
from infra.ledger.sqlite import STOP, at_work, make_file, sqlite_database
from infra.ledger.tables import SCHEMA_VERSION, metadata, schema_version, tickets
from sluice.errors import LedgerError
from sluice.rules.wording import counted

BATCH = 2000
"""Rows at once."""
TABLES: Sequence[Table] = [each for each in metadata.sorted_tables if each is not schema_version]
Progress = Callable[[str, int, int], None]
"""Gets the table, its rows that are copied, and all of them."""


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """A table of both ledgers."""

    table: str
    rows: int
    digest: str
    """SHA-256 of all rows in the order of their keys, as JSON."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that is equal to its source."""

    source: str
    target: str
    """Names without user and password."""
    tables: tuple[CopiedTable, ...]
    was_there: bool
    """An earlier copy had done it."""


def copy_ledger(source: str, target: str, *, now: datetime, dry_run: bool = False, progress: Progress) -> Copied:
    """Copy everything in the ledger ``source`` to ``target``; each a path or a URL as ``open_ledger`` takes them.

    Args:
        dry_run: Look at both, and count and hash the source.
    Raises:
        LedgerError: The source isn't there, is in use, or one of the two has another version; the target has other rows, or can't be
            written; a row didn't read back as it was. The target is as it was.
    """
    if not source.startswith(POSTGRES) and not path_of(source).exists():
        raise LedgerError(f"there is no ledger {path_of(source)}", remedy="name the file, or the URL of a database")
    is_new_file = not target.startswith(POSTGRES) and not path_of(target).exists()
    old, new = _database(source, exclusive=True), _database(target)
    if old.name == new.name or _is_one_file(source, target):
        raise LedgerError(f"ledger {old.name} is source and target", remedy="name two")
    try:
        with nullcontext() if source.startswith(POSTGRES) else at_work(path_of(source).absolute(), alone=True):
            if is_new_file and not dry_run:
                make_file(path_of(target).absolute())
            return old.write_alone(lambda connection: _locked(_Source(old, connection), new, now, dry_run, is_new_file, progress))
    finally:
        old.close()
        new.close()


def _is_one_file(*places: str) -> bool:
    """Whether both are the same file, by a link too: it would wait for its own lock."""
    files = [path_of(place) for place in places if not place.startswith(POSTGRES)]
    return len(files) == len(places) and all(each.exists() and each.samefile(files[0]) for each in files)


def _database(place: str, *, exclusive: bool = False) -> Database:
    if place.startswith(POSTGRES):
        from infra.ledger.postgres import postgres_database

        return postgres_database(place, busy_seconds=BUSY_SECONDS, tries=1)
    return sqlite_database(path_of(place).absolute(), busy_seconds=BUSY_SECONDS, tries=1, exclusive=exclusive)


@dataclass(frozen=True)
class _Source:
    database: Database
    connection: Connection

    def rows(self, found: Table) -> Generator[tuple[Any, ...], None, None]:
        """Yield as ``_rows``; an error of this database isn't one of the target, in whose transaction it arises."""
        try:
            yield from _rows(self.connection, found)
        except SQLAlchemyError as error:
            raise self.database.error_of(error) from error

    def check(self, now: datetime) -> None:
        """Lock it, and raise LedgerError if it isn't of this version or somebody works with it."""
        _be_patient(self.connection)
        _check_version(self.database.name, schema.version(self.connection))
        self.connection.execute(select(schema_version.c.version).with_for_update())
        at_work = self.connection.execute(select(tickets.c.holder).where(tickets.c.lease_until > now)).first()
        if at_work is not None:
            raise LedgerError(f"ledger {self.database.name} is in use: a flow run has positions in its send queue", remedy=STOP)
        if self.connection.dialect.name == "postgresql":
            others = text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'sluice' AND pid <> pg_backend_pid()"
            )
            if number := self.connection.execute(others).scalar_one():
                raise LedgerError(f"ledger {self.database.name} is in use by {counted(number, 'other connection')} of Sluice", remedy=STOP)


def _locked(source: _Source, new: Database, now: datetime, dry_run: bool, is_new_file: bool, progress: Progress) -> Copied:
    source.check(now)

    def read_only(connection: Connection | None) -> Copied:
        found = schema.version(connection) if connection is not None else None
        if connection is not None and found is not None:
            _check_version(new.name, found)
            if not _is_empty(connection):
                return _equal(source, connection, new.name)
        sums = tuple(_digest(each, zip_longest(source.rows(each), ())) for each in TABLES)
        return Copied(source.database.name, new.name, sums, was_there=False)

    def write(connection: Connection) -> Copied:
        _be_patient(connection)
        if schema.version(connection) is None:
            schema.create(connection)
        _check_version(new.name, schema.version(connection))
        connection.execute(select(schema_version.c.version).with_for_update())
        if not _is_empty(connection):
            return _equal(source, connection, new.name)
        for each in TABLES:
            _insert(source, connection, each, progress)
        tables = tuple(_compared(source, connection, each, new.name) for each in TABLES)
        return Copied(source.database.name, new.name, tables, was_there=False)

    if dry_run:
        return read_only(None) if is_new_file else new.read(read_only)
    return new.write_alone(write)


def _be_patient(connection: Connection) -> None:
    """Lift the server's limits for this transaction: a large table is sorted in one statement, while the other side waits."""
    if connection.dialect.name == "postgresql":
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {name} = 0")


def _check_version(name: str, found: int | None) -> None:
    if found is None:
        raise LedgerError(f"{name} holds no ledger", remedy="name another one")
    if found != SCHEMA_VERSION:
        upgrade = "let `sluice status` open it once, by SLUICE_LEDGER, which upgrades it"
        raise LedgerError(
            f"ledger {name} has schema version {found}, and {SCHEMA_VERSION} is copied",
            remedy=upgrade if found < SCHEMA_VERSION else "use the Sluice that made it",
        )


def _is_empty(connection: Connection) -> bool:
    return not any(connection.execute(select(exists(select(each)))).scalar_one() for each in TABLES)


def _equal(source: _Source, connection: Connection, name: str) -> Copied:
    """Return an earlier copy; raise LedgerError if the target has anything else."""
    try:
        tables = tuple(_compared(source, connection, each, name) for each in TABLES)
    except _DifferentRows:
        raise LedgerError(f"ledger {name} isn't empty", remedy="name a new database, or a file that isn't there yet") from None
    return Copied(source.database.name, name, tables, was_there=True)


def _insert(source: _Source, connection: Connection, found: Table, progress: Progress) -> None:
    total, done = source.connection.execute(select(func.count()).select_from(found)).scalar_one(), 0
    rows, names = source.rows(found), [each.name for each in found.columns]
    while batch := list(islice(rows, BATCH)):
        connection.execute(insert(_raw(found)), [dict(zip(names, row, strict=True)) for row in batch])
        done += len(batch)
        progress(found.name, done, total)
    if connection.dialect.name == "postgresql" and done and "number" in found.columns:  # which PostgreSQL counts beside the table
        last = select(func.max(found.c.number)).scalar_subquery()
        connection.execute(select(func.setval(func.pg_get_serial_sequence(found.name, "number"), last)))


class _DifferentRows(LedgerError):
    """A row of the target isn't the source's."""


def _compared(source: _Source, connection: Connection, found: Table, name: str) -> CopiedTable:
    with closing(source.rows(found)) as ours, closing(_rows(connection, found)) as theirs:

        def equal() -> Iterator[tuple[Any, Any]]:
            for pair in zip_longest(ours, theirs):
                if pair[0] != pair[1]:
                    raise _DifferentRows(f"ledger {name} doesn't hold what was copied: {found.name} differs", remedy="report it as a bug")
                yield pair

        return _digest(found, equal())


def _digest(found: Table, pairs: Iterator[tuple[Any, Any]]) -> CopiedTable:
    digest, rows = hashlib.sha256(), 0
    for row, _ in pairs:
        digest.update(json.dumps(row).encode() + b"\n")
        rows += 1
    return CopiedTable(found.name, rows, digest.hexdigest())


def _raw(found: Table) -> TableClause:
    """Return the table without types: values go as they came."""
    return table(found.name, *(column(each.name) for each in found.columns))


def _rows(connection: Connection, found: Table) -> Generator[tuple[Any, ...], None, None]:
    """Yield all rows by their key, in which text is sorted by its bytes on every database."""
    raw, is_sqlite = _raw(found), connection.dialect.name == "sqlite"
    keys = [raw.c[key.name] if is_sqlite or isinstance(key.type, Integer) else raw.c[key.name].collate("C") for key in found.primary_key]
    query = select(*raw.c).order_by(*keys).execution_options(yield_per=BATCH)
    with closing(connection.execute(query)) as result:
        yield from map(tuple, result)
