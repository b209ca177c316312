"""Tickets of the send queue (D9, D10). Data only; ``rules/dispatch.py`` decides which start, the ledger keeps them.

Each pair of Subscriber and Distribution has one ticket at a time, whichever sender it belongs to. Every ticket is leased, also while it
waits: one whose holder died is freed when its lease runs out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority

UNLIMITED_IN_PROCESS = 64
"""Concurrent transfers of one flow run (a process) if ``max_concurrent`` is blank (D9); ``sluice show`` says so."""


class Phase(StrEnum):
    """The progress of a ticket."""

    ENTERED = "entered"
    """Claims the pair of Subscriber and Distribution; its host hasn't answered yet, so that it delays no other ticket (D10)."""
    READY = "ready"
    """Its host answers: it wants a slot."""
    RUNNING = "running"
    """Has a slot."""
    PAUSED = "paused"
    """Gave its slot to a higher priority in mid-transfer; it goes before those of its own priority that haven't begun."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One transfer's entry in its sender's queue."""

    number: int
    """Strictly increasing, never reused; first come, first served within a priority."""
    sender: str
    """The Distributor, or the parent Subscriber that forwards."""
    subscriber: str
    distribution: str
    revision: RevisionNumber
    priority: Priority
    holder: str
    """The flow run's id."""
    phase: Phase
    entered: datetime
    lease_until: datetime

    def live(self, now: datetime) -> bool:
        """Whether its lease still holds."""
        return now < self.lease_until


@dataclass(frozen=True, slots=True)
class Occupied:
    """Another run has the ticket of this Subscriber and Distribution. Wait and try again, or report ``reason``."""

    ticket: Ticket
    reason: str
    """``already being sent by flow run X``, or ``flow run X is connecting to it or has it extract``."""


@dataclass(frozen=True, slots=True)
class Started:
    """The ticket has a slot and may go on."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Waiting:
    """It has no slot, or gave it up; ``reason`` is a sentence for status and log."""

    ticket: Ticket
    reason: str


@dataclass(frozen=True, slots=True)
class Pausing:
    """It has a slot that it must give up at the next block; ``reason`` is a sentence for status and log."""

    ticket: Ticket
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The ticket is no longer in the queue: its lease ran out and another run took over."""


Verdict = Started | Waiting | Pausing


@dataclass(frozen=True, slots=True)
class QueueLook:
    """A cheap look at a sender's queue, for those that watch it."""

    stamp: int
    """Grows with every change of the queue's tickets or their phases."""
    cancelled: Mapping[str, datetime]
    """When each Distribution or Channel was last cancelled (I10), which concerns the runs that had begun by then."""


@dataclass(frozen=True, slots=True)
class QueueTurn:
    """One decision on a sender's whole queue."""

    stamp: int
    """The queue's stamp at the decision."""
    verdicts: Mapping[int, Verdict]
    """Verdict by number, for each of the process' own tickets that wants a slot or has one."""
    lost: frozenset[int]
    """Numbers that asked and were taken over by another run."""
    until: datetime | None
    """When the first lease that is known ends; the queue must be looked at again then, whatever the stamp says."""
