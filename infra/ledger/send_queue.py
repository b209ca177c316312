"""The send queue's transactions (D9, D10). ``sluice/rules/dispatch.py`` is the rule, by which ``queue_copy.py`` decides; here the
decision is saved before it is acted on.

A ticket whose lease ran out is removed when another one enters or starts, in the same transaction in which its slot is given away; so
its late holder finds no row and gets LeaseLostError, and never do more than the limit run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from infra.ledger.database import Database
from infra.ledger.queue_copy import Asked, Decided, QueueCopy, read_stamp
from infra.ledger.records import about, append, apply_record, parts, upsert
from infra.ledger.rows import read_ticket, select_tickets
from infra.ledger.tables import cancels, queue_changes, queues, tickets
from sluice.errors import LeaseLostError
from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind, JsonValue
from sluice.model.state import CurrentState, Record
from sluice.model.ticket import Lost, Occupied, Phase, QueueLook, QueueTurn, Ticket
from sluice.rules import dispatch

CHANGES_KEPT = 1000
"""Stamps of a queue whose changes are kept; a process that is further behind reads the whole queue."""


class SendQueue:
    """The part of ``sluice.ports.Ledger`` about the send queue."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._copies: dict[tuple[int, str], QueueCopy] = {}  # by process, since a forked child needs a lock of its own

    def enqueue(self, sender: str, assignment: Assignment, holder: str, *, lease_seconds: float, now: datetime) -> Ticket | Occupied:
        """See ``sluice.ports.Ledger``."""
        subscriber, distribution = assignment.pair
        pair = (tickets.c.subscriber == subscriber) & (tickets.c.distribution == distribution)

        def work(connection: Connection) -> Ticket | Occupied:
            found = [read_ticket(row) for row in connection.execute(select_tickets().where(pair))]
            for other in found:
                if other.live(now):
                    return dispatch.occupied(other)
                _remove(connection, other, now)
                _count_change(connection, other.sender, [other.number])
            new = Ticket(0, sender, subscriber, distribution, assignment.revision, assignment.priority, holder, Phase.ENTERED, now, now)
            new = dispatch.leased(new, now, lease_seconds)
            values = asdict(new) | {"revision": str(new.revision), "priority": new.priority.value, "phase": new.phase.value}
            del values["number"]  # the database counts
            key = connection.execute(insert(tickets).values(values)).inserted_primary_key
            assert key is not None  # noqa: S101 - the insert above names one row
            _count_change(connection, sender, [key[0]])
            return replace(new, number=key[0])

        return self._database.write(work)

    def tickets(self, sender: str) -> Sequence[Ticket]:
        """See ``sluice.ports.Ledger``."""
        return self._database.read(lambda connection: sorted(_select_of_sender(connection, sender), key=lambda ticket: ticket.number))

    def look(self, sender: str) -> QueueLook:
        """See ``sluice.ports.Ledger``."""

        def work(connection: Connection) -> QueueLook:
            found = connection.execute(select(cancels.c.name, cancels.c.at))
            return QueueLook(read_stamp(connection, sender), {row.name: row.at for row in found})

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
        told: Collection[int] = (),
    ) -> QueueTurn:
        """See ``sluice.ports.Ledger``."""
        copy = self._copies.setdefault((os.getpid(), sender), QueueCopy(sender))
        asked = Asked(kept, asking, told, limit, now)

        def decide(connection: Connection) -> Decided:
            return copy.decide(connection, asked, writing=False)

        def work(connection: Connection) -> QueueTurn:
            decided = copy.decide(connection, asked, writing=True)
            for ticket in decided.over:
                _remove(connection, ticket, now)
            for number, phase in sorted(decided.changes.items()):
                before = decided.before[number]
                connection.execute(update(tickets).where(tickets.c.number == number).values(phase=phase.value))
                if phase is Phase.RUNNING and before.phase is Phase.PAUSED:
                    append(connection, _event(EventKind.SEND_RESUMED, before, now))
                elif phase is Phase.RUNNING:
                    apply_record(connection, began(number))
            if not decided.saves:
                return decided.turn
            changed = [*decided.changes, *(ticket.number for ticket in decided.over)]
            return replace(decided.turn, stamp=_count_change(connection, sender, changed))

        decided = self._database.read(decide)
        return self._database.write(work) if decided.saves else decided.turn

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
            _count_change(connection, ticket.sender, [ticket.number])

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
            _count_change(connection, ticket.sender, [ticket.number])
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
        _count_change(connection, ticket.sender, [ticket.number])


def read_queues(connection: Connection, distributions: Collection[str], subscribers: Collection[str]) -> tuple[Ticket, ...]:
    """Return, by number, all tickets of the senders that have one about these names, within a transaction."""
    asked = [select(tickets.c.sender).where(part).distinct() for part in about(tickets, distributions, subscribers)]
    senders = {sender for query in asked for sender in connection.execute(query).scalars()}
    return tuple(sorted((t for sender in senders for t in _select_of_sender(connection, sender)), key=lambda t: t.number))


def _select_of_sender(connection: Connection, sender: str) -> list[Ticket]:
    return [read_ticket(r) for r in connection.execute(select_tickets().where(tickets.c.sender == sender))]


def _select_ticket(connection: Connection, number: int) -> Ticket:
    return read_ticket(connection.execute(select_tickets().where(tickets.c.number == number)).one())


def _remove(connection: Connection, expired: Ticket, now: datetime) -> None:
    connection.execute(delete(tickets).where(tickets.c.number == expired.number))
    append(connection, _event(EventKind.LEASE_EXPIRED, expired, now, {"phase": expired.phase.value}))


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


def _count_change(connection: Connection, sender: str, numbers: Collection[int]) -> int:
    """Count a change of these tickets of the queue, for all that watch it; returns the new stamp."""
    stamp = read_stamp(connection, sender) + 1
    upsert(connection, queues, {"sender": sender}, {"stamp": stamp})
    connection.execute(insert(queue_changes), [{"sender": sender, "stamp": stamp, "ticket": number} for number in numbers])
    if stamp % CHANGES_KEPT == 0:
        old = (queue_changes.c.sender == sender) & (queue_changes.c.stamp <= stamp - CHANGES_KEPT)
        connection.execute(delete(queue_changes).where(old))
    return stamp
