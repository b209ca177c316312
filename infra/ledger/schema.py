"""Making the ledger's tables, and upgrading what an older Sluice made, in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, func, insert, inspect, select, update

from infra.ledger.tables import SCHEMA_VERSION, metadata, queues, schema_version, writers

CREATION_LOCK = 0x536C75696365
"""Of PostgreSQL's advisory locks: who holds it makes the tables."""

UPGRADES: Mapping[int, Callable[[Connection], None]] = {1: queues.create, 2: writers.create}
"""By the version found: what makes the next one of it. Data stay; the version is raised in the same transaction."""


def version(connection: Connection) -> int | None:
    """Of the tables that are there; None where they aren't."""
    if not inspect(connection).has_table(schema_version.name):
        return None
    return connection.execute(select(schema_version.c.version)).scalar_one_or_none()


def make(connection: Connection) -> None:
    """Make what is missing. Two processes that start at once both succeed: on SQLite the transaction began IMMEDIATE."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(CREATION_LOCK)))
    if version(connection) is None:
        metadata.create_all(connection)
        connection.execute(insert(schema_version).values(only=1, version=SCHEMA_VERSION))


def upgrade(connection: Connection) -> None:
    """Bring older tables up to date."""
    row = schema_version.c.version
    while (old := connection.execute(select(row).with_for_update()).scalar_one()) in UPGRADES:
        UPGRADES[old](connection)
        connection.execute(update(schema_version).values(version=old + 1))
