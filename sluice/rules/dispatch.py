"""Decide which tickets of the send queue start, pause or go on (D9, D10). Pure: tickets in, verdicts out.

The rules, over all flow runs and Channels of one sender:

1. A ticket whose lease ran out counts as gone, one whose host hasn't answered yet delays no other.
2. Priorities never mix: nothing starts or goes on while one of a higher priority waits, runs or is paused, and running transfers of a lower
   one must pause at their next block. The limit is subordinate.
3. Never more than the limit run. Without a limit it is UNLIMITED_IN_PROCESS for each holder (a flow run is a process). A slot is free
   when its transfer has said that it paused or ended: a higher arrival waits for that.
4. First come, first served within a priority; paused tickets go before those that haven't begun. A free slot is kept for those that came
   before, which take it at their process's next look.

Because the queue is drained from its front and a dead ticket's lease ends, every ticket starts some time, unless higher priorities
arrive for ever. One pass over the queue, and a sort of those whose turn it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sluice.model.ticket import UNLIMITED_IN_PROCESS, Occupied, Pausing, Phase, Started, Ticket, Verdict, Waiting

NAMED_MAX = 2
"""Running transfers that are named to those that wait for them."""


def decide(queue: Iterable[Ticket], limit: int | None, now: datetime) -> Mapping[int, Verdict]:
    """Return the verdict on each live ticket whose host has answered, by number.

    A verdict's ticket has the phase it would have: a Started one that was ready or paused takes a slot, which must be saved before
    a caller acts on it.

    Args:
        queue: Every ticket of one sender, in any order.
        limit: The sender's ``max_concurrent``, at least 1; None is unlimited as above.
    """
    counted = [t for t in queue if t.live(now) and t.phase is not Phase.ENTERED]
    if not counted:
        return {}
    highest = min(t.priority.rank for t in counted)
    running = defaultdict[str, list[Ticket]](list)
    for ticket in counted:
        if ticket.phase is Phase.RUNNING:
            running[pool_of(ticket, limit)].append(ticket)
    counts, most = Counter((t.priority.rank, t.phase is Phase.RUNNING) for t in counted), most_in(limit)
    found: dict[int, Verdict] = {}
    line = []
    for ticket in counted:
        if ticket.priority.rank > highest:
            found[ticket.number] = behind_higher(ticket, counts)
        elif ticket.phase is Phase.RUNNING:
            found[ticket.number] = Started(ticket)
        else:
            line.append(ticket)
    before = Counter[str]()
    for ticket in sorted(line, key=lambda t: (t.phase is not Phase.PAUSED, t.number)):
        pool = pool_of(ticket, limit)
        if len(running[pool]) + before[pool] < most:
            found[ticket.number] = Started(replace(ticket, phase=Phase.RUNNING))
            running[pool].append(ticket)
        else:
            found[ticket.number] = behind(ticket, running[pool][:NAMED_MAX], len(running[pool]), before[pool], limit)
            before[pool] += 1
    return found


def leased(ticket: Ticket, now: datetime, lease_seconds: float) -> Ticket:
    """Return the ticket with its lease counted from now; never shortened."""
    return replace(ticket, lease_until=max(ticket.lease_until, now + timedelta(seconds=lease_seconds)))


def occupied(ticket: Ticket) -> Occupied:
    """Return the answer to a second run for the same pair of Subscriber and Distribution, whether the first sends or only extracts."""
    if ticket.phase is Phase.ENTERED:  # before it asks for a slot, and after it gave it back
        return Occupied(ticket, f"flow run {ticket.holder} is connecting to it or has it extract")
    return Occupied(ticket, f"already being sent by flow run {ticket.holder}")


def behind_higher(ticket: Ticket, counts: Mapping[tuple[int, bool], int]) -> Verdict:
    """Return the verdict on a ticket that higher ones go before; ``counts`` by priority's rank and whether they run."""
    run, wait = (sum(n for (rank, runs), n in counts.items() if runs is kind and rank < ticket.priority.rank) for kind in (True, False))
    what = " and ".join(text for count, text in ((run, f"{run} running"), (wait, f"{wait} waiting")) if count)
    if ticket.phase is Phase.RUNNING:
        return Pausing(ticket, f"pauses at the next block for higher priorities of {ticket.sender}: {what}")
    return Waiting(ticket, f"{_state(ticket)}: priority {ticket.priority} goes after the higher ones of {ticket.sender}: {what}")


def behind(ticket: Ticket, named: Sequence[Ticket], running: int, before: int, limit: int | None) -> Waiting:
    """Return the verdict on a ticket whose pool is full: the first NAMED_MAX that run, how many do, and how many wait before it."""
    whose = f"flow run {ticket.holder}" if limit is None else ticket.sender
    shown = ", ".join(f"{each.distribution} to {each.subscriber}" for each in named)
    more = f" and {running - NAMED_MAX} more" if running > NAMED_MAX else ""
    what = f"{running} of {most_in(limit)} transfers of {whose} run ({shown}{more}); {before} before it"
    return Waiting(ticket, f"{_state(ticket)}: {what}")


def _state(ticket: Ticket) -> str:
    return "paused" if ticket.phase is Phase.PAUSED else "waiting"


def most_in(limit: int | None) -> int:
    """Return the number of slots of a pool."""
    return UNLIMITED_IN_PROCESS if limit is None else limit


def pool_of(ticket: Ticket, limit: int | None) -> str:
    """Return the pool whose slots it takes: the sender's, or without a limit its own process'."""
    return ticket.holder if limit is None else ""
