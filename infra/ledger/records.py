"""The parts of the ledger's transactions: append an event, change a state, update or insert a row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, Update, and_, bindparam, delete, insert, select, true, update

from infra.ledger.rows import event_values, read_state, state_values
from infra.ledger.tables import events, failing, states
from sluice.model.event import Event, EventKind
from sluice.model.state import CurrentState, Record
from sluice.rules.wording import printable

VALUES_MAX = 500
"""Most values of a list in one statement: databases limit its parameters."""

# Made once: making its statements is most of what a write costs. Values come when they are executed.
_APPEND = insert(events).inline()
_FAILS = {EventKind.BUILD_FAILED: "build", EventKind.SIGN_FAILED: "sign"}
_SUCCEEDS = {EventKind.BUILT: "build", EventKind.NO_CHANGE: "build", EventKind.SIGNED: "sign"}


def append(connection: Connection, event: Event) -> None:
    """Append an event."""
    connection.execute(_APPEND, event_values(event))
    if event.kind in _SUCCEEDS:
        key = {"distribution": event.distribution, "operation": _SUCCEEDS[event.kind]}
        connection.execute(delete(failing).where(matches(failing, key)))
    elif event.kind in _FAILS:
        _keep_failure(connection, event, _FAILS[event.kind])


def _keep_failure(connection: Connection, event: Event, operation: str) -> None:
    """Keep the failure of a build, or of signing, from the first one on, until the same succeeds; a build's goes before signing's."""
    key = {"distribution": event.distribution}
    known = connection.execute(select(failing.c.since, failing.c.operation).where(matches(failing, key))).one_or_none()
    if known is None or known.operation == operation or operation == "build":
        since = known.since if known is not None and known.operation == operation else event.at
        told = {name: printable(str(event.data.get(name, ""))) for name in ("code", "message", "remedy")}
        upsert(connection, failing, key, {"since": since, "at": event.at, "operation": operation, **told})


def apply_record(connection: Connection, record: Record) -> CurrentState | None:
    """Append the record's event and change its pair's state; returns the new state, None if the record changes none."""
    append(connection, record.event)
    return None if record.change is None else change_of_event(connection, record.event, record.change)


def read_current_state(connection: Connection, subscriber: str, distribution: str) -> CurrentState:
    """Return the current state of a pair; all defaults if it was never recorded."""
    row = connection.execute(_STATE, {"of_subscriber": subscriber, "of_distribution": distribution}).one_or_none()
    return CurrentState(subscriber, distribution) if row is None else read_state(row)


def read_states(
    connection: Connection, distributions: Collection[str], subscribers: Collection[str]
) -> dict[tuple[str, str], CurrentState]:
    """Return the states about these names."""
    rows = (row for part in about(states, distributions, subscribers) for row in connection.execute(select(states).where(part)))
    return {(row.subscriber, row.distribution): read_state(row) for row in rows}


def about(table: Table, distributions: Collection[str], subscribers: Collection[str]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions, each for another part of the rows, that a row is about these names; no names match all."""
    for some in parts(table.c.distribution, distributions) or [true()]:
        for others in parts(table.c.subscriber, subscribers) or [true()]:
            yield some & others


def parts(column: ColumnElement[Any], values: Collection[Any]) -> list[ColumnElement[bool]]:
    """Return the conditions that a column has one of these values, so many in each as a statement takes."""
    wanted = sorted(set(values))
    return [column.in_(wanted[at : at + VALUES_MAX]) for at in range(0, len(wanted), VALUES_MAX)]


def change_of_event(connection: Connection, event: Event, change: Callable[[CurrentState], CurrentState]) -> CurrentState:
    """Change the state of the event's pair; returns the new one."""
    return change_state(connection, event.subscriber, event.distribution, change, flow_run=event.flow_run)


def change_state(
    connection: Connection, subscriber: str, distribution: str, change: Callable[[CurrentState], CurrentState], *, flow_run: str = ""
) -> CurrentState:
    """Change the state of a pair; returns the new one."""
    before = read_current_state(connection, subscriber, distribution)
    after = replace(change(before), flow_run=flow_run or before.flow_run)
    if (after.subscriber, after.distribution) != (subscriber, distribution):
        raise ValueError("a change of state may not change whose state it is")
    upsert(connection, states, {"subscriber": subscriber, "distribution": distribution}, state_values(after))
    return after


def upsert(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Update the row of ``key``, or insert it. Safe because there is one writer at a time."""
    bound = {f"of_{name}": value for name, value in key.items()}
    if connection.execute(_update(table), bound | values).rowcount == 0:
        connection.execute(insert(table), key | values)


@cache
def _update(table: Table) -> Update:
    """Return the update of the row whose primary key is bound as ``of_<column>``."""
    return update(table).where(and_(*(column == bindparam(f"of_{column.name}") for column in table.primary_key)))


_STATE = select(states).where(and_(*(column == bindparam(f"of_{column.name}") for column in states.primary_key)))


def matches(table: Table, key: dict[str, Any]) -> ColumnElement[bool]:
    """Return the condition that a row has this key."""
    return and_(*(table.c[name] == value for name, value in key.items()))
