"""A process' copy of one sender's queue: read once, and from then on by what changed, so that a decision doesn't read all that waits.

Each change of a queue raises its stamp and leaves the numbers of its tickets under it in ``queue_changes``; renewed leases don't, so those
that would be over are read again before they are judged. The copy only takes over what a reading transaction saw: what a writing one
decides on, with changes that aren't committed yet, it forgets. If the changes since its stamp aren't all there any more, it reads
everything.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from infra.ledger.records import parts
from infra.ledger.rows import read_ticket, select_tickets
from infra.ledger.tables import queue_changes, queues, tickets
from sluice.model.ticket import Phase, QueueTurn, Ticket, Verdict
from sluice.rules.dispatcher import Dispatcher

_STAMP = select(queues.c.stamp).where(queues.c.sender == bindparam("of"))
_CHANGES = select(queue_changes.c.stamp, queue_changes.c.ticket).where(
    queue_changes.c.sender == bindparam("of"), queue_changes.c.stamp > bindparam("since")
)
_QUEUE = select_tickets().where(tickets.c.sender == bindparam("of"))


@dataclass(frozen=True, slots=True)
class Asked:
    """A process' question to a queue, as ``sluice.ports.Ledger.take_turns`` has it."""

    kept: Collection[int]
    asking: Collection[int]
    told: Collection[int]
    limit: int | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision on a queue, with what has to be saved."""

    turn: QueueTurn
    changes: Mapping[int, Phase]
    """New phases of those that ask, by number."""
    before: Mapping[int, Ticket]
    """The same, as they were."""
    over: Collection[Ticket]
    """Those whose lease ran out."""

    @property
    def saves(self) -> bool:
        """Whether anything has to be saved."""
        return bool(self.changes or self.over)


class QueueCopy:
    """The copy, safe for threads."""

    def __init__(self, sender: str) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self._stamp = -1
        self._dispatcher = Dispatcher(None)

    def decide(self, connection: Connection, asked: Asked, *, writing: bool) -> Decided:
        """Decide on the queue as this transaction sees it."""
        with self._lock:
            try:
                if self._dispatcher.limit != asked.limit:
                    self._dispatcher = Dispatcher(asked.limit, self._dispatcher.tickets.values())
                return self._decide(connection, asked, self._dispatcher, writing=writing)
            except BaseException:  # a signal's too: what it interrupted is in nobody's hand
                self._stamp, self._dispatcher = -1, Dispatcher(asked.limit)
                raise

    def _decide(self, connection: Connection, asked: Asked, queue: Dispatcher, *, writing: bool) -> Decided:
        with ExitStack() as undo:

            def take(changes: Mapping[int, Ticket | None], *, for_good: bool) -> None:
                before = queue.take(changes)
                if not for_good:
                    undo.callback(queue.take, before)

            stamp = read_stamp(connection, self._sender)
            take(self._changes(connection, stamp), for_good=not writing)
            take(_read(connection, queue.ended(asked.now)), for_good=not writing)
            if not writing:
                self._stamp = stamp
            over = [queue.tickets[n] for n in queue.ended(asked.now) if n not in asked.kept]
            take({ticket.number: None for ticket in over}, for_good=False)
            ready = {n: queue.tickets[n] for n in queue.entered.intersection(asked.asking)}
            take({n: replace(ticket, phase=Phase.READY) for n, ticket in ready.items()}, for_good=False)
            starting = [n for n in queue.starting() if n in asked.kept]
            changes = dict.fromkeys(ready, Phase.READY) | {n: Phase.RUNNING for n in starting if n in asked.asking}
            running = [n for n in queue.running if n in asked.kept]
            verdicts = _verdicts(queue, {*set(asked.kept).difference(asked.told), *running, *starting})
            turn = QueueTurn(stamp, verdicts, frozenset(asked.asking).difference(queue.tickets), queue.until)
            return Decided(turn, changes, {n: ready.get(n) or queue.tickets[n] for n in changes}, over)

    def _changes(self, connection: Connection, stamp: int) -> Mapping[int, Ticket | None]:
        """Return what changed since the copy's stamp, None for those that are gone."""
        if stamp == self._stamp:
            return {}
        found = connection.execute(_CHANGES, {"of": self._sender, "since": self._stamp}).all() if self._stamp >= 0 else []
        if len({row.stamp for row in found}) == stamp - self._stamp:  # else it has gaps, such as changes by an older Sluice
            return _read(connection, {row.ticket for row in found})
        whole = map(read_ticket, connection.execute(_QUEUE, {"of": self._sender}))
        return dict.fromkeys(self._dispatcher.tickets) | {ticket.number: ticket for ticket in whole}


def read_stamp(connection: Connection, sender: str) -> int:
    """Return the stamp of a sender's queue."""
    return connection.execute(_STAMP, {"of": sender}).scalar_one_or_none() or 0


def _read(connection: Connection, numbers: Collection[int]) -> Mapping[int, Ticket | None]:
    found: dict[int, Ticket | None] = dict.fromkeys(numbers)
    for part in parts(tickets.c.number, numbers):
        found |= {ticket.number: ticket for ticket in map(read_ticket, connection.execute(select_tickets().where(part)))}
    return found


def _verdicts(queue: Dispatcher, numbers: Collection[int]) -> Mapping[int, Verdict]:
    return {number: verdict for number in numbers if (verdict := queue.verdict(number)) is not None}
