"""The ledger on PostgreSQL, for several Distributors or machines that share one.

libpq reads the URL, so everything it knows holds: TLS (``sslmode``, ``sslrootcert``), several hosts, a service, and the password of
PGPASSFILE. No message names the user or the password.

Reads are REPEATABLE READ and read only: one moment. Writes are READ COMMITTED, behind the lock on ``schema_version``. Waits are bounded,
in the server too, so that a stopped process or a vanished machine holds the lock for half a minute at most. Leaves out poolers that give
each transaction another session: their sessions don't keep these settings.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from infra.ledger.database import Database, Fault, Trouble
from sluice.errors import LedgerError

STATEMENT_SECONDS = 60
"""Most seconds of one statement, its wait for a lock included."""
IDLE_SECONDS = 30
"""Seconds without a statement after which the server ends a transaction: a stopped holder of the lock holds up all. Less than all tries."""
CONNECT_SECONDS = 10
SILENT_SECONDS = 30
"""Seconds of silence after which the system gives up a peer."""
POOL_KEPT, POOL_MORE = 1, 3
"""Connections of one process: kept open, and at most more at a time. A server has about 100, and every flow run is a process."""
POOL_SECONDS = 60

_DEFAULTS: dict[str, Any] = {
    "application_name": "sluice",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": SILENT_SECONDS // 2,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENT_SECONDS * 1000,
}

_PASSWORD = "see the URL's user and database; a password comes from PGPASSFILE or a service file"  # noqa: S105 # where it comes from
_REMEDIES = {
    "25006": "name the primary: ?target_session_attrs=read-write in its URL",
    "42501": "grant its user CREATE on the schema, and all on the tables",
    "53100": "free some space on the server, then repeat",
    "53300": "raise the server's max_connections, then repeat",
}
"""By SQLSTATE."""


def open_postgres(url: str, *, busy_seconds: float, tries: int) -> Database:
    """Open the database at ``url`` (``postgresql://``, or ``postgresql+psycopg://`` as SQLAlchemy writes it); creating missing tables.

    Raises:
        LedgerError: The URL can't be parsed, or the database can't be reached or used; the message has no password.
    """
    database = postgres_database(url, busy_seconds=busy_seconds, tries=tries)
    database.create_tables()
    return database


def postgres_database(url: str, *, busy_seconds: float, tries: int) -> Database:
    """Return the database at ``url`` without creating or upgrading anything. Raises LedgerError: the URL can't be parsed."""
    settings = _settings(url)
    limits = {
        "lock_timeout": max(1, round(busy_seconds * 1000)),
        "statement_timeout": STATEMENT_SECONDS * 1000,
        "idle_in_transaction_session_timeout": IDLE_SECONDS * 1000,
    }
    options = " ".join([*(f"-c {name}={value}" for name, value in limits.items()), str(settings.get("options", ""))]).strip()
    arguments: dict[str, Any] = {**_DEFAULTS, **settings, "options": options, "client_encoding": "UTF8"}
    name = _name(settings)
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(**arguments),
        pool_size=POOL_KEPT,
        max_overflow=POOL_MORE,
        pool_timeout=POOL_SECONDS,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: psycopg.Connection[Any], _record: Any) -> None:
        if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
            raise LedgerError(f"ledger {name} has the encoding {encoding}", remedy="create the database with ENCODING 'UTF8'")
        # Durable when a call returns, whatever the server's default; a stricter one stays.
        connection.execute("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
        connection.commit()

    return Database(
        engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        engine.execution_options(isolation_level="READ COMMITTED"),
        name=name,
        fault_of=_fault_of,
        tries=tries,
    )


def connect(url: str) -> psycopg.Connection[Any]:
    """Connect as ``open_postgres`` does, for reading only. Raises psycopg.Error; LedgerError if the URL can't be parsed."""
    return psycopg.connect(**{**_DEFAULTS, **_settings(url)})


def name_of(url: str) -> str:
    """Return the name of the database at ``url`` in messages: host, port, database or service. Raises LedgerError."""
    return _name(_settings(url))


def _settings(url: str) -> dict[str, Any]:
    """Parse a URL as libpq does."""
    try:
        found = conninfo_to_dict("postgresql://" + url.partition("://")[2])
    except psycopg.ProgrammingError:  # its message quotes the URL, which may have a password
        found = None
    # A password with / or @ ends too early: the rest of it is taken for host, port or database.
    if found is None or any("@" in str(found.get(name, "")) for name in ("host", "port", "dbname")):
        raise LedgerError("the ledger's URL can't be read", remedy="write postgresql://USER@HOST/DATABASE, with %xx for what isn't plain")
    return found


def _name(settings: dict[str, Any]) -> str:
    host = str(settings.get("host") or settings.get("hostaddr") or "")
    port = f":{settings['port']}" if settings.get("port") else ""
    service = f"?service={settings['service']}" if settings.get("service") else ""
    return f"postgresql://{host}{port}/{settings.get('dbname') or ''}{service}"


def _fault_of(error: SQLAlchemyError) -> Fault:
    original = getattr(error, "orig", None)
    if not isinstance(original, psycopg.Error):
        return Fault(Trouble.FINAL, f": {type(error).__name__}")
    code = original.sqlstate or ""
    cause = f": {original.diag.message_primary or ' '.join(str(original).split())}"
    remedy = _REMEDIES.get(code, Fault.remedy)
    if not code and isinstance(original, psycopg.OperationalError):
        return Fault(Trouble.LOST, cause, f"see that the server runs and can be reached; {_PASSWORD}")
    if code.startswith("08") or code in ("57P01", "57P02", "57P03", "25P03", "53300"):
        return Fault(Trouble.LOST, cause, remedy)
    if code in ("40001", "40P01"):
        return Fault(Trouble.CONFLICT, cause, remedy)
    if code == "55P03":
        return Fault(Trouble.LOCKED, cause, remedy)
    return Fault(Trouble.FINAL, cause, remedy)
