"""Tickets: places in the send queue (D9, D10). Data only; ``rules/dispatch.py`` decides who starts, the ledger keeps them.

One ticket of each Subscriber with each Distribution at a time, whoever sends. Every ticket is leased, also while it waits: one whose
holder died is freed when its lease runs out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority

UNLIMITED_IN_PROCESS = 64
"""Transfers at once in one flow run (a process) where ``max_concurrent`` is blank (D9); ``sluice show`` says so."""


class Phase(StrEnum):
    """How far a ticket is."""

    ENTERED = "entered"
    """Claims the pair of Subscriber and Distribution; its host hasn't answered yet, so it stands in nobody's way (D10)."""
    READY = "ready"
    """Its host answers: it wants a slot."""
    RUNNING = "running"
    """Has a slot."""
    PAUSED = "paused"
    """Gave its slot to a higher priority in mid-transfer; it comes before those of its own that haven't begun."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One transfer's place in its sender's queue."""

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
        """Whether its holder still counts."""
        return now < self.lease_until


@dataclass(frozen=True, slots=True)
class Occupied:
    """Another run is at the same Distribution of the same Subscriber. Wait and enter again, or report ``reason``."""

    ticket: Ticket
    reason: str
    """``already being sent by flow run X``, or ``flow run X is calling it or has it extract``."""


@dataclass(frozen=True, slots=True)
class Started:
    """The ticket has a slot and may go on."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Waiting:
    """No slot, or it gave it away; ``reason`` is a sentence for status and log."""

    ticket: Ticket
    reason: str


@dataclass(frozen=True, slots=True)
class Pausing:
    """It has a slot that it must give away at the next block; ``reason`` likewise."""

    ticket: Ticket
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The ticket isn't in the queue any more: its lease ran out and its place was given away."""


Verdict = Started | Waiting | Pausing


@dataclass(frozen=True, slots=True)
class QueueLook:
    """What a sender's queue is watched by, cheaply."""

    stamp: int
    """Grows with every change of who is in the queue and how far."""
    cancelled: Mapping[str, datetime]
    """Distributions and Channels that somebody cancelled, and when last (I10): it means the runs that had begun by then."""


@dataclass(frozen=True, slots=True)
class QueueTurn:
    """One decision on a sender's whole queue."""

    stamp: int
    """As of the decision."""
    verdicts: Mapping[int, Verdict]
    """By number: of every live ticket that wants a slot or has one, whosever it is."""
    until: datetime | None
    """When the first lease of somebody else in it ends, after which it has to be looked at again, whatever the stamp says."""
