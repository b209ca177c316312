"""D9 and D10: a sliding window, strict priorities, and everybody's turn."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.ticket import UNLIMITED_IN_PROCESS, Phase, Started, Ticket, Waiting
from sluice.rules.dispatch import Lost, decide, leased, needs_renewal, occupied

NOW = datetime(2026, 12, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)


def ticket(
    number: int, priority: Priority = Priority.MEDIUM, phase: Phase = Phase.READY, *, holder: str = "run-1", lease: timedelta = LEASE
) -> Ticket:
    return Ticket(number, "hq", f"host-{number}", "zone", RevisionNumber(1, 1), priority, holder, phase, NOW, NOW + lease)


def crowd(count: int, priority: Priority = Priority.MEDIUM, *, first: int = 1, holder: str = "run-1") -> list[Ticket]:
    return [ticket(first + n, priority, Phase.ENTERED, holder=holder) for n in range(count)]


@dataclass
class Queue:
    """The ledger's part, without its database: who asks is saved as the decision says."""

    limit: int | None
    tickets: dict[int, Ticket] = field(default_factory=dict)

    def enter(self, found: list[Ticket]) -> None:
        self.tickets |= {t.number: t for t in found}

    def ask(self, number: int) -> Started | Waiting | Lost:
        decision = decide(self.tickets[number], self.tickets.values(), self.limit, NOW)
        if not isinstance(decision, Lost):
            self.tickets[number] = decision.ticket
        return decision

    def ask_all(self, order: list[int] | None = None) -> None:
        for number in order or list(self.tickets):
            self.ask(number)

    @property
    def running(self) -> list[Ticket]:
        return [t for t in self.tickets.values() if t.phase is Phase.RUNNING]

    def finish_running(self) -> None:
        for running in self.running:
            del self.tickets[running.number]


def test_a_hundred_subscribers_on_ten_slots_slide() -> None:
    queue = Queue(10)
    queue.enter(crowd(100))
    begun: list[int] = []
    while queue.tickets:
        queue.ask_all()
        assert len(queue.running) == min(10, len(queue.tickets))
        first = queue.running[0]
        begun.append(first.number)
        del queue.tickets[first.number]
        queue.ask_all()  # each finished one is replaced at once
        assert len(queue.running) == min(10, len(queue.tickets))
    assert begun == list(range(1, 101))


def test_limit_ten_with_three_high_six_medium_and_twenty_low_goes_three_six_ten_ten() -> None:
    queue = Queue(10)
    queue.enter(crowd(20, Priority.LOW) + crowd(6, Priority.MEDIUM, first=21) + crowd(3, Priority.HIGH, first=27))
    for number in queue.tickets:
        queue.tickets[number] = replace(queue.tickets[number], phase=Phase.READY)
    waves = []
    while queue.tickets:
        queue.ask_all()
        waves.append((len(queue.running), {t.priority.value for t in queue.running}))
        queue.finish_running()
    assert waves == [(3, {"high"}), (6, {"medium"}), (10, {"low"}), (10, {"low"})]


def test_the_reasons_are_sentences() -> None:
    queue = [ticket(n, phase=Phase.RUNNING) for n in range(1, 11)] + [ticket(n) for n in range(11, 15)]
    waiting = decide(ticket(14), queue, 10, NOW)
    assert isinstance(waiting, Waiting)
    assert waiting.reason == "waiting: 10 of 10 transfers of hq run; 3 before it"
    higher = [ticket(1, Priority.HIGH, Phase.RUNNING), ticket(2, Priority.HIGH), ticket(3, Priority.LOW)]
    behind = decide(higher[2], higher, 10, NOW)
    assert isinstance(behind, Waiting)
    assert behind.reason == "waiting: priority low goes after the higher ones of hq: 1 running and 1 waiting"
    assert occupied(ticket(1)).reason == "already being sent by flow run run-1"


def test_a_high_one_whose_host_has_not_answered_delays_no_low_one() -> None:
    queue = [ticket(1, Priority.HIGH, Phase.ENTERED), ticket(2, Priority.LOW)]
    assert isinstance(decide(queue[1], queue, 1, NOW), Started)


def test_a_high_one_starts_beside_lower_ones_that_run_but_not_beyond_the_limit() -> None:
    low = [ticket(1, Priority.LOW, Phase.RUNNING), ticket(2, Priority.LOW, Phase.RUNNING)]
    assert isinstance(decide(ticket(3, Priority.HIGH), [*low, ticket(3, Priority.HIGH)], 3, NOW), Started)
    assert isinstance(decide(ticket(3, Priority.HIGH), [*low, ticket(3, Priority.HIGH)], 2, NOW), Waiting)


def test_a_free_slot_is_kept_for_who_came_first() -> None:
    queue = [ticket(1, phase=Phase.RUNNING), ticket(2), ticket(3)]
    assert isinstance(decide(queue[2], queue, 2, NOW), Waiting)
    assert isinstance(decide(queue[1], queue, 2, NOW), Started)


@pytest.mark.parametrize("phase", [Phase.READY, Phase.RUNNING])
def test_the_dead_stand_in_nobodys_way(phase: Phase) -> None:
    dead = ticket(1, Priority.HIGH, phase, lease=timedelta(0))
    assert isinstance(decide(ticket(2, Priority.LOW), [dead, ticket(2, Priority.LOW)], 1, NOW), Started)


def test_one_that_was_given_away_is_lost_and_one_that_runs_keeps_its_slot() -> None:
    assert decide(ticket(1), [ticket(2)], 1, NOW) == Lost()
    running = ticket(1, phase=Phase.RUNNING)
    assert decide(running, [running, ticket(2, Priority.HIGH)], 1, NOW) == Started(running)


def test_unlimited_is_sixty_four_in_each_process() -> None:
    queue = Queue(None)
    queue.enter(crowd(100) + crowd(100, first=101, holder="run-2"))
    queue.ask_all()
    assert len([t for t in queue.running if t.holder == "run-1"]) == UNLIMITED_IN_PROCESS == 64
    assert len([t for t in queue.running if t.holder == "run-2"]) == 64


def test_a_lease_is_never_shortened_and_is_renewed_at_half() -> None:
    kept = leased(ticket(1), NOW, 600)
    assert leased(kept, NOW, 60) == kept
    assert not needs_renewal(kept, NOW, 600)
    assert needs_renewal(kept, NOW + timedelta(seconds=301), 600)


steps = st.lists(
    st.tuples(st.sampled_from(["enter", "ask", "finish", "die"]), st.integers(0, 40), st.sampled_from(list(Priority))), max_size=120
)


@given(limit=st.integers(1, 5), taken=steps)
def test_never_over_the_limit_never_lower_beside_waiting_higher_and_everybody_starts(
    limit: int, taken: list[tuple[str, int, Priority]]
) -> None:
    queue = Queue(limit)
    entered = 0
    for step, which, priority in taken:
        numbers = list(queue.tickets)
        if step == "enter":
            entered += 1
            queue.enter([ticket(entered, priority, Phase.ENTERED)])
        elif numbers:
            number = numbers[which % len(numbers)]
            before = queue.tickets[number]
            if step == "ask":
                queue.ask(number)
                after = queue.tickets[number]
                if before.phase is not Phase.RUNNING and after.phase is Phase.RUNNING:
                    others = [t for t in queue.tickets.values() if t.number != number and t.phase is not Phase.ENTERED]
                    assert not [t for t in others if t.priority.rank < after.priority.rank]
                    before_it = [t for t in others if t.phase is Phase.READY and t.priority is after.priority and t.number < number]
                    assert len(queue.running) + len(before_it) <= limit
            elif step == "finish" and before.phase is Phase.RUNNING:
                del queue.tickets[number]
            elif step == "die":
                del queue.tickets[number]  # the lease ran out and somebody removed it
        assert len(queue.running) <= limit
    rounds = 0
    while queue.tickets:
        queue.ask_all()
        assert queue.running, "somebody always can start"
        queue.finish_running()
        rounds += 1
    assert rounds <= entered
