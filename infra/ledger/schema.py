"""Create the ledger's tables, and upgrade those of an older Sluice in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Column, Connection, func, insert, inspect, select, text, update
from sqlalchemy.schema import CreateColumn

from infra.ledger.tables import (
    SCHEMA_VERSION,
    beliefs,
    failing,
    metadata,
    queue_changes,
    queues,
    schema_version,
    sequences,
    states,
    writers,
)

CREATION_LOCK = 0x536C75696365
"""Number of PostgreSQL's advisory lock that is held while the tables are created."""


def _add_beliefs(connection: Connection) -> None:
    """Upgrade to version 4."""
    _add_columns(connection, states.c.read_back_at, states.c.seen_at, states.c.doubt)
    failing.create(connection)
    beliefs.create(connection)


def _add_orders_of_doubts(connection: Connection) -> None:
    """Upgrade to version 5: whatever was ordered until now was ordered before the doubts that stand."""
    _add_columns(connection, states.c.doubt_order)
    is_its = (sequences.c.distributor == states.c.distributor) & (sequences.c.subscriber == states.c.subscriber)
    last = select(func.coalesce(func.max(sequences.c.last), 0)).where(is_its).scalar_subquery()
    connection.execute(update(states).where(states.c.doubt != "").values(doubt_order=last))


def _add_operations(connection: Connection) -> None:
    """Upgrade to version 6."""
    if failing.c.operation.name not in {each["name"] for each in inspect(connection).get_columns(failing.name)}:  # made just above
        _add_columns(connection, failing.c.operation)


def _add_queue_changes(connection: Connection) -> None:
    """Upgrade to version 7."""
    queue_changes.create(connection)
    next(index for index in states.indexes if index.name == "states_by_distribution").create(connection)


def _add_columns(connection: Connection, *columns: Column[Any]) -> None:
    for column in columns:
        new = CreateColumn(column).compile(dialect=connection.dialect)
        connection.execute(text(f"ALTER TABLE {column.table.name} ADD COLUMN {new}"))


UPGRADES: Mapping[int, Callable[[Connection], None]] = {
    1: queues.create,
    2: writers.create,
    3: _add_beliefs,
    4: _add_orders_of_doubts,
    5: _add_operations,
    6: _add_queue_changes,
}
"""By the version found: the step to the next one. Data stay; the version is raised in the same transaction."""


def version(connection: Connection) -> int | None:
    """Return the version of the tables; None if there are none."""
    if not inspect(connection).has_table(schema_version.name):
        return None
    return connection.execute(select(schema_version.c.version)).scalar_one_or_none()


def create(connection: Connection) -> None:
    """Create missing tables. Two processes that start at once both succeed: on SQLite the transaction began IMMEDIATE."""
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
