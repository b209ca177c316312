"""A Distributor's ledger: looked at first without opening it, which makes or upgrades its tables."""

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
from infra.ledger.sql import POSTGRES, open_existing, path_of
from infra.ledger.tables import SCHEMA_VERSION
from sluice.errors import SluiceError
from sluice.model.state import LedgerSnapshot
from sluice.rules import diagnosis
from sluice.rules.diagnosis import Finding, Health

_READABLE = "see that it can be reached and read by this account"
_RESTORE = "restore it from a backup, or move it away: the next build makes a new one, which knows of nothing before it"
_PASSWORD = "set PGPASSFILE (or PGPASSWORD) for this account and the workers; see that user and database of the URL are right"  # noqa: S105 # no password
_NO_PASSWORD = ("no password supplied", "password authentication failed")
"""What libpq and the server say, which have no SQLSTATE for it while they connect."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in a ledger; ``snapshot`` is None where it couldn't or mustn't be opened."""

    findings: tuple[Finding, ...]
    snapshot: LedgerSnapshot | None = None

    def newest(self) -> datetime | None:
        """The newest time it holds."""
        if self.snapshot is None:
            return None
        times = [built.at for built in self.snapshot.built.values()]
        times += [state.since for state in self.snapshot.states.values() if state.since is not None]
        return max(times, default=None)


def look(place: str, now: datetime) -> Looked:
    """Schema, rights and queue of the ledger at a path or URL."""
    probe: Callable[[str], tuple[int | None, str]] = _postgres if place.startswith(POSTGRES) else _sqlite
    try:
        name = _name(place)
    except SluiceError as error:
        return Looked((Finding(Health.FAILED, "ledger", "SLUICE_LEDGER", error.message, error.remedy),))
    try:
        found, refused = probe(place)
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        return Looked((Finding(Health.FAILED, "ledger", name, f"it can't be opened: {_said(error)}", _remedy(error)),))
    judged = diagnosis.schema(name, found, ours=SCHEMA_VERSION, upgrades=UPGRADES)
    if refused:
        return Looked((judged, Finding(Health.FAILED, "ledger", name, f"it can't be written: {refused}", "see its owner, mode and rights")))
    if found != SCHEMA_VERSION:
        return Looked((judged,))
    try:
        ledger = open_existing(place)
        if ledger is None:  # removed meanwhile
            return Looked((judged,))
        with closing(ledger):
            snapshot = ledger.snapshot()
    except SluiceError as error:
        return Looked((judged, Finding(Health.FAILED, "ledger", name, error.message, error.remedy)))
    return Looked((judged, diagnosis.queue(name, snapshot.tickets, now)), snapshot)


def _sqlite(place: str) -> tuple[int | None, str]:
    """Version of its tables, and why it can't be written. A file that isn't there has none, and is made by the first build."""
    path = path_of(place)
    if not path.exists():
        return None, "" if os.access(path.parent, os.W_OK) else f"{path.parent} can't be written"
    # Not mode=ro: that refuses what a killed writer left in mid-commit until somebody else has taken it back.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone():
            return None, ""
        row = database.execute("SELECT version FROM schema_version").fetchone()
    # Its journal is made beside it.
    refused = [str(each) for each in (path, path.parent) if not os.access(each, os.W_OK)]
    return (row[0] if row else None), f"{', '.join(refused)}" if refused else ""


def _name(place: str) -> str:
    """Without user and password, wherever the URL has them."""
    if not place.startswith(POSTGRES):
        return str(path_of(place))
    from infra.ledger.postgres import name_of

    return name_of(place)


def _postgres(place: str) -> tuple[int | None, str]:
    """The same of a database."""
    from infra.ledger.postgres import connect

    engine = create_engine("postgresql+psycopg://", creator=lambda: connect(place), poolclass=NullPool, hide_parameters=True)
    with engine.connect().execution_options(postgresql_readonly=True) as database:
        if database.execute(text("SELECT to_regclass('schema_version')")).scalar() is None:
            return None, ""
        query = "SELECT version, has_table_privilege('events', 'INSERT'), pg_is_in_recovery() FROM schema_version"
        version, writable, standby = database.execute(text(query)).one()
    return version, "it is a standby" if standby else "" if writable else "its user may not insert"


def _said(error: OSError | sqlite3.Error | SQLAlchemyError) -> str:
    """The first line of what the driver says: no statement, no hints."""
    said = str(getattr(error, "orig", None) or error)
    return (said.splitlines() or [type(error).__name__])[0]


def _remedy(error: OSError | sqlite3.Error | SQLAlchemyError) -> str:
    if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return _RESTORE
    if any(each in str(getattr(error, "orig", None) or "") for each in _NO_PASSWORD):
        return _PASSWORD
    return _READABLE
