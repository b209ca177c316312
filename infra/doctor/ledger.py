"""Examine a Distributor's ledger, at first without opening it, since opening creates or upgrades its tables."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from infra.ledger.database import BUSY_SECONDS
from infra.ledger.schema import UPGRADES
from infra.ledger.sql import POSTGRES, name_of, open_existing, path_of
from infra.ledger.tables import SCHEMA_VERSION
from sluice.errors import SluiceError
from sluice.model.known import LedgerSnapshot
from sluice.rules import diagnosis
from sluice.rules.diagnosis import Finding, Health

_READABLE = "see that it can be reached and read by this account"
_RESTORE = "restore it from a backup, or move it away: the next build creates a new one, without the history"
_PASSWORD = "set PGPASSFILE (or PGPASSWORD) for this account and the workers; see that user and database of the URL are right"  # noqa: S105 # no password
_NO_PASSWORD = ("no password supplied", "password authentication failed")
"""Messages of libpq and the server, which have no SQLSTATE for it during a connect."""


@dataclass(frozen=True, slots=True)
class LedgerLook:
    """Findings about a ledger; ``snapshot`` is None if it couldn't or mustn't be opened."""

    findings: tuple[Finding, ...]
    snapshot: LedgerSnapshot | None = None

    def newest(self) -> datetime | None:
        """Return the newest time in it."""
        if self.snapshot is None:
            return None
        times = [built.at for built in self.snapshot.built.values()]
        times += [state.since for state in self.snapshot.states.values() if state.since is not None]
        return max(times, default=None)


def look(address: str, now: datetime) -> LedgerLook:
    """Examine schema, rights and queue of the ledger at a path or URL."""
    probe: Callable[[str], tuple[int | None, str]] = _postgres if address.startswith(POSTGRES) else _sqlite
    try:
        name = name_of(address)
    except SluiceError as error:
        return LedgerLook((Finding(Health.FAILED, "ledger", "SLUICE_LEDGER", error.message, error.remedy),))
    try:
        found, refused = probe(address)
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        return LedgerLook((Finding(Health.FAILED, "ledger", name, f"it can't be opened: {_message(error)}", _remedy(error)),))
    judged = diagnosis.schema(name, found, ours=SCHEMA_VERSION, upgrades=UPGRADES)
    if refused:
        return LedgerLook(
            (judged, Finding(Health.FAILED, "ledger", name, f"it can't be written: {refused}", "see its owner, mode and rights"))
        )
    if found != SCHEMA_VERSION:
        return LedgerLook((judged,))
    try:
        ledger = open_existing(address)
        if ledger is None:  # removed meanwhile
            return LedgerLook((judged,))
        with closing(ledger):
            snapshot = ledger.snapshot()
    except SluiceError as error:
        return LedgerLook((judged, Finding(Health.FAILED, "ledger", name, error.message, error.remedy)))
    return LedgerLook((judged, diagnosis.queue(name, snapshot.tickets, now)), snapshot)


def _sqlite(address: str) -> tuple[int | None, str]:
    """Return the version of its tables, and why it can't be written. A missing file has none, and is created by the first build."""
    path = path_of(address)
    if not path.exists():
        return None, "" if os.access(path.parent, os.W_OK) else f"{path.parent} can't be written"
    # Not mode=ro: that refuses a database whose writer was killed in mid-commit, until another connection has rolled it back.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone():
            return None, ""
        row = database.execute("SELECT version FROM schema_version").fetchone()
    # Its journal is created beside it.
    refused = [str(each) for each in (path, path.parent) if not os.access(each, os.W_OK)]
    return (row[0] if row else None), f"{', '.join(refused)}" if refused else ""


def _postgres(address: str) -> tuple[int | None, str]:
    """Return the same of a database."""
    from infra.ledger.postgres import connect

    engine = create_engine("postgresql+psycopg://", creator=lambda: connect(address), poolclass=NullPool, hide_parameters=True)
    with engine.connect().execution_options(postgresql_readonly=True) as database:
        if database.execute(text("SELECT to_regclass('schema_version')")).scalar() is None:
            return None, ""
        query = "SELECT version, has_table_privilege('events', 'INSERT'), pg_is_in_recovery() FROM schema_version"
        version, writable, standby = database.execute(text(query)).one()
    return version, "it is a standby" if standby else "" if writable else "its user may not insert"


def _message(error: OSError | sqlite3.Error | SQLAlchemyError) -> str:
    """Return the first line of the driver's message: no statement, no hints."""
    text = str(getattr(error, "orig", None) or error)
    return (text.splitlines() or [type(error).__name__])[0]


def _remedy(error: OSError | sqlite3.Error | SQLAlchemyError) -> str:
    if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return _RESTORE
    if any(each in str(getattr(error, "orig", None) or "") for each in _NO_PASSWORD):
        return _PASSWORD
    return _READABLE
