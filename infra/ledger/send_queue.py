"""The send queue's transactions (D9, D10). ``sluice/rules/dispatch.py`` decides; here its decision is saved before it is acted on.

A ticket whose lease ran out is removed when another one enters or starts, in the same transaction in which its slot is given away; so
its late holder finds no row and gets LeaseLostError, and never do more than the limit run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from infra.ledger.database import Database
from infra.ledger.records import about, append, apply_record, parts, upsert
from infra.ledger.rows import read_ticket, select_tickets
from infra.ledger.tables import cancels, queues, tickets
from sluice.errors import LeaseLostError
from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind, JsonValue
from sluice.model.state import CurrentState, Record
from sluice.model.ticket import Lost, Occupied, Phase, QueueLook, QueueTurn, Ticket
from sluice.rules import dispatch

FOREVER = datetime.max.replace(tzinfo=UTC)


class SendQueue:
    """The part of ``sluice.ports.Ledger`` about the send queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enqueue(self, sender: str, assignment: Assignment, holder: str, *, lease_seconds: float, now: datetime) -> Ticket | Occupied:
        """See ``sluice.ports.Ledger``."""
        subscriber, distribution = assignment.pair
        pair = (tickets.c.subscriber == subscriber) & (tickets.c.distribution == distribution)

        def work(connection: Connection) -> Ticket | Occupied:
            found = [read_ticket(row) for row in connection.execute(select_tickets().where(pair))]
            expired = _expired(found, (), now)
            _remove(connection, expired, now)
            if others := [ticket for ticket in found if ticket not in expired]:
                return dispatch.occupied(others[0])
            new = Ticket(0, sender, subscriber, distribution, assignment.revision, assignment.priority, holder, Phase.ENTERED, now, now)
            new = dispatch.leased(new, now, lease_seconds)
            values = asdict(new) | {"revision": str(new.revision), "priority": new.priority.value, "phase": new.phase.value}
            del values["number"]  # the database counts
            key = connection.execute(insert(tickets).values(values)).inserted_primary_key
            _count_change(connection, sender)
            assert key is not None  # noqa: S101 - the insert above names one row
            return replace(new, number=key[0])

        return self._database.write(work)

    def look(self, sender: str) -> QueueLook:
        """See ``sluice.ports.Ledger``."""

        def work(connection: Connection) -> QueueLook:
            return QueueLook(_stamp(connection, sender), {r.name: r.at for r in connection.execute(select(cancels.c.name, cancels.c.at))})

        return self._database.read(work)

    def take_turns(
        self,
        sender: str,
        kept: Collection[int],
        asking: Collection[int],
        began: Callable[[int], Record],
        *,
        limit: int | None,
        now: datetime,
    ) -> QueueTurn:
        """See ``sluice.ports.Ledger``."""

        def decided(connection: Connection) -> tuple[list[Ticket], QueueTurn]:
            found = _select_of_sender(connection, sender)
            queue = [replace(t, phase=Phase.READY) if t.number in asking and t.phase is Phase.ENTERED else t for t in found]
            return found, _decide_turn(queue, kept, _stamp(connection, sender), limit, now)

        def work(connection: Connection) -> QueueTurn:
            found, turn = decided(connection)
            changes = _changes(found, asking, turn)
            expired = _expired(found, kept, now)
            _remove(connection, expired, now)
            for before, phase in changes:
                connection.execute(update(tickets).where(tickets.c.number == before.number).values(phase=phase.value))
                if phase is Phase.RUNNING and before.phase is Phase.PAUSED:
                    append(connection, _event(EventKind.SEND_RESUMED, before, now))
                elif phase is Phase.RUNNING:
                    apply_record(connection, began(before.number))
            if not changes and not expired:
                return turn
            return replace(turn, stamp=_count_change(connection, sender))

        found, turn = self._database.read(decided)
        return self._database.write(work) if _changes(found, asking, turn) or _expired(found, kept, now) else turn

    def pause(self, ticket: Ticket, *, now: datetime) -> None:
        """See ``sluice.ports.Ledger``."""

        def work(connection: Connection) -> None:
            runs = (tickets.c.number == ticket.number) & (tickets.c.phase == Phase.RUNNING.value)
            if connection.execute(update(tickets).where(runs).values(phase=Phase.PAUSED.value)).rowcount == 0:
                raise LeaseLostError(
                    f"ticket {ticket.number} ({ticket.distribution} to {ticket.subscriber}) was given away: its lease ran out",
                    remedy="nothing to do: the send is tried again",
                )
            append(connection, _event(EventKind.SEND_PAUSED, ticket, now))
            _count_change(connection, ticket.sender)

        self._database.write(work)

    def renew(self, numbers: Collection[int], *, lease_seconds: float, now: datetime) -> frozenset[int]:
        """See ``sluice.ports.Ledger``."""
        until = now + timedelta(seconds=lease_seconds)

        def work(connection: Connection) -> frozenset[int]:
            kept = set[int]()
            for part in parts(tickets.c.number, numbers):
                shorter = part & (tickets.c.lease_until < until)  # never shortened
                connection.execute(update(tickets).where(shorter).values(lease_until=until))
                kept |= set(connection.execute(select(tickets.c.number).where(part)).scalars())
            return frozenset(kept)

        return self._database.write(work)

    def release(self, ticket: Ticket, record: Record) -> Ticket | Lost:
        """See ``sluice.ports.Ledger``."""

        def work(connection: Connection) -> Ticket | Lost:
            apply_record(connection, record)
            mine = tickets.c.number == ticket.number
            if connection.execute(update(tickets).where(mine).values(phase=Phase.ENTERED.value)).rowcount == 0:
                return Lost()
            _count_change(connection, ticket.sender)
            return _select_ticket(connection, ticket.number)

        return self._database.write(work)

    def finish(self, ticket: Ticket, record: Record | None = None) -> CurrentState | None:
        """See ``sluice.ports.Ledger``."""

        def work(connection: Connection) -> CurrentState | None:
            remove_ticket(connection, ticket)
            return None if record is None else apply_record(connection, record)

        return self._database.write(work)


def remove_ticket(connection: Connection, ticket: Ticket) -> None:
    """Remove a ticket from the queue, within a transaction."""
    if connection.execute(delete(tickets).where(tickets.c.number == ticket.number)).rowcount:
        _count_change(connection, ticket.sender)


def read_queues(connection: Connection, distributions: Collection[str], subscribers: Collection[str]) -> tuple[Ticket, ...]:
    """Return, by number, all tickets of the senders that have one about these names, within a transaction."""
    asked = [select(tickets.c.sender).where(part).distinct() for part in about(tickets, distributions, subscribers)]
    senders = {sender for query in asked for sender in connection.execute(query).scalars()}
    return tuple(sorted((t for sender in senders for t in _select_of_sender(connection, sender)), key=lambda t: t.number))


def _select_of_sender(connection: Connection, sender: str) -> list[Ticket]:
    return [read_ticket(r) for r in connection.execute(select_tickets().where(tickets.c.sender == sender))]


def _select_ticket(connection: Connection, number: int) -> Ticket:
    return read_ticket(connection.execute(select_tickets().where(tickets.c.number == number)).one())


def _decide_turn(queue: Sequence[Ticket], kept: Collection[int], stamp: int, limit: int | None, now: datetime) -> QueueTurn:
    alive = [replace(t, lease_until=FOREVER) if t.number in kept else t for t in queue]
    others = [t.lease_until for t in queue if t.number not in kept and t.phase is not Phase.ENTERED]
    return QueueTurn(stamp, dispatch.decide(alive, limit, now), min(others, default=None))


def _changes(found: Sequence[Ticket], asking: Collection[int], turn: QueueTurn) -> list[tuple[Ticket, Phase]]:
    """Return the phases that have to be saved for those that ask, with the tickets as they were."""
    mine = [t for t in found if t.number in asking and t.number in turn.verdicts]
    return [(t, phase) for t in mine if (phase := turn.verdicts[t.number].ticket.phase) is not t.phase]


def _expired(found: Sequence[Ticket], kept: Collection[int], now: datetime) -> list[Ticket]:
    """Return the tickets whose lease ran out; those in ``kept`` are alive, however late they are renewed."""
    return [t for t in found if not t.live(now) and t.number not in kept]


def _remove(connection: Connection, expired: Sequence[Ticket], now: datetime) -> None:
    for ticket in expired:
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


def _count_change(connection: Connection, sender: str) -> int:
    """Count a change of the queue, for all that watch it; returns the new stamp."""
    stamp = _stamp(connection, sender) + 1
    upsert(connection, queues, {"sender": sender}, {"stamp": stamp})
    return stamp
