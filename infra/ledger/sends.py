"""The send queue's transactions (D9, D10). ``sluice/rules/dispatch.py`` decides; here its decision is saved before anybody acts on it.

A ticket whose lease ran out is removed by the next who enters or starts, in the same transaction in which the room it leaves is
given away; so its late holder finds no row and gets LeaseLostError, and never do more than the limit run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from infra.ledger.database import Database
from infra.ledger.records import append, keep, put
from infra.ledger.rows import select_tickets, ticket_of
from infra.ledger.tables import cancels, queues, tickets
from sluice.errors import LeaseLostError
from sluice.model.event import Event, EventKind, JsonValue
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.state import CurrentState, Record
from sluice.model.ticket import Lost, Occupied, Phase, QueueLook, QueueTurn, Ticket
from sluice.rules import dispatch

NUMBERS_MAX = 500
"""Numbers in one statement: databases bound their parameters."""
FOREVER = datetime.max.replace(tzinfo=UTC)


def enqueue(
    database: Database,
    sender: str,
    subscriber: str,
    distribution: str,
    revision: RevisionNumber,
    priority: Priority,
    holder: str,
    *,
    lease_seconds: float,
    now: datetime,
) -> Ticket | Occupied:
    """As ``Ledger.enqueue``."""
    pair = (tickets.c.subscriber == subscriber) & (tickets.c.distribution == distribution)

    def work(connection: Connection) -> Ticket | Occupied:
        found = [ticket_of(r) for r in connection.execute(select_tickets().where(pair))]
        _remove(connection, _dead(found, (), now), now)
        row = connection.execute(select_tickets().where(pair)).one_or_none()
        if row is not None:
            return dispatch.occupied(ticket_of(row))
        fresh = Ticket(0, sender, subscriber, distribution, revision, priority, holder, Phase.ENTERED, now, now)
        leased = dispatch.leased(fresh, now, lease_seconds)
        values = {
            "sender": sender,
            "subscriber": subscriber,
            "distribution": distribution,
            "revision": str(revision),
            "priority": priority.value,
            "holder": holder,
            "phase": leased.phase.value,
            "entered": now,
            "lease_until": leased.lease_until,
        }
        number = connection.execute(insert(tickets).values(values)).inserted_primary_key
        _changed(connection, sender)
        assert number is not None  # noqa: S101 - the insert above names one row
        return _of_number(connection, number[0])

    return database.write(work)


def look(database: Database, sender: str) -> QueueLook:
    """As ``Ledger.look``."""

    def work(connection: Connection) -> QueueLook:
        return QueueLook(_stamp(connection, sender), {r.name: r.at for r in connection.execute(select(cancels.c.name, cancels.c.at))})

    return database.read(work)


def take_turns(
    database: Database,
    sender: str,
    kept: Collection[int],
    asking: Collection[int],
    began: Callable[[int], Record],
    *,
    limit: int | None,
    now: datetime,
) -> QueueTurn:
    """As ``Ledger.take_turns``."""

    def decided(connection: Connection) -> tuple[list[Ticket], QueueTurn]:
        found = _of_sender(connection, sender)
        queue = [replace(t, phase=Phase.READY) if t.number in asking and t.phase is Phase.ENTERED else t for t in found]
        return found, _turn(queue, kept, _stamp(connection, sender), limit, now)

    def work(connection: Connection) -> QueueTurn:
        found, turn = decided(connection)
        changes = _changes(found, asking, turn)
        dead = _dead(found, kept, now)
        _remove(connection, dead, now)
        for before, phase in changes:
            connection.execute(update(tickets).where(tickets.c.number == before.number).values(phase=phase.value))
            if phase is Phase.RUNNING and before.phase is Phase.PAUSED:
                append(connection, _event(EventKind.SEND_RESUMED, before, now))
            elif phase is Phase.RUNNING:
                keep(connection, began(before.number))
        if not changes and not dead:
            return turn
        return replace(turn, stamp=_changed(connection, sender))

    found, turn = database.read(decided)
    return database.write(work) if _changes(found, asking, turn) or _dead(found, kept, now) else turn


def pause(database: Database, ticket: Ticket, *, now: datetime) -> None:
    """As ``Ledger.pause``."""

    def work(connection: Connection) -> None:
        runs = (tickets.c.number == ticket.number) & (tickets.c.phase == Phase.RUNNING.value)
        if connection.execute(update(tickets).where(runs).values(phase=Phase.PAUSED.value)).rowcount == 0:
            raise LeaseLostError(
                f"ticket {ticket.number} ({ticket.distribution} to {ticket.subscriber}) was given away: its lease ran out",
                remedy="enter the queue again",
            )
        append(connection, _event(EventKind.SEND_PAUSED, ticket, now))
        _changed(connection, ticket.sender)

    database.write(work)


def renew(database: Database, numbers: Collection[int], *, lease_seconds: float, now: datetime) -> frozenset[int]:
    """As ``Ledger.renew``."""
    until = now + timedelta(seconds=lease_seconds)
    wanted = sorted(numbers)
    parts = [tickets.c.number.in_(wanted[at : at + NUMBERS_MAX]) for at in range(0, len(wanted), NUMBERS_MAX)]

    def work(connection: Connection) -> frozenset[int]:
        kept = set[int]()
        for part in parts:
            shorter = part & (tickets.c.lease_until < until)  # never shortened
            connection.execute(update(tickets).where(shorter).values(lease_until=until))
            kept |= set(connection.execute(select(tickets.c.number).where(part)).scalars())
        return frozenset(kept)

    return database.write(work)


def release(database: Database, ticket: Ticket, record: Record) -> Ticket | Lost:
    """As ``Ledger.release``."""

    def work(connection: Connection) -> Ticket | Lost:
        keep(connection, record)
        mine = tickets.c.number == ticket.number
        if connection.execute(update(tickets).where(mine).values(phase=Phase.ENTERED.value)).rowcount == 0:
            return Lost()
        _changed(connection, ticket.sender)
        return _of_number(connection, ticket.number)

    return database.write(work)


def finish(database: Database, ticket: Ticket, record: Record | None) -> CurrentState | None:
    """As ``Ledger.finish``."""

    def work(connection: Connection) -> CurrentState | None:
        give_back(connection, ticket)
        return None if record is None else keep(connection, record)

    return database.write(work)


def give_back(connection: Connection, ticket: Ticket) -> None:
    """Take a ticket out of the queue, within a transaction."""
    if connection.execute(delete(tickets).where(tickets.c.number == ticket.number)).rowcount:
        _changed(connection, ticket.sender)


def all_tickets(connection: Connection) -> tuple[Ticket, ...]:
    """By number."""
    return tuple(ticket_of(r) for r in connection.execute(select_tickets().order_by(tickets.c.number)))


def _of_sender(connection: Connection, sender: str) -> list[Ticket]:
    return [ticket_of(r) for r in connection.execute(select_tickets().where(tickets.c.sender == sender))]


def _of_number(connection: Connection, number: int) -> Ticket:
    return ticket_of(connection.execute(select_tickets().where(tickets.c.number == number)).one())


def _turn(queue: Sequence[Ticket], kept: Collection[int], stamp: int, limit: int | None, now: datetime) -> QueueTurn:
    alive = [replace(t, lease_until=FOREVER) if t.number in kept else t for t in queue]
    others = [t.lease_until for t in queue if t.number not in kept and t.phase is not Phase.ENTERED]
    return QueueTurn(stamp, dispatch.decide(alive, limit, now), min(others, default=None))


def _changes(found: Sequence[Ticket], asking: Collection[int], turn: QueueTurn) -> list[tuple[Ticket, Phase]]:
    """What has to be saved of those who ask, and the tickets as they were."""
    mine = [t for t in found if t.number in asking and t.number in turn.verdicts]
    return [(t, phase) for t in mine if (phase := turn.verdicts[t.number].ticket.phase) is not t.phase]


def _dead(found: Sequence[Ticket], kept: Collection[int], now: datetime) -> list[Ticket]:
    """Those whose lease ran out; who looks lives, however late it is."""
    return [t for t in found if not t.live(now) and t.number not in kept]


def _remove(connection: Connection, dead: Sequence[Ticket], now: datetime) -> None:
    for ticket in dead:
        connection.execute(delete(tickets).where(tickets.c.number == ticket.number))
        append(connection, _event(EventKind.LEASE_EXPIRED, ticket, now, {"phase": ticket.phase.value}))


def _event(kind: EventKind, ticket: Ticket, now: datetime, data: Mapping[str, JsonValue] | None = None) -> Event:
    return Event(
        now,
        kind,
        distribution=ticket.distribution,
        revision=ticket.revision,
        subscriber=ticket.subscriber,
        flow_run=ticket.holder,
        data={"sender": ticket.sender, "ticket": ticket.number, **(data or {})},
    )


def _stamp(connection: Connection, sender: str) -> int:
    return connection.execute(select(queues.c.stamp).where(queues.c.sender == sender)).scalar_one_or_none() or 0


def _changed(connection: Connection, sender: str) -> int:
    """Say to all who watch the queue that it isn't what it was; returns the new stamp."""
    stamp = _stamp(connection, sender) + 1
    put(connection, queues, {"sender": sender}, {"stamp": stamp})
    return stamp
