"""The tables of the ledger: one metadata for every database (docs/ledger.md describes the columns).

Portable on purpose: text, integers and nothing special to one database. Revisions are text (``2.3``); times are RFC 3339 text in UTC,
27 characters, so that they sort as text and a person reads them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, MetaData, String, Table, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = 7
"""Version of these tables. An older ledger is upgraded when it is opened (``schema.UPGRADES``), a newer one isn't opened."""

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class UtcTime(TypeDecorator[datetime]):
    """An aware time, as ``2026-12-01T20:00:00.000000Z``."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Convert to text; a naive time is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC).strftime(_FORMAT)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Convert from text."""
        return None if value is None else datetime.fromisoformat(value)


metadata = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts by itself in an INTEGER alone, which has 64 bits there


def _name(column: str, *, primary_key: bool = False) -> Column[str]:
    """Return a column for a name of the site, or an id; empty if it doesn't apply."""
    return Column(column, String(255), nullable=False, primary_key=primary_key)


def _revision(column: str, *, nullable: bool) -> Column[str]:
    return Column(column, String(20), nullable=nullable)


schema_version = Table(
    "schema_version",
    metadata,
    Column("only", Integer, CheckConstraint('"only" = 1'), primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)
"""One row. A writer locks it first, so that there is one writer at a time on every database."""

events = Table(
    "events",
    metadata,
    Column("number", _NUMBER, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(40), nullable=False),
    _name("distributor"),
    _name("distribution"),
    _revision("revision", nullable=True),
    _name("subscriber"),
    _name("channel"),
    _name("flow_run"),
    Column("data", Text, nullable=False),
    Index("events_by_pair", "distribution", "subscriber", "number"),
    sqlite_autoincrement=True,
)

states = Table(
    "states",
    metadata,
    _name("subscriber", primary_key=True),
    _name("distribution", primary_key=True),
    _name("distributor"),
    _name("channel"),
    _revision("held", nullable=True),
    _revision("extracted", nullable=True),
    _revision("offered", nullable=True),
    Column("state", String(40), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", UtcTime, nullable=True),
    Column("bytes_sent", BigInteger, nullable=False),
    Column("bytes_last", BigInteger, nullable=False),
    Column("bytes_resumed", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_failure", UtcTime, nullable=True),
    Column("next_try", UtcTime, nullable=True),
    Column("error_code", String(80), nullable=False),
    Column("error_message", Text, nullable=False),
    Column("error_remedy", Text, nullable=False),
    Column("error_retryable", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    _name("flow_run"),
    Column("read_back_at", UtcTime, nullable=True),
    Column("seen_at", UtcTime, nullable=True),
    Column("doubt", Text, nullable=False, server_default=""),
    Column("doubt_order", BigInteger, nullable=False, server_default="0"),
    Index("states_by_distribution", "distribution"),
)
"""``read_back_at``, ``seen_at`` and ``doubt`` since version 4, ``doubt_order`` since version 5, the index since version 7."""

built = Table(
    "built",
    metadata,
    _name("distribution", primary_key=True),
    _revision("revision", nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

failing = Table(
    "failing",
    metadata,
    _name("distribution", primary_key=True),
    Column("since", UtcTime, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("code", String(80), nullable=False),
    Column("message", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("operation", String(10), nullable=False, server_default="build"),
)
"""Since version 4. Distributions whose last build, or signing, failed. ``operation`` since version 6."""

beliefs = Table(
    "beliefs",
    metadata,
    _name("distributor", primary_key=True),
    _name("subscriber", primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("agent", String(80), nullable=False),
    Column("key", String(80), nullable=False),
    Column("directory", Text, nullable=False),
    Column("metadata", BigInteger, nullable=False),
    Column("machines", Text, nullable=False),
    Column("twins_at", UtcTime, nullable=True),
)
"""Since version 4. What each Subscriber's agent said of itself when it last answered."""

sequences = Table(
    "sequences",
    metadata,
    _name("distributor", primary_key=True),
    _name("subscriber", primary_key=True),
    Column("last", BigInteger, nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    _name("subscriber", primary_key=True),
    _name("distributor", primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    _name("distribution"),
    _revision("revision", nullable=False),
    Column("outcome", String(40), nullable=False),
    Column("finished", UtcTime, nullable=False),
    Column("envelope", Text, nullable=False),
)

cancels = Table(
    "cancels",
    metadata,
    _name("name", primary_key=True),
    Column("at", UtcTime, nullable=False),
    _name("by"),
)

tickets = Table(
    "tickets",
    metadata,
    Column("number", _NUMBER, primary_key=True),
    _name("sender"),
    _name("subscriber"),
    _name("distribution"),
    _revision("revision", nullable=False),
    Column("priority", String(10), nullable=False),
    _name("holder"),
    Column("phase", String(10), nullable=False),
    Column("entered", UtcTime, nullable=False),
    Column("lease_until", UtcTime, nullable=False),
    UniqueConstraint("subscriber", "distribution", name="one_ticket_per_pair"),
    Index("tickets_by_sender", "sender"),
    sqlite_autoincrement=True,
)

queues = Table(
    "queues",
    metadata,
    _name("sender", primary_key=True),
    Column("stamp", BigInteger, nullable=False),
)
"""Since version 2. The stamp grows with every change of a sender's queue: of its tickets and their phases, not of their leases."""

queue_changes = Table(
    "queue_changes",
    metadata,
    _name("sender", primary_key=True),
    Column("stamp", BigInteger, primary_key=True, autoincrement=False),
    Column("ticket", BigInteger, primary_key=True, autoincrement=False),
)
"""Since version 7. The tickets that changed with each of the last stamps of a sender's queue, those that are gone too."""

writers = Table(
    "writers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("at", UtcTime, nullable=False),
)
"""Since version 3. The last transaction of each process, so that one whose connection broke at COMMIT knows whether it was committed."""
