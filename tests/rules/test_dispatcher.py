"""The incremental decider is the pure rule: whatever changes, in whichever order, told one by one or many at once."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.ticket import Phase, Started, Ticket, Verdict
from sluice.rules.dispatch import decide
from sluice.rules.dispatcher import Dispatcher

NOW = datetime(2026, 12, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)

holders = st.sampled_from(["run-1", "run-2"])
which = st.integers(0, 30)


def unleased(verdicts: Mapping[int, Verdict]) -> dict[int, Verdict]:
    """Without the leases, of whose renewals the decider isn't told."""
    return {number: replace(said, ticket=replace(said.ticket, lease_until=NOW)) for number, said in verdicts.items()}


class Queue(RuleBasedStateMachine):
    """A queue as a ledger holds it, beside a decider that is told numbers of what changed, and of leases nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: dict[int, Ticket] = {}
        self.last, self.limit, self.now = 0, 2, NOW
        self.untold: set[int] = set()
        self.dispatcher = Dispatcher(self.limit)

    def change(self, number: int, phase: Phase | None) -> None:
        """Give it another phase; None: it leaves."""
        self.queue[number] = replace(self.queue[number], phase=phase) if phase else self.queue[number]
        if phase is None:
            del self.queue[number]
        self.untold.add(number)

    def pick(self, which: int, *phases: Phase) -> list[int]:
        found = [n for n, t in self.queue.items() if t.phase in phases]
        return found[which % len(found) :][:1] if found else []

    @rule(priorities=st.lists(st.sampled_from(Priority), min_size=1, max_size=6), holder=holders)
    def enter(self, priorities: list[Priority], holder: str) -> None:
        for priority in priorities:
            self.last += 1
            name = f"host-{self.last}"
            self.queue[self.last] = Ticket(
                self.last, "hq", name, "zone", RevisionNumber(1, 1), priority, holder, Phase.ENTERED, self.now, self.now + LEASE
            )
            self.untold.add(self.last)

    @rule(holder=holders)
    def answer_all(self, holder: str) -> None:
        for number in [n for n, t in self.queue.items() if t.holder == holder and t.phase is Phase.ENTERED]:
            self.change(number, Phase.READY)

    @rule(which=which)
    def answer(self, which: int) -> None:
        for number in self.pick(which, Phase.ENTERED):
            self.change(number, Phase.READY)

    @rule(holder=holders)
    def start(self, holder: str) -> None:
        for number, said in decide(self.queue.values(), self.limit, self.now).items():
            if said.ticket.holder == holder and self.queue[number].phase is not said.ticket.phase:
                self.change(number, said.ticket.phase)

    @rule(which=which)
    def pause(self, which: int) -> None:
        for number in self.pick(which, Phase.RUNNING):
            self.change(number, Phase.PAUSED)

    @rule(which=which)
    def release(self, which: int) -> None:
        for number in self.pick(which, Phase.RUNNING):
            self.change(number, Phase.ENTERED)

    @rule(which=which)
    def leave(self, which: int) -> None:
        for number in self.pick(which, *Phase):
            self.change(number, None)

    @rule(holder=holders)
    def cancel(self, holder: str) -> None:
        for number in [n for n, t in self.queue.items() if t.holder == holder and t.phase is not Phase.RUNNING]:
            self.change(number, None)

    @rule(holder=holders)
    def renew(self, holder: str) -> None:
        self.queue = {n: replace(t, lease_until=self.now + LEASE) if t.holder == holder else t for n, t in self.queue.items()}

    @rule(seconds=st.sampled_from([1, 10, 30]))
    def let_time_pass(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: any(not t.live(self.now) for t in self.queue.values()))
    @rule()
    def remove_the_dead(self) -> None:
        for number in [n for n, t in self.queue.items() if not t.live(self.now)]:
            self.change(number, None)

    @rule(limit=st.sampled_from([1, 2, 3, None]))
    def limit_changes(self, limit: int | None) -> None:
        self.limit = limit
        self.dispatcher = Dispatcher(limit, self.dispatcher.tickets.values())

    @rule(numbers=st.sets(which))
    def what_is_taken_back_leaves_nothing(self, numbers: set[int]) -> None:
        self.dispatcher.take(self.dispatcher.take(dict.fromkeys(numbers)))

    @rule()
    def agree(self) -> None:
        """Have it told what changed since the last decision, and compare with the rule."""
        told = self.dispatcher
        told.take({number: self.queue.get(number) for number in self.untold})
        self.untold.clear()
        told.take({number: self.queue[number] for number in told.ended(self.now)})
        before = told.take(dict.fromkeys(told.ended(self.now)))
        wanted = decide([t for _, t in sorted(self.queue.items())], self.limit, self.now)
        found = {number: said for number in self.queue if (said := told.verdict(number)) is not None}
        assert unleased(found) == unleased(wanted)
        phases = {number: ticket.phase for number, ticket in self.queue.items()}
        started = {number for number, said in wanted.items() if isinstance(said, Started)}
        assert set(told.starting()) == {number for number in started if phases[number] is not Phase.RUNNING}
        assert set(told.running) == {number for number in wanted if phases[number] is Phase.RUNNING}
        assert told.until == min((t.lease_until for t in told.tickets.values()), default=None)
        told.take(before)

    @invariant()
    def starts_nobody_of_whom_it_was_told_otherwise(self) -> None:
        assert {self.dispatcher.tickets[n].phase for n in self.dispatcher.starting()} <= {Phase.READY, Phase.PAUSED}

    def teardown(self) -> None:
        self.agree()


def test_the_decider_says_what_the_rule_says_after_any_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.rules.dispatch.UNLIMITED_IN_PROCESS", 2)  # so that few fill a process
    run_state_machine_as_test(Queue, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
