"""The ledger on SQLAlchemy Core. ``open_ledger`` opens one, and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from infra.ledger import sqlite
from infra.ledger.database import BUSY_SECONDS, TRIES
from infra.ledger.records import append, apply_record, change_of_event, change_state, matches, read_current_state, read_states, upsert
from infra.ledger.rows import belief_values, built_values, read_belief, read_build_failure, read_built, read_event, read_state
from infra.ledger.send_queue import SendQueue, read_queues, remove_ticket
from infra.ledger.sqlite import open_sqlite
from infra.ledger.tables import beliefs, cancels, events, failing, receipts, sequences, states
from infra.ledger.tables import built as built_table
from sluice.errors import LedgerError
from sluice.model.belief import Belief, BuildFailure
from sluice.model.event import Event, EventKind, RecordedEvent
from sluice.model.known import Known, LedgerSnapshot
from sluice.model.order import CLAIMED_SEQUENCE_MAX, Receipt
from sluice.model.state import Built, CurrentState, ReceiptStored, Record
from sluice.model.ticket import Ticket

POSTGRES = ("postgresql://", "postgresql+psycopg://")
_REMEDY = "write a path, sqlite:///FILE or postgresql://USER@HOST/DATABASE"
_NO_PATH = re.compile(r"(?:^|\s)(?:host|hostaddr|port|dbname|user|password|passfile|service)\s*=|//[^/]*:[^/]*@")
"""As libpq's connection strings and damaged URLs have it: as a path, their password would be shown, and name a file."""


def open_ledger(url_or_path: str | Path, *, busy_seconds: float = BUSY_SECONDS, tries: int = TRIES) -> SqlLedger:
    """Open a ledger, creating it if it is missing.

    Args:
        url_or_path: A file, ``sqlite:///FILE``, or ``postgresql://`` with anything that libpq understands.
        busy_seconds: Seconds that one try waits for other processes; ``tries`` such tries are made.
    Raises:
        LedgerError: It can't be opened, or has a newer schema version.
    """
    text = str(url_or_path)
    if text.startswith(POSTGRES):
        from infra.ledger.postgres import open_postgres

        return SqlLedger(open_postgres(text, busy_seconds=busy_seconds, tries=tries))
    return SqlLedger(open_sqlite(path_of(text).absolute(), busy_seconds=busy_seconds, tries=tries))


def open_existing(url_or_path: str | Path) -> SqlLedger | None:
    """Open a ledger for reading: None if its file is missing, and no file is created. A database is opened as above."""
    text = str(url_or_path)
    if not text.startswith(POSTGRES) and not path_of(text).exists():
        return None
    return open_ledger(text)


def at_work(url_or_path: str) -> AbstractContextManager[None]:
    """Say that a run works with it, for ``ledger copy``; a database knows its connections. Raises LedgerError: it is being copied."""
    return nullcontext() if url_or_path.startswith(POSTGRES) else sqlite.at_work(path_of(url_or_path).absolute())


def name_of(url_or_path: str) -> str:
    """Return the ledger's name in messages: without user and password, if the URL has them. Raises LedgerError."""
    if not url_or_path.startswith(POSTGRES):
        return str(path_of(url_or_path))
    from infra.ledger import postgres

    return postgres.name_of(url_or_path)


def path_of(text: str) -> Path:
    """Return the file that a path or ``sqlite:///FILE`` names. Raises LedgerError if it is another URL."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/(?!/)", text):  # a URL that lacks a slash; as a path it would name a directory
        raise LedgerError(f"a ledger at {text.partition(':')[0]}:/ is neither a path nor sqlite:/// nor postgresql://", remedy=_REMEDY)
    if "://" not in text:
        if _NO_PATH.search(text):
            raise LedgerError("the ledger is named by a connection string, or by a URL that can't be read", remedy=_REMEDY)
        return Path(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise LedgerError("the ledger's URL can't be read", remedy=_REMEDY) from None
    if url.get_backend_name() != "sqlite" or url.query or not url.database or url.database == ":memory:":
        raise LedgerError(f"a ledger on {url.drivername} is neither a path nor sqlite:/// nor postgresql://", remedy=_REMEDY)
    return Path(url.database)


class SqlLedger(SendQueue):
    """The truth over all flow runs; see ``sluice.ports.Ledger``. Safe for threads and processes."""

    def __repr__(self) -> str:
        return f"SqlLedger({self._database.name})"

    def record(
        self, event: Event, change: Callable[[CurrentState], CurrentState] | None = None, *, built: Built | None = None
    ) -> CurrentState | None:
        """See ``sluice.ports.Ledger``."""
        if change is not None and not (event.subscriber and event.distribution):
            raise ValueError("a change of state needs an event that names Subscriber and Distribution")

        def work(connection: Connection) -> CurrentState | None:
            append(connection, event)
            if built is not None:
                upsert(connection, built_table, {"distribution": built.distribution}, built_values(built))
            return None if change is None else change_of_event(connection, event, change)

        return self._database.write(work)

    def record_all(self, records: Sequence[Record]) -> None:
        """See ``sluice.ports.Ledger``."""

        def work(connection: Connection) -> None:
            for record in records:
                apply_record(connection, record)

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
        """See ``sluice.ports.Ledger``."""
        order = events.c.number.desc() if newest_first else events.c.number
        query = select(events).where(events.c.number > after).order_by(order).limit(limit)
        if subscriber:
            query = query.where(events.c.subscriber == subscriber)
        if distribution:
            query = query.where(events.c.distribution == distribution)
        if kinds:
            query = query.where(events.c.kind.in_([kind.value for kind in kinds]))
        return self._database.read(lambda connection: [read_event(r) for r in connection.execute(query)])

    def state(self, subscriber: str, distribution: str) -> CurrentState:
        """See ``sluice.ports.Ledger``."""
        return self._database.read(lambda connection: read_current_state(connection, subscriber, distribution))

    def built(self, distribution: str) -> Built | None:
        """See ``sluice.ports.Ledger``."""
        query = select(built_table).where(built_table.c.distribution == distribution)

        def work(connection: Connection) -> Built | None:
            row = connection.execute(query).one_or_none()
            return None if row is None else read_built(row)

        return self._database.read(work)

    def failing(self) -> Mapping[str, BuildFailure]:
        """See ``sluice.ports.Ledger``."""
        return self._database.read(_read_failing)

    def states(self, *, distributions: Collection[str] = (), subscribers: Collection[str] = ()) -> Mapping[tuple[str, str], CurrentState]:
        """See ``sluice.ports.Ledger``."""
        return self._database.read(lambda connection: read_states(connection, distributions, subscribers))

    def snapshot(self, *, distributions: Collection[str] = (), subscribers: Collection[str] = ()) -> LedgerSnapshot:
        """See ``sluice.ports.Ledger``."""

        def work(connection: Connection) -> LedgerSnapshot:
            return LedgerSnapshot(
                states=read_states(connection, distributions, subscribers),
                built={r.distribution: read_built(r) for r in connection.execute(select(built_table))},
                tickets=read_queues(connection, distributions, subscribers),
                beliefs={(r.distributor, r.subscriber): read_belief(r) for r in connection.execute(select(beliefs))},
                failing=_read_failing(connection),
            )

        return self._database.read(work)

    def known(self, distributor: str, subscriber: str) -> Known:
        """See ``sluice.ports.Ledger``."""
        key = {"distributor": distributor, "subscriber": subscriber}

        def work(connection: Connection) -> Known:
            row = connection.execute(select(beliefs).where(matches(beliefs, key))).one_or_none()
            found = [read_state(r) for r in connection.execute(select(states).where(matches(states, key)))]
            last = connection.execute(select(sequences.c.last).where(matches(sequences, key))).scalar_one_or_none() or 0
            return Known(None if row is None else read_belief(row), {each.distribution: each for each in found}, last)

        return self._database.read(work)

    def believe(
        self,
        distributor: str,
        subscriber: str,
        belief: Belief | None,
        events: Sequence[Event],
        changes: Mapping[str, Callable[[CurrentState], CurrentState]],
    ) -> None:
        """See ``sluice.ports.Ledger``."""
        key = {"distributor": distributor, "subscriber": subscriber}

        def work(connection: Connection) -> None:
            if belief is None:
                connection.execute(delete(beliefs).where(matches(beliefs, key)))
            else:
                upsert(connection, beliefs, key, belief_values(belief))
            for event in events:
                append(connection, event)
            for distribution, change in changes.items():
                change_state(connection, subscriber, distribution, change)

        self._database.write(work)

    def next_sequence(self, distributor: str, subscriber: str, *, above: int = 0, record: Record | None = None) -> int:
        """See ``sluice.ports.Ledger``. The number is durable before it is given out."""
        key = {"distributor": distributor, "subscriber": subscriber}

        def work(connection: Connection) -> int:
            last = connection.execute(select(sequences.c.last).where(matches(sequences, key))).scalar_one_or_none() or 0
            number = max(last, above if above < CLAIMED_SEQUENCE_MAX else 0) + 1
            upsert(connection, sequences, key, {"last": number})
            if record is not None:
                apply_record(connection, record)
            return number

        return self._database.write(work)

    def accept_receipt(self, receipt: Receipt, envelope: str, event: Event, *, done: Ticket | None = None) -> ReceiptStored:
        """See ``sluice.ports.Ledger``."""
        key = {"subscriber": receipt.subscriber, "distributor": receipt.distributor, "sequence": receipt.sequence}

        def work(connection: Connection) -> ReceiptStored:
            if done is not None:
                remove_ticket(connection, done)
            kept = connection.execute(select(receipts.c.envelope).where(matches(receipts, key))).scalar_one_or_none()
            if kept == envelope:
                return ReceiptStored.KNOWN
            pair = _about_receipt(event, receipt)
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
            change_of_event(connection, pair, lambda state: state.apply_receipt(receipt))
            if receipt.took_over:
                former = replace(pair, distribution=receipt.took_over)
                change_of_event(connection, former, lambda state: state.hand_over(receipt.distributor))
            return ReceiptStored.NEW

        return self._database.write(work)

    def receipt(self, distributor: str, subscriber: str, sequence: int) -> str | None:
        """See ``sluice.ports.Ledger``."""
        key = {"subscriber": subscriber, "distributor": distributor, "sequence": sequence}
        query = select(receipts.c.envelope).where(matches(receipts, key))
        return self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())

    def request_cancel(self, name: str, *, at: datetime, by: str = "") -> None:
        """See ``sluice.ports.Ledger``."""

        def work(connection: Connection) -> None:
            upsert(connection, cancels, {"name": name}, {"at": at, "by": by})
            append(connection, Event(at, EventKind.CANCEL_REQUESTED, data={"name": name, "by": by}))

        self._database.write(work)

    def close(self) -> None:
        """Release connections."""
        self._database.close()


def _read_failing(connection: Connection) -> Mapping[str, BuildFailure]:
    return {row.distribution: read_build_failure(row) for row in connection.execute(select(failing))}


def _about_receipt(event: Event, receipt: Receipt) -> Event:
    """Return the caller's event with the names and the revision of the receipt."""
    return replace(
        event,
        distributor=receipt.distributor,
        distribution=receipt.distribution,
        subscriber=receipt.subscriber,
        revision=receipt.revision,
    )


def _conflict(event: Event, receipt: Receipt) -> Event:
    return replace(event, kind=EventKind.RECEIPT_CONFLICT, data={"sequence": receipt.sequence, "outcome": receipt.outcome.value})
