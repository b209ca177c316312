"""The send queue's transactions (D9, D10). ``sluice/rules/dispatch.py`` decides; here its decision is saved before anybody acts on it.

A ticket whose lease ran out is removed by the next who enters or starts, in the same transaction in which the room it leaves is
given away; so its late holder finds no row and gets LeaseLostError, and never do more than the limit run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, update

from infra.ledger.database import Database
from infra.ledger.rows import event_values, select_tickets, ticket_of
from infra.ledger.tables import events, tickets
from sluice.errors import LeaseLostError
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.state import Event, EventKind
from sluice.model.ticket import Occupied, Phase, Started, Ticket, Waiting
from sluice.rules import dispatch


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
        _remove_expired(connection, [ticket_of(r) for r in connection.execute(select_tickets().where(pair))], now)
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
        assert number is not None  # noqa: S101 - the insert above names one row
        return _of_number(connection, number[0])

    return database.write(work)


def try_start(database: Database, ticket: Ticket, *, limit: int | None, lease_seconds: float, now: datetime) -> Started | Waiting:
    """As ``Ledger.try_start``: a read while nothing changed, else the decision and its saving in one transaction."""
    queue_now = database.read(lambda connection: _of_sender(connection, ticket.sender))
    seen = dispatch.decide(ticket, queue_now, limit, now)
    asked_before = any(t.number == ticket.number and t.phase is Phase.READY for t in queue_now)
    if isinstance(seen, Waiting) and asked_before and not dispatch.needs_renewal(seen.ticket, now, lease_seconds):
        return seen

    def work(connection: Connection) -> Started | Waiting:
        queue = _of_sender(connection, ticket.sender)
        _remove_expired(connection, [t for t in queue if t.number != ticket.number], now)
        decision = dispatch.decide(ticket, queue, limit, now)
        if isinstance(decision, dispatch.Lost):
            raise _lost(ticket)
        kept = dispatch.leased(decision.ticket, now, lease_seconds)
        _save(connection, kept)
        return Started(kept) if isinstance(decision, Started) else Waiting(kept, decision.reason)

    return database.write(work)


def renew(database: Database, ticket: Ticket, *, lease_seconds: float, now: datetime) -> Ticket:
    """As ``Ledger.renew``."""

    def work(connection: Connection) -> Ticket:
        row = connection.execute(select_tickets().where(tickets.c.number == ticket.number)).one_or_none()
        if row is None:
            raise _lost(ticket)
        kept = dispatch.leased(ticket_of(row), now, lease_seconds)
        _save(connection, kept)
        return kept

    return database.write(work)


def finish(database: Database, ticket: Ticket) -> None:
    """As ``Ledger.finish``."""
    database.write(lambda connection: connection.execute(delete(tickets).where(tickets.c.number == ticket.number)))


def all_tickets(connection: Connection) -> tuple[Ticket, ...]:
    """By number."""
    return tuple(ticket_of(r) for r in connection.execute(select_tickets().order_by(tickets.c.number)))


def _of_sender(connection: Connection, sender: str) -> list[Ticket]:
    return [ticket_of(r) for r in connection.execute(select_tickets().where(tickets.c.sender == sender))]


def _of_number(connection: Connection, number: int) -> Ticket:
    return ticket_of(connection.execute(select_tickets().where(tickets.c.number == number)).one())


def _save(connection: Connection, ticket: Ticket) -> None:
    connection.execute(
        update(tickets).where(tickets.c.number == ticket.number).values(phase=ticket.phase.value, lease_until=ticket.lease_until)
    )  # fmt: skip


def _remove_expired(connection: Connection, found: Sequence[Ticket], now: datetime) -> None:
    for ticket in found:
        if ticket.live(now):
            continue
        connection.execute(delete(tickets).where(tickets.c.number == ticket.number))
        said = Event(
            now,
            EventKind.LEASE_EXPIRED,
            distribution=ticket.distribution,
            revision=ticket.revision,
            subscriber=ticket.subscriber,
            flow_run=ticket.holder,
            data={"sender": ticket.sender, "phase": ticket.phase.value, "ticket": ticket.number},
        )
        connection.execute(insert(events).values(event_values(said)))


def _lost(ticket: Ticket) -> LeaseLostError:
    return LeaseLostError(
        f"ticket {ticket.number} ({ticket.distribution} to {ticket.subscriber}) was given away: its lease ran out",
        remedy="enter the queue again",
    )
