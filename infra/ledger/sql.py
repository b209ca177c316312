"""``Ledger`` on SQLAlchemy Core. ``open_ledger`` is the only way in."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from infra.ledger import sends
from infra.ledger.database import BUSY_SECONDS, TRIES, Database
from infra.ledger.records import append, change_state, keep, matches, put, state_now
from infra.ledger.rows import built_of, built_values, event_of, state_of
from infra.ledger.sqlite import open_sqlite
from infra.ledger.tables import built as built_table
from infra.ledger.tables import cancels, events, receipts, sequences, states
from sluice.errors import LedgerError
from sluice.model.event import Event, EventKind, RecordedEvent
from sluice.model.order import CLAIMED_SEQUENCE_MAX, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.state import Built, CurrentState, LedgerSnapshot, ReceiptStored, Record
from sluice.model.ticket import Lost, Occupied, QueueLook, QueueTurn, Ticket

POSTGRES = ("postgresql://", "postgresql+psycopg://")
_REMEDY = "write a path, sqlite:///FILE or postgresql://USER@HOST/DATABASE"


def open_ledger(url_or_path: str | Path, *, busy_seconds: float = BUSY_SECONDS, tries: int = TRIES) -> SqlLedger:
    """Open a ledger, made if it is missing.

    Args:
        url_or_path: A file, ``sqlite:///FILE``, or ``postgresql://`` with what libpq understands.
        busy_seconds: How long one try waits for other processes; ``tries`` such tries are made.
    Raises:
        LedgerError: It can't be opened, or is of a newer schema version.
    """
    text = str(url_or_path)
    if text.startswith(POSTGRES):
        from infra.ledger.postgres import open_postgres

        return SqlLedger(open_postgres(text, busy_seconds=busy_seconds, tries=tries))
    return SqlLedger(open_sqlite(path_of(text).absolute(), busy_seconds=busy_seconds, tries=tries))


def open_existing(url_or_path: str | Path) -> SqlLedger | None:
    """The same for who only reads: None where its file isn't there, and no file is made. A database is opened as above."""
    text = str(url_or_path)
    if not text.startswith(POSTGRES) and not path_of(text).exists():
        return None
    return open_ledger(text)


def path_of(text: str) -> Path:
    """The file that a path or ``sqlite:///FILE`` names. Raises LedgerError: it is the URL of something else."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/(?!/)", text):  # a slash short of a URL; taken as a path, it would name a directory
        raise LedgerError(f"a ledger at {text.partition(':')[0]}:/ is neither a path nor sqlite:/// nor postgresql://", remedy=_REMEDY)
    if "://" not in text:
        return Path(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # ValueError: of a port that is no number
        raise LedgerError("the ledger's URL can't be read", remedy=_REMEDY) from None
    if url.get_backend_name() != "sqlite" or url.query or not url.database or url.database == ":memory:":
        raise LedgerError(f"a ledger on {url.drivername} is neither a path nor sqlite:/// nor postgresql://", remedy=_REMEDY)
    return Path(url.database)


class SqlLedger:
    """The truth over all flow runs; see ``sluice.ports.Ledger``. Safe for threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlLedger({self._database.name})"

    def record(
        self, event: Event, change: Callable[[CurrentState], CurrentState] | None = None, *, built: Built | None = None
    ) -> CurrentState | None:
        """Append an event; change the state of its pair, and the latest revision, in the same transaction."""
        if change is not None and not (event.subscriber and event.distribution):
            raise ValueError("a change of state needs an event that names Subscriber and Distribution")

        def work(connection: Connection) -> CurrentState | None:
            append(connection, event)
            if built is not None:
                put(connection, built_table, {"distribution": built.distribution}, built_values(built))
            return None if change is None else change_state(connection, event, change)

        return self._database.write(work)

    def record_all(self, records: Sequence[Record]) -> None:
        """Several events and changes, in one transaction."""

        def work(connection: Connection) -> None:
            for record in records:
                keep(connection, record)

        self._database.write(work)

    def events(
        self,
        *,
        subscriber: str = "",
        distribution: str = "",
        kinds: Collection[EventKind] = (),
        after: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Sequence[RecordedEvent]:
        """Events with a number above ``after``, oldest first unless the newest are asked for; empty names and no kinds match all."""
        order = events.c.number.desc() if newest_first else events.c.number
        query = select(events).where(events.c.number > after).order_by(order).limit(limit)
        if subscriber:
            query = query.where(events.c.subscriber == subscriber)
        if distribution:
            query = query.where(events.c.distribution == distribution)
        if kinds:
            query = query.where(events.c.kind.in_([kind.value for kind in kinds]))
        return self._database.read(lambda connection: [event_of(r) for r in connection.execute(query)])

    def state(self, subscriber: str, distribution: str) -> CurrentState:
        """As it stands; all defaults for a pair that was never recorded."""
        return self._database.read(lambda connection: state_now(connection, subscriber, distribution))

    def built(self, distribution: str) -> Built | None:
        """The latest revision recorded as built."""
        query = select(built_table).where(built_table.c.distribution == distribution)

        def work(connection: Connection) -> Built | None:
            row = connection.execute(query).one_or_none()
            return None if row is None else built_of(row)

        return self._database.read(work)

    def snapshot(self) -> LedgerSnapshot:
        """Everything ``rules.reasons`` reads, of one moment."""

        def work(connection: Connection) -> LedgerSnapshot:
            found = [state_of(r) for r in connection.execute(select(states))]
            return LedgerSnapshot(
                states={(s.subscriber, s.distribution): s for s in found},
                built={r.distribution: built_of(r) for r in connection.execute(select(built_table))},
                tickets=sends.all_tickets(connection),
            )

        return self._database.read(work)

    def next_sequence(self, distributor: str, subscriber: str, *, above: int = 0, record: Record | None = None) -> int:
        """The number of the next order, above its own last and the Subscriber's; durable before it is given."""
        key = {"distributor": distributor, "subscriber": subscriber}

        def work(connection: Connection) -> int:
            last = connection.execute(select(sequences.c.last).where(matches(sequences, key))).scalar_one_or_none() or 0
            number = max(last, above if above < CLAIMED_SEQUENCE_MAX else 0) + 1
            put(connection, sequences, key, {"last": number})
            if record is not None:
                keep(connection, record)
            return number

        return self._database.write(work)

    def accept_receipt(self, receipt: Receipt, envelope: str, event: Event, *, done: Ticket | None = None) -> ReceiptStored:
        """Keep a verified receipt verbatim, apply it and record ``event``; a repetition changes nothing."""
        key = {"subscriber": receipt.subscriber, "distributor": receipt.distributor, "sequence": receipt.sequence}

        def work(connection: Connection) -> ReceiptStored:
            if done is not None:
                sends.give_back(connection, done)
            kept = connection.execute(select(receipts.c.envelope).where(matches(receipts, key))).scalar_one_or_none()
            if kept == envelope:
                return ReceiptStored.KNOWN
            pair = _of_receipt(event, receipt)
            if kept is not None:
                append(connection, _conflict(pair, receipt))
                return ReceiptStored.CONFLICT
            values = {
                "distribution": receipt.distribution,
                "revision": str(receipt.revision),
                "outcome": receipt.outcome.value,
                "finished": receipt.finished,
                "envelope": envelope,
            }
            connection.execute(insert(receipts).values(key | values))
            append(connection, pair)
            change_state(connection, pair, lambda state: state.apply_receipt(receipt))
            return ReceiptStored.NEW

        return self._database.write(work)

    def receipt(self, distributor: str, subscriber: str, sequence: int) -> str | None:
        """The envelope, as received."""
        key = {"subscriber": subscriber, "distributor": distributor, "sequence": sequence}
        query = select(receipts.c.envelope).where(matches(receipts, key))
        return self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())

    def request_cancel(self, name: str, *, at: datetime, by: str = "") -> None:
        """Ask that what waits under ``name`` in runs that have begun stops."""

        def work(connection: Connection) -> None:
            put(connection, cancels, {"name": name}, {"at": at, "by": by})
            append(connection, Event(at, EventKind.CANCEL_REQUESTED, data={"name": name, "by": by}))

        self._database.write(work)

    def enqueue(
        self,
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
        """Claim a pair of Subscriber and Distribution, before its host is called."""
        return sends.enqueue(
            self._database, sender, subscriber, distribution, revision, priority, holder, lease_seconds=lease_seconds, now=now
        )

    def look(self, sender: str) -> QueueLook:
        """What changed, for who waits."""
        return sends.look(self._database, sender)

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
        """Decide on the whole queue of a sender and save what it gives to those who ask."""
        return sends.take_turns(self._database, sender, kept, asking, began, limit=limit, now=now)

    def pause(self, ticket: Ticket, *, now: datetime) -> None:
        """Give the slot of a running transfer away in mid-transfer."""
        sends.pause(self._database, ticket, now=now)

    def renew(self, numbers: Collection[int], *, lease_seconds: float, now: datetime) -> frozenset[int]:
        """Keep leases alive; returns those that still are in the queue."""
        return sends.renew(self._database, numbers, lease_seconds=lease_seconds, now=now)

    def release(self, ticket: Ticket, record: Record) -> Ticket | Lost:
        """Give the slot back and keep the claim."""
        return sends.release(self._database, ticket, record)

    def finish(self, ticket: Ticket, record: Record | None = None) -> CurrentState | None:
        """Give slot and claim back."""
        return sends.finish(self._database, ticket, record)

    def close(self) -> None:
        """Release connections."""
        self._database.close()


def _of_receipt(event: Event, receipt: Receipt) -> Event:
    """The caller's event, about the receipt's pair whatever it left out."""
    return replace(
        event,
        distributor=receipt.distributor,
        distribution=receipt.distribution,
        subscriber=receipt.subscriber,
        revision=receipt.revision,
    )


def _conflict(event: Event, receipt: Receipt) -> Event:
    return replace(event, kind=EventKind.RECEIPT_CONFLICT, data={"sequence": receipt.sequence, "outcome": receipt.outcome.value})
