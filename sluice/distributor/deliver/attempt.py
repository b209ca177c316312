"""What the ledger says of one Subscriber and Distribution while a flow run is at them: read, judged and recorded.

The count of retries is the ledger's (D7): a new run starts it anew, unless it is the same run that was started again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from sluice.distributor.deliver.orders import Ordering
from sluice.distributor.plan.sends import SendTarget
from sluice.errors import BaseDiffersError
from sluice.model.event import Event, EventKind, JsonValue
from sluice.model.revision import RevisionNumber
from sluice.model.state import CurrentState, Record, State


class AttemptState:
    """The course of one target that is due, through one run."""

    def __init__(self, target: SendTarget, revision: RevisionNumber, *, ordering: Ordering, extracts: bool) -> None:
        """
        Args:
            extracts: An extraction follows at once: what is only held doesn't end it.
        """
        self.target, self.revision = target, revision
        self._ordering, self._extracts = ordering, extracts

    def state(self) -> CurrentState:
        """As it stands."""
        return self._ordering.ledger.state(self.target.subscriber, self.target.distribution)

    def begins_anew(self, state: CurrentState) -> bool:
        """Whether the run is to be offered: not where this very run was started again, or nothing is left to do."""
        if state.attempts and state.offered == self.revision and state.flow_run == self._ordering.flow_run:
            return False
        return self.newer(state) is None and (not self.stands(state) or self.target.check)

    def offered(self, now: datetime) -> Record:
        """What begins it: the count of retries starts anew."""
        return self.record(EventKind.OFFERED, now, lambda s: s.reset_retries(now) if self.stands(s) else self.offer(s, now))

    def offer(self, state: CurrentState, now: datetime) -> CurrentState:
        """The state after the revision was offered."""
        return state.offer(self.revision, distributor=self._ordering.distributor, channel=self.target.channel, at=now)

    def newer(self, state: CurrentState) -> RevisionNumber | None:
        """What another run offered since ours was planned, in a window's random instant or between retries: ours would take it back."""
        newer = state.offered
        if newer is None or newer <= self.revision or newer not in self._ordering.store.revisions(self.target.distribution):
            return None
        return newer

    def stands(self, state: CurrentState) -> bool:
        """Whether, by receipts, nothing is left to do; an offer or a failed call takes nothing of that back."""
        if state.extracted == self.revision:
            return state.state is State.INSTALLED
        return state.held == self.revision and state.state is State.RECEIVED and not self._extracts

    @staticmethod
    def base_mismatch(state: CurrentState) -> bool:
        """Whether an extraction found that what stands there isn't what the revision builds on any more."""
        return state.error is not None and state.error.code == BaseDiffersError.__name__

    def record(
        self, kind: EventKind, now: datetime, change: Callable[[CurrentState], CurrentState], data: Mapping[str, JsonValue] | None = None
    ) -> Record:
        """An event of this run about the pair, with the change of its state."""
        target = self.target
        event = Event(
            at=now,
            kind=kind,
            distributor=self._ordering.distributor,
            distribution=target.distribution,
            revision=self.revision,
            subscriber=target.subscriber,
            channel=target.channel,
            flow_run=self._ordering.flow_run,
            data=data or {},
        )
        return Record(event, change)
