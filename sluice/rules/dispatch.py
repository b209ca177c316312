"""Who may start: the send queue's decision (D9, D10). Pure: tickets in, decision out; the ledger saves it in one transaction.

The rules, over all flow runs and Channels of one sender:

1. A ticket whose lease ran out counts as gone, one whose host hasn't answered yet stands in nobody's way.
2. Priorities never mix: none starts while one of a higher priority waits for a slot or runs. The limit is subordinate.
3. Never more than the limit run. Without a limit it is UNLIMITED_IN_PROCESS for each holder (a flow run is a process).
4. First come, first served within a priority: a free slot is kept for those that came before, who take it when they next ask.

Because the queue is drained from its front and a dead ticket's lease ends, everybody starts some time, unless higher priorities
arrive for ever. A higher arrival doesn't pause lower ones that run; it starts beside them as soon as a slot is free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sluice.model.ticket import UNLIMITED_IN_PROCESS, Occupied, Phase, Started, Ticket, Waiting


@dataclass(frozen=True, slots=True)
class Lost:
    """The ticket isn't in the queue any more: its lease ran out and it was given away."""


def decide(asking: Ticket, queue: Iterable[Ticket], limit: int | None, now: datetime) -> Started | Waiting | Lost:
    """Whether ``asking`` may have a slot now.

    Args:
        asking: Known by its number; its phase in ``queue`` counts.
        queue: Every ticket of the same sender, in any order.
        limit: The sender's ``max_concurrent``, at least 1; None is unlimited as above.
    """
    tickets = {t.number: t for t in queue}
    mine = tickets.get(asking.number)
    if mine is None:
        return Lost()
    if mine.phase is Phase.RUNNING:
        return Started(mine)
    mine = replace(mine, phase=Phase.READY)
    others = [t for t in tickets.values() if t.number != mine.number and t.live(now) and t.phase is not Phase.ENTERED]
    higher = [t for t in others if t.priority.rank < mine.priority.rank]
    running = [t for t in others if t.phase is Phase.RUNNING]
    before = [t for t in others if t.phase is Phase.READY and t.priority is mine.priority and t.number < mine.number]
    if limit is None:
        most, whose = UNLIMITED_IN_PROCESS, f"flow run {mine.holder}"
        running = [t for t in running if t.holder == mine.holder]
        before = [t for t in before if t.holder == mine.holder]
    else:
        most, whose = limit, mine.sender
    if higher:
        return Waiting(mine, _behind(mine, higher))
    if len(running) + len(before) >= most:
        return Waiting(mine, f"waiting: {len(running)} of {most} transfers of {whose} run; {len(before)} before it")
    return Started(replace(mine, phase=Phase.RUNNING))


def leased(ticket: Ticket, now: datetime, lease_seconds: float) -> Ticket:
    """The ticket with its lease counted from now; never shortened."""
    return replace(ticket, lease_until=max(ticket.lease_until, now + timedelta(seconds=lease_seconds)))


def needs_renewal(ticket: Ticket, now: datetime, lease_seconds: float) -> bool:
    """Whether half of the lease has gone, so that asking again must be written down."""
    return ticket.lease_until - now < timedelta(seconds=lease_seconds / 2)


def occupied(ticket: Ticket) -> Occupied:
    """What a second sender of the same Distribution to the same Subscriber is told."""
    return Occupied(ticket, f"already being sent by flow run {ticket.holder}")


def _behind(mine: Ticket, higher: list[Ticket]) -> str:
    run = sum(1 for t in higher if t.phase is Phase.RUNNING)
    wait = len(higher) - run
    what = " and ".join(text for count, text in ((run, f"{run} running"), (wait, f"{wait} waiting")) if count)
    return f"waiting: priority {mine.priority} goes after the higher ones of {mine.sender}: {what}"
