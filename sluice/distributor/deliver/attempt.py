"""The ledger's state of one assignment while a flow run delivers it: read, judged and recorded.

The count of retries is the ledger's (D7): a new run starts it anew, unless it is the same run that was started again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sluice.distributor.context import DistributorContext, record_of
from sluice.errors import BaseDiffersError
from sluice.model.assignment import Assignment
from sluice.model.event import EventKind, JsonValue
from sluice.model.revision import RevisionNumber
from sluice.model.state import CurrentState, Record, State
from sluice.rules.belief import of_owner


@dataclass(frozen=True, slots=True)
class AttemptState:
    """The state of one assignment that is due, through one run."""

    context: DistributorContext
    assignment: Assignment
    check: bool
    """Its host is asked although receipts say that it holds the revision."""
    extracts: bool
    """An extraction follows at once: being held isn't the end."""

    def read(self) -> CurrentState:
        """Read it from the ledger: a blank one if another Distributor made it."""
        state = self.context.ledger.state(*self.assignment.pair)
        return of_owner(state, self.context.distributor.name) or CurrentState(*self.assignment.pair)

    def offer_record(self, state: CurrentState) -> Record | None:
        """Make the record that begins the run, and the count of retries anew; None if this very run was started again or all is done."""
        if state.attempts and state.offered == self.assignment.revision and state.flow_run == self.context.flow_run:
            return None
        if self.newer(state) is not None or (self.is_done(state) and not self.check):
            return None
        return self.record(EventKind.OFFERED, lambda s, at: s.reset_retries(at) if self.is_done(s) else self.offer(s, at))

    def offer(self, state: CurrentState, at: datetime) -> CurrentState:
        """Return the state after the revision was offered."""
        return state.offer(self.assignment.revision, distributor=self.context.distributor.name, channel=self.assignment.channel, at=at)

    def newer(self, state: CurrentState) -> RevisionNumber | None:
        """Find a newer revision that another run offered since ours was planned, in a random window or between retries."""
        newer = state.offered
        if newer is None or newer <= self.assignment.revision or newer not in self.context.store.revisions(self.assignment.distribution):
            return None
        return newer

    def is_done(self, state: CurrentState) -> bool:
        """Whether, by receipts, nothing remains to be done; an offer or a failed call takes nothing of that back."""
        if of_owner(state, self.context.distributor.name) is None:
            return False
        if state.extracted == self.assignment.revision:
            return state.state is State.INSTALLED
        return state.held == self.assignment.revision and state.state is State.RECEIVED and not self.extracts

    @staticmethod
    def base_mismatch(state: CurrentState) -> bool:
        """Whether an extraction found that the tree there isn't the one the revision builds on any more."""
        return state.error is not None and state.error.code == BaseDiffersError.__name__

    def record(
        self, kind: EventKind, change: Callable[[CurrentState, datetime], CurrentState], data: Mapping[str, JsonValue] | None = None
    ) -> Record:
        """Make an event of this run about the pair, now, with the change of its state."""
        return record_of(self.context, kind, self.assignment, change, data)
