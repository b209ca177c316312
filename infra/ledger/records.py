"""What every transaction of the ledger is made of: an event appended, a state changed, a row put in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, Update, and_, bindparam, insert, select, update

from infra.ledger.rows import event_values, state_of, state_values
from infra.ledger.tables import events, states
from sluice.model.event import Event
from sluice.model.state import CurrentState, Record

# Made once: most of what a write costs is making its statements. Values come when they are executed.
_APPEND = insert(events).inline()


def append(connection: Connection, event: Event) -> None:
    """One more event."""
    connection.execute(_APPEND, event_values(event))


def keep(connection: Connection, record: Record) -> CurrentState | None:
    """Append the event and change the state it is about; returns the new one, None where nothing is to change."""
    append(connection, record.event)
    return None if record.change is None else change_state(connection, record.event, record.change)


def state_now(connection: Connection, subscriber: str, distribution: str) -> CurrentState:
    """Of a pair, as it stands; all defaults for one that was never recorded."""
    row = connection.execute(_STATE, {"of_subscriber": subscriber, "of_distribution": distribution}).one_or_none()
    return CurrentState(subscriber, distribution) if row is None else state_of(row)


def change_state(connection: Connection, event: Event, change: Callable[[CurrentState], CurrentState]) -> CurrentState:
    """Change the state of the event's pair; returns the new one."""
    before = state_now(connection, event.subscriber, event.distribution)
    after = replace(change(before), flow_run=event.flow_run or before.flow_run)
    if (after.subscriber, after.distribution) != (event.subscriber, event.distribution):
        raise ValueError("a change of state may not change whose state it is")
    put(connection, states, {"subscriber": event.subscriber, "distribution": event.distribution}, state_values(after))
    return after


def put(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Update the row of ``key``, or insert it. Safe because a writer is alone."""
    bound = {f"of_{name}": value for name, value in key.items()}
    if connection.execute(_update(table), bound | values).rowcount == 0:
        connection.execute(insert(table), key | values)


@cache
def _update(table: Table) -> Update:
    """Of the row whose primary key is bound as ``of_<column>``, to the values that come with it."""
    return update(table).where(and_(*(column == bindparam(f"of_{column.name}") for column in table.primary_key)))


_STATE = select(states).where(and_(*(column == bindparam(f"of_{column.name}") for column in states.primary_key)))


def matches(table: Table, key: dict[str, Any]) -> ColumnElement[bool]:
    """Whether a row has this key."""
    return and_(*(table.c[name] == value for name, value in key.items()))
