"""Decide as ``dispatch.decide`` does, from what changed: a decision costs what starts by it, however many wait.

    dispatcher = Dispatcher(limit, queue)
    before = dispatcher.take({7: ticket, 9: None})   # one came or changed, one is gone
    dispatcher.starting()                            # what gets a slot now
    dispatcher.verdict(7)
    dispatcher.take(before)                          # as if nothing had come

It keeps the tickets in the order of their turns, by priority and pool, and those that run beside them. Time passes for it by
changes too: ``ended`` names those whose lease is over, which stand in the way until they are taken out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sluice.model.ticket import Phase, Started, Ticket, Verdict
from sluice.rules.dispatch import NAMED_MAX, behind, behind_higher, most_in, pool_of


class Dispatcher:
    """The queue of one sender, in order. Not safe for threads."""

    def __init__(self, limit: int | None, queue: Iterable[Ticket] = ()) -> None:
        """Make one that knows these tickets; ``limit`` as in ``dispatch.decide``."""
        self.limit = limit
        self.tickets = dict[int, Ticket]()
        """By number."""
        self.entered = set[int]()
        """Numbers of those that only claim their pair."""
        self._running = defaultdict[str, list[int]](list)
        self._lines = defaultdict[tuple[int, str], list[tuple[bool, int]]](list)
        self._counts = Counter[tuple[int, bool]]()
        self._leases = list[tuple[datetime, int]]()
        self.take({ticket.number: ticket for ticket in queue})

    def take(self, changes: Mapping[int, Ticket | None]) -> Mapping[int, Ticket | None]:
        """Take tickets that came or changed, None for one that is gone. Returns what they were before: taken, it undoes this."""
        before = {number: self.tickets.get(number) for number in changes}
        for number, ticket in changes.items():
            if (old := self.tickets.pop(number, None)) is not None:
                for places, place in self._places(old):
                    del places[bisect_left(places, place)]
                self._count(old, -1)
            if ticket is not None:
                self.tickets[number] = ticket
                for places, place in self._places(ticket):
                    insort(places, place)
                self._count(ticket, 1)
        return before

    def ended(self, now: datetime) -> list[int]:
        """Return the numbers of those whose lease, as far as it was told, is over."""
        return [number for _, number in self._leases[: bisect_right(self._leases, now, key=lambda lease: lease[0])]]

    @property
    def until(self) -> datetime | None:
        """When the first lease ends."""
        return self._leases[0][0] if self._leases else None

    @property
    def running(self) -> list[int]:
        """Numbers of those that have a slot."""
        return [number for numbers in self._running.values() for number in numbers]

    def starting(self) -> list[int]:
        """Return the numbers of those that have no slot and get one."""
        highest = self._highest()
        return [n for (rank, pool), line in self._lines.items() if rank == highest for _, n in line[: self._free(pool)]]

    def verdict(self, number: int) -> Verdict | None:
        """Return the verdict on a ticket; None if it isn't in the queue or only claims its pair."""
        ticket = self.tickets.get(number)
        if ticket is None or ticket.phase is Phase.ENTERED:
            return None
        if ticket.priority.rank > self._highest():
            return behind_higher(ticket, self._counts)
        if ticket.phase is Phase.RUNNING:
            return Started(ticket)
        pool = pool_of(ticket, self.limit)
        line, free, running = self._lines[ticket.priority.rank, pool], self._free(pool), self._running[pool]
        before = bisect_left(line, _turn(ticket)) - free
        if before < 0:
            return Started(replace(ticket, phase=Phase.RUNNING))
        begun = line[:free]
        named = [*running[:NAMED_MAX], *(n for _, n in begun[:NAMED_MAX])][:NAMED_MAX]
        return behind(ticket, [self.tickets[n] for n in named], len(running) + len(begun), before, self.limit)

    def _free(self, pool: str) -> int:
        return max(0, most_in(self.limit) - len(self._running.get(pool, ())))

    def _highest(self) -> int:
        return min((rank for (rank, _), count in self._counts.items() if count), default=0)

    def _count(self, ticket: Ticket, change: int) -> None:
        if ticket.phase is Phase.ENTERED:
            (self.entered.add if change > 0 else self.entered.discard)(ticket.number)
        else:
            self._counts[ticket.priority.rank, ticket.phase is Phase.RUNNING] += change

    def _places(self, ticket: Ticket) -> Iterator[tuple[list[Any], Any]]:
        """Yield the sorted lists that it stands in, with its place in each."""
        yield self._leases, (ticket.lease_until, ticket.number)
        if ticket.phase is Phase.RUNNING:
            yield self._running[pool_of(ticket, self.limit)], ticket.number
        elif ticket.phase is not Phase.ENTERED:
            yield self._lines[ticket.priority.rank, pool_of(ticket, self.limit)], _turn(ticket)


def _turn(ticket: Ticket) -> tuple[bool, int]:
    return ticket.phase is not Phase.PAUSED, ticket.number
