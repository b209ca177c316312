"""D9 and D10: a sliding window, strict priorities, pauses for higher ones, and everybody's turn."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.ticket import UNLIMITED_IN_PROCESS, Pausing, Phase, Started, Ticket, Verdict, Waiting
from sluice.rules.dispatch import decide, leased, occupied

NOW = datetime(2026, 12, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)
HIGH, MEDIUM, LOW = Priority.HIGH, Priority.MEDIUM, Priority.LOW


def ticket(
    number: int, priority: Priority = MEDIUM, phase: Phase = Phase.READY, *, holder: str = "run-1", lease: timedelta = LEASE
) -> Ticket:
    return Ticket(number, "hq", f"host-{number}", "zone", RevisionNumber(1, 1), priority, holder, phase, NOW, NOW + lease)


def crowd(count: int, priority: Priority = MEDIUM, *, first: int = 1, holder: str = "run-1") -> list[Ticket]:
    return [ticket(first + n, priority, holder=holder) for n in range(count)]


def verdict(number: int, queue: list[Ticket], limit: int | None) -> Verdict | None:
    return decide(queue, limit, NOW).get(number)


@dataclass
class Queue:
    """The ledger's and the processes' part, without either: each process looks by itself and saves what it is given."""

    limit: int | None
    tickets: dict[int, Ticket] = field(default_factory=dict)
    pausing: set[int] = field(default_factory=set)
    """Told to pause, and still in a block."""

    def enter(self, found: list[Ticket]) -> None:
        self.tickets |= {t.number: t for t in found}

    def look(self, holder: str = "run-1") -> None:
        for number, said in decide(self.tickets.values(), self.limit, NOW).items():
            if self.tickets[number].holder != holder:
                continue
            self.tickets[number] = said.ticket
            self.pausing.discard(number)
            if isinstance(said, Pausing):
                self.pausing.add(number)

    def end_blocks(self) -> None:
        for number in self.pausing:
            self.tickets[number] = replace(self.tickets[number], phase=Phase.PAUSED)
        self.pausing.clear()

    def end(self, number: int) -> None:
        del self.tickets[number]
        self.pausing.discard(number)

    @property
    def running(self) -> list[Ticket]:
        return [t for t in self.tickets.values() if t.phase is Phase.RUNNING]

    @property
    def settled(self) -> list[Ticket]:
        """Running, and not about to pause."""
        return [t for t in self.running if t.number not in self.pausing]

    def finish_running(self) -> None:
        for running in self.running:
            self.end(running.number)


def test_a_hundred_subscribers_on_ten_slots_slide() -> None:
    queue = Queue(10)
    queue.enter(crowd(100))
    begun: list[int] = []
    while queue.tickets:
        queue.look()
        assert len(queue.running) == min(10, len(queue.tickets))
        first = queue.running[0]
        begun.append(first.number)
        queue.end(first.number)
        queue.look()  # each finished one is replaced at once
        assert len(queue.running) == min(10, len(queue.tickets))
    assert begun == list(range(1, 101))


@pytest.mark.parametrize("holders", [("run-1",), ("run-1", "run-2")])
def test_limit_ten_with_three_high_six_medium_and_twenty_low_goes_three_six_ten_ten(holders: tuple[str, ...]) -> None:
    queue = Queue(10)
    queue.enter(crowd(20, LOW) + crowd(6, MEDIUM, first=21) + crowd(3, HIGH, first=27))
    queue.tickets = {n: replace(t, holder=holders[n % len(holders)]) for n, t in queue.tickets.items()}
    waves = []
    while queue.tickets:
        for holder in holders:
            queue.look(holder)
        waves.append((len(queue.running), {t.priority.value for t in queue.running}))
        queue.finish_running()
    assert waves == [(3, {"high"}), (6, {"medium"}), (10, {"low"}), (10, {"low"})]


def test_a_higher_arrival_pauses_lower_ones_and_starts_when_a_slot_is_really_free() -> None:
    queue = Queue(2)
    queue.enter(crowd(3, LOW))
    queue.look()
    assert [t.number for t in queue.running] == [1, 2]
    queue.enter([ticket(4, HIGH)])
    queue.look()
    assert queue.pausing == {1, 2}
    assert [t.number for t in queue.running] == [1, 2], "both are still in a block: no slot is free"
    queue.end_blocks()
    queue.look()
    assert [t.number for t in queue.running] == [4]
    queue.end(4)
    queue.enter([ticket(5, LOW)])
    queue.look()
    assert [t.number for t in queue.running] == [1, 2], "what was paused comes before what hasn't begun"
    queue.finish_running()
    queue.look()
    assert [t.number for t in queue.running] == [3, 5]


def test_a_higher_arrival_takes_a_free_slot_beside_lower_ones_that_are_still_in_a_block() -> None:
    queue = [ticket(1, LOW, Phase.RUNNING), ticket(2, LOW, Phase.RUNNING), ticket(3, HIGH)]
    assert isinstance(verdict(3, queue, 3), Started)
    assert isinstance(verdict(3, queue, 2), Waiting)


@pytest.mark.parametrize("phase", [Phase.READY, Phase.RUNNING, Phase.PAUSED])
def test_one_of_a_higher_priority_keeps_lower_ones_paused_however_far_it_is(phase: Phase) -> None:
    queue = [ticket(1, LOW, Phase.PAUSED), ticket(2, MEDIUM, phase), ticket(3, LOW, Phase.RUNNING), ticket(4, LOW)]
    found = decide(queue, 10, NOW)
    assert [type(found[n]) for n in (1, 3, 4)] == [Waiting, Pausing, Waiting]


def test_a_pause_is_taken_back_where_the_higher_one_is_gone_before_the_block_ended() -> None:
    queue = Queue(1)
    queue.enter([ticket(1, LOW), ticket(2, HIGH, Phase.ENTERED)])
    queue.look()
    queue.tickets[2] = replace(queue.tickets[2], phase=Phase.READY)
    queue.look()
    assert queue.pausing == {1}
    queue.end(2)
    queue.look()
    assert not queue.pausing
    assert [t.number for t in queue.settled] == [1]


def test_the_reasons_are_sentences() -> None:
    queue = [ticket(n, phase=Phase.RUNNING) for n in range(1, 11)] + [ticket(n) for n in range(11, 15)]
    waiting = verdict(14, queue, 10)
    assert isinstance(waiting, Waiting)
    assert waiting.reason == "waiting: 10 of 10 transfers of hq run (zone to host-1, zone to host-2 and 8 more); 3 before it"
    unlimited = verdict(65, [ticket(n, phase=Phase.RUNNING) for n in range(1, 65)] + [ticket(65)], None)
    assert isinstance(unlimited, Waiting)
    assert unlimited.reason == "waiting: 64 of 64 transfers of flow run run-1 run (zone to host-1, zone to host-2 and 62 more); 0 before it"
    higher = [ticket(1, HIGH, Phase.RUNNING), ticket(2, HIGH), ticket(3, LOW), ticket(4, LOW, Phase.PAUSED), ticket(5, LOW, Phase.RUNNING)]
    said = [v.reason for n in (3, 4, 5) if not isinstance(v := decide(higher, 10, NOW)[n], Started)]
    assert said == [
        "waiting: priority low goes after the higher ones of hq: 1 running and 1 waiting",
        "paused: priority low goes after the higher ones of hq: 1 running and 1 waiting",
        "pauses at the next block for higher priorities of hq: 1 running and 1 waiting",
    ]
    for phase in (Phase.READY, Phase.RUNNING, Phase.PAUSED):
        assert occupied(ticket(1, phase=phase)).reason == "already being sent by flow run run-1"
    assert occupied(ticket(1, phase=Phase.ENTERED)).reason == "flow run run-1 is connecting to it or has it extract"


def test_a_high_one_whose_host_has_not_answered_delays_and_pauses_no_low_one() -> None:
    queue = [ticket(1, HIGH, Phase.ENTERED), ticket(2, LOW), ticket(3, LOW, Phase.RUNNING)]
    assert isinstance(verdict(2, queue, 2), Started)
    assert isinstance(verdict(3, queue, 2), Started)
    assert verdict(1, queue, 2) is None


def test_a_free_slot_is_kept_for_who_came_first() -> None:
    queue = [ticket(1, phase=Phase.RUNNING), ticket(2, holder="run-2"), ticket(3)]
    assert isinstance(verdict(3, queue, 2), Waiting)
    assert isinstance(verdict(2, queue, 2), Started)


@pytest.mark.parametrize("phase", [Phase.READY, Phase.RUNNING, Phase.PAUSED])
def test_the_dead_stand_in_nobodys_way(phase: Phase) -> None:
    dead = ticket(1, HIGH, phase, lease=timedelta(0))
    assert isinstance(verdict(2, [dead, ticket(2, LOW)], 1), Started)
    assert verdict(1, [dead], 1) is None


def test_unlimited_is_sixty_four_in_each_process() -> None:
    queue = Queue(None)
    queue.enter(crowd(100) + crowd(100, first=101, holder="run-2"))
    queue.look()
    queue.look("run-2")
    assert len([t for t in queue.running if t.holder == "run-1"]) == UNLIMITED_IN_PROCESS == 64
    assert len([t for t in queue.running if t.holder == "run-2"]) == 64


def test_a_lease_is_never_shortened() -> None:
    kept = leased(ticket(1), NOW, 600)
    assert leased(kept, NOW, 60) == kept


HOLDERS = ("run-1", "run-2", "run-3")
steps = st.lists(
    st.tuples(
        st.sampled_from(["enter", "answer", "look", "block", "finish", "die"]),
        st.integers(0, 40),
        st.sampled_from(list(Priority)),
        st.sampled_from(HOLDERS),
    ),
    max_size=120,
)


def take(queue: Queue, step: str, which: int, priority: Priority, holder: str, number: int) -> None:
    if step == "enter":
        queue.enter([ticket(number, priority, Phase.ENTERED, holder=holder)])
    elif step == "look":
        queue.look(holder)
    elif queue.tickets:
        found = list(queue.tickets.values())[which % len(queue.tickets)]
        if step == "answer" and found.phase is Phase.ENTERED:
            queue.tickets[found.number] = replace(found, phase=Phase.READY)
        elif step == "block" and found.number in queue.pausing:
            queue.pausing.discard(found.number)
            queue.tickets[found.number] = replace(found, phase=Phase.PAUSED)
        elif step == "die" or (step == "finish" and found.phase is Phase.RUNNING):
            queue.end(found.number)


@given(limit=st.integers(1, 5), taken=steps)
def test_never_over_the_limit_never_mixed_after_a_block_none_overtaken_and_all_drain(
    limit: int, taken: list[tuple[str, int, Priority, str]]
) -> None:
    queue = Queue(limit)
    for number, (step, which, priority, holder) in enumerate(taken, start=1):
        before = {n: t.phase for n, t in queue.tickets.items()}
        take(queue, step, which, priority, holder, number)
        assert len(queue.running) <= limit
        for begun in (t for t in queue.running if before.get(t.number, Phase.RUNNING) is not Phase.RUNNING):
            rivals = [t for t in queue.tickets.values() if t.phase not in (Phase.ENTERED, Phase.RUNNING)]
            assert not [t for t in rivals if t.priority.rank < begun.priority.rank]
            overtaken = [t for t in rivals if t.priority is begun.priority and t.number < begun.number and t.phase is before[begun.number]]
            assert len(queue.running) + len(overtaken) <= limit, "who came before still finds a slot"
    for number, found in queue.tickets.items():
        if found.phase is Phase.ENTERED:
            queue.tickets[number] = replace(found, phase=Phase.READY)
    rounds = 0
    while queue.tickets:
        for _ in range(2):  # those told to pause end their blocks, then the others start
            for holder in HOLDERS:
                queue.look(holder)
            queue.end_blocks()
        for holder in HOLDERS:
            queue.look(holder)
        assert len({t.priority for t in queue.running}) == 1, "blocks have passed: nothing is mixed"
        assert not queue.pausing
        top = min(t.priority.rank for t in queue.tickets.values())
        assert {t.priority.rank for t in queue.running} == {top}
        assert len(queue.running) == min(limit, sum(t.priority.rank == top for t in queue.tickets.values()))
        queue.end(min(t.number for t in queue.running))  # one at a time: somebody always can start
        rounds += 1
    assert rounds <= len(taken)
