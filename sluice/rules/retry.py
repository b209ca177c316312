"""The one rule of retrying a send (D7). Pure: the time is an argument, the count comes from the ledger.

TED: "tries every 2 minutes for 30 minutes, then waits for the Channel's next start". The retries are on a grid that begins at
the first failure: 2, 4, ... 30 minutes after it, so a host that refuses at once sees one try and 15 retries. A try that
takes long itself (a timeout of 5 minutes, D8) passes points of the grid, which are left out: the 30 minutes hold. Either way there
are never more retries than points. The count is in the ledger, so that the same flow run started again continues it; a success or another
run clears it, since that is the Channel's next start or a command. Only errors whose class says ``retryable`` are retried. A revision that
was damaged at the Distributor and is repaired (E4), or was deleted with its baseline (C3), waits for the Channel's next start too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sluice.errors import SluiceError, StoreMendedError, SupersededError
from sluice.model.order import Failure
from sluice.model.site import RetryRule
from sluice.model.state import CurrentState, State

UNAVAILABLE_CODES = frozenset({"UnreachableError", "ConnectionLostError", "TransportTimeoutError"})
"""Errors of a host that doesn't answer, which is "unavailable" and not "failed" (I9)."""
NEXT_START_CODES = frozenset({StoreMendedError.__name__, SupersededError.__name__})
"""Errors whose cause is removed at the Distributor: the Channel's next start sends (C3, E4), and no retry before it."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at this time."""

    at: datetime
    number: int
    """The point of the grid, counted from 1."""
    of: int
    """Number of points of the grid."""


@dataclass(frozen=True, slots=True)
class WaitForChannel:
    """The retries are used up: the Channel's next start tries again."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A retry can't help: an administrator must follow the error's remedy."""


Decision = RetryAt | WaitForChannel | GiveUp


def retries_of(rule: RetryRule) -> int:
    """Return the number of retries that a rule allows: 15 by default."""
    if rule.every <= timedelta(0):
        return 0
    return max(0, rule.for_ // rule.every)


def decide(rule: RetryRule, *, first_failure: datetime, attempts: int, now: datetime, retryable: bool) -> Decision:
    """Decide what follows a failed try.

    Args:
        first_failure: When the count began; ``now`` for the first failed try.
        attempts: Failed tries including this one, at least 1.
        now: When this try failed. A clock that was set back delays a retry by at most ``rule.every``.
    """
    if not retryable:
        return GiveUp()
    points = retries_of(rule)
    if points == 0:
        return WaitForChannel()
    passed = max(0, (now - first_failure) // rule.every)
    number = max(attempts, passed + 1)
    if number > points:
        return WaitForChannel()
    return RetryAt(min(first_failure + number * rule.every, now + rule.every), number, points)


def after_failure(
    state: CurrentState, failure: Failure, rule: RetryRule, now: datetime, *, sent: int = 0, resumed: int = 0
) -> tuple[CurrentState, Decision]:
    """Return the state after a failed try to send, and the decision about a retry.

    Args:
        sent: Bytes on the wire in this try; the Subscriber keeps them, so that the next try resumes (D8).
        resumed: Bytes that this try needn't send.
    """
    decision: Decision = WaitForChannel()
    if failure.code not in NEXT_START_CODES:
        decision = decide(rule, first_failure=state.first_failure or now, attempts=state.attempts + 1, now=now, retryable=failure.retryable)
    moved = State.FAILED if isinstance(decision, GiveUp) else _absent(failure)
    changed = state.fail_sending(
        failure,
        state=moved,
        reason=f"{describe(decision)}: {failure.message}",
        next_try=decision.at if isinstance(decision, RetryAt) else None,
        at=now,
        sent=sent,
        resumed=resumed,
    )
    return changed, decision


def describe(decision: Decision) -> str:
    """Return a decision in the words of status and log."""
    match decision:
        case RetryAt(at=at, number=number, of=of):
            return f"retry {number} of {of} at {moment(at)}"
        case WaitForChannel():
            return "waiting for the Channel's next start"
        case GiveUp():
            return "failed"


def moment(at: datetime) -> str:
    """Return a time as it appears in the sentences of status, ``why`` and log."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def failure_of(error: SluiceError) -> Failure:
    """Return an error in the form that the ledger keeps."""
    return Failure(error.code, error.message, error.remedy, error.retryable)


def _absent(failure: Failure) -> State:
    return State.UNAVAILABLE if failure.code in UNAVAILABLE_CODES else State.WAITING
