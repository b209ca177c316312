"""One process' view of the send queue: what its turns are told, when it writes, and what it does where its ledger fails."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from infra.ledger.sql import SqlLedger, open_ledger
from infra.workplace import Workplace
from sluice.distributor.send_queue.watch import LEASE_SECONDS, QueueWatch, SendCancelledError, Turn
from sluice.errors import LeaseLostError, LedgerError
from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distributor, Priority, Site
from sluice.model.state import Record
from sluice.model.ticket import Phase, Started, Ticket, Waiting

START = datetime(2026, 3, 1, 22, tzinfo=UTC)


@dataclass
class Counted:
    """A ledger whose calls are counted, and fail on demand."""

    ledger: SqlLedger
    calls: list[str] = field(default_factory=list)
    error: LedgerError | None = None

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            self.calls.append(name)
            if self.error is not None:
                raise self.error
            return getattr(self.ledger, name)(*arguments, **more)

        return call


@dataclass
class Process:
    """A flow run's process: its watch, looked with by hand, on a clock that all share."""

    name: str
    place: "Place"

    def __post_init__(self) -> None:
        self.ledger = Counted(self.place.ledger)
        self.lost: list[str] = []
        self.heard: list[str] = []
        self.watch = QueueWatch("hq", self.place.limit, ledger=self.ledger, clock=self.place)

    def turn(self, host: str, priority: Priority = Priority.MEDIUM, *, waits_under: tuple[str, ...] = ()) -> Turn:
        """Entered, its host has answered, and it asks."""
        assignment = Assignment(host, "zone", RevisionNumber(1, 1), priority=priority)
        ticket = self.place.ledger.enqueue("hq", assignment, self.name, lease_seconds=self.watch.lease_seconds, now=self.place.now())
        assert isinstance(ticket, Ticket)
        turn = self.watch.keep(ticket, lambda: self.lost.append(host))
        event = Event(START, EventKind.SEND_STARTED, distribution="zone", subscriber=host)
        turn.ask(
            lambda: Record(event),
            stopped_by=lambda seen: next((n for n in waits_under if n in seen.cancelled), None),
            on_decision=lambda: self.heard.append(host),
        )
        return turn


@dataclass
class Place:
    """What the processes share."""

    ledger: SqlLedger
    limit: int | None = 1
    time: datetime = START

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def process(self, name: str) -> Process:
        return Process(name, self)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    ledger = open_ledger(tmp_path / "ledger.db")
    yield Place(ledger)
    ledger.close()


def said(turn: Turn) -> type:
    return type(turn.decision)


def finish(place: Place, process: Process, turn: Turn) -> None:
    process.watch.drop(turn)
    place.ledger.finish(turn.ticket)
    process.watch.slot_freed()


def paused(turn: Turn) -> tuple[threading.Thread, list[BaseException]]:
    """Its transfer, in a thread, which gives its slot away."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            turn.pause(lambda: None)
        except (LeaseLostError, SendCancelledError) as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, raised


def until(condition: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(1000):
        if condition():
            return
        waited.wait(0.01)
    raise AssertionError("not within ten seconds")


def test_all_who_ask_at_once_are_answered_by_one_write_and_hear_it_once(place: Place) -> None:
    process = place.process("run-1")
    turns = [process.turn(f"host-{n}") for n in range(5)]
    process.watch.look()
    assert [type(turn.decision) for turn in turns] == [Started, *[Waiting] * 4]
    assert process.heard == [f"host-{n}" for n in range(5)]
    process.watch.look()
    assert process.ledger.calls == ["take_turns", "look"]
    assert len(process.heard) == 5


def test_while_nothing_changes_a_look_reads_the_stamp_alone_however_many_wait(place: Place) -> None:
    process = place.process("run-1")
    for n in range(20):
        process.turn(f"host-{n}")
    process.watch.look()
    process.ledger.calls.clear()
    for _ in range(18):
        place.sleep(0.5)
        process.watch.look()
    assert process.ledger.calls == ["look"] * 18
    process.ledger.calls.clear()
    place.sleep(1)
    process.watch.look()
    assert process.ledger.calls == ["renew", "look"], "all leases in one write, once a third of their length"
    assert {t.lease_until for t in place.ledger.snapshot().tickets} == {place.time + timedelta(seconds=LEASE_SECONDS)}


def test_another_process_slot_is_taken_over_when_the_stamp_moves(place: Place) -> None:
    first, second = place.process("run-1"), place.process("run-2")
    running = first.turn("a")
    first.watch.look()
    waiting = second.turn("b")
    second.watch.look()
    assert said(waiting) is Waiting
    finish(place, first, running)
    second.watch.look()
    assert said(waiting) is Started


def test_a_dead_process_slot_is_taken_over_when_its_lease_ends_and_nothing_else_changed(place: Place) -> None:
    dead, alive = place.process("run-1"), place.process("run-2")
    lost = dead.turn("a")
    dead.watch.look()
    waiting = alive.turn("b")
    for _ in range(59):
        alive.watch.look()
        assert said(waiting) is Waiting
        place.sleep(0.5)
    place.sleep(0.5)
    alive.watch.look()
    assert said(waiting) is Started
    dead.watch.look()
    assert said(lost) is LeaseLostError
    assert dead.lost == ["a"]


def test_a_standstill_of_the_machine_costs_nobody_its_place(place: Place) -> None:
    first, second = place.process("run-1"), place.process("run-2")
    running = first.turn("a")
    first.watch.look()
    waiting = second.turn("b")
    second.watch.look()
    place.sleep(3 * LEASE_SECONDS)
    second.watch.look()  # it happens to be the first to go on
    first.watch.look()
    place.sleep(0.5)
    second.watch.look()
    first.watch.look()
    assert said(waiting) is Waiting
    assert said(running) is Started
    assert first.lost == second.lost == []


def test_a_lower_transfer_pauses_for_a_higher_arrival_and_gets_its_slot_back(place: Place) -> None:
    first, second = place.process("run-1"), place.process("run-2")
    low = first.turn("a", Priority.LOW)
    first.watch.look()
    high = second.turn("b", Priority.HIGH)
    second.watch.look()
    assert said(high) is Waiting
    first.watch.look()
    assert low.must_pause
    thread, raised = paused(low)
    until(lambda: place.ledger.snapshot().tickets[0].phase is Phase.PAUSED)
    second.watch.look()
    assert said(high) is Started
    first.watch.look()
    assert thread.is_alive()
    place.sleep(5)
    finish(place, second, high)
    first.watch.look()
    thread.join(10)
    assert not thread.is_alive()
    assert (raised, low.must_pause, low.has_slot) == ([], False, True)
    assert low.paused == timedelta(seconds=5)


def test_a_pause_that_is_not_needed_any_more_is_taken_back(place: Place) -> None:
    process = place.process("run-1")
    low = process.turn("a", Priority.LOW)
    process.watch.look()
    high = process.turn("b", Priority.HIGH)
    process.watch.look()
    assert low.must_pause
    finish(place, process, high)
    process.watch.look()
    assert not low.must_pause


@pytest.mark.parametrize("how", ["cancelled", "lost"])
def test_a_paused_transfer_that_is_cancelled_or_given_away_is_broken_off(place: Place, how: str) -> None:
    process, other = place.process("run-1"), place.process("run-2")
    low = process.turn("a", Priority.LOW, waits_under=("night",))
    process.watch.look()
    other.turn("b", Priority.HIGH)
    other.watch.look()
    thread, raised = paused(low)
    until(lambda: place.ledger.snapshot().tickets[0].phase is Phase.PAUSED)
    until(lambda: low.ticket.number in process.watch._asking)
    process.watch.look()
    if how == "cancelled":
        place.ledger.request_cancel("night", at=START)
    else:
        place.ledger.finish(low.ticket)
    process.watch.look()
    thread.join(10)
    assert [type(error) for error in raised] == [SendCancelledError if how == "cancelled" else LeaseLostError]
    assert process.lost == ([] if how == "cancelled" else ["a"])


def test_a_cancel_ends_the_waiting(place: Place) -> None:
    process = place.process("run-1")
    process.turn("a")
    waiting = process.turn("b", waits_under=("night", "zone"))
    process.watch.look()
    place.ledger.request_cancel("zone", at=START)
    process.watch.look()
    assert isinstance(waiting.decision, SendCancelledError)
    assert waiting.decision.name == "zone"


def test_a_ledger_that_cannot_be_read_is_waited_for_as_long_as_the_leases_last(place: Place) -> None:
    process = place.process("run-1")
    running, waiting = process.turn("a"), process.turn("b")
    process.watch.look()
    process.ledger.error = LedgerError("the disk is gone")
    for _ in range(int(LEASE_SECONDS) - 1):
        place.sleep(1)
        with pytest.raises(LedgerError):
            process.watch.look()
    assert process.lost == []
    place.sleep(1)
    with pytest.raises(LedgerError):
        process.watch.look()
    assert running.decision is waiting.decision is process.ledger.error
    assert sorted(process.lost) == ["a", "b"]


def test_a_transfer_whose_lease_may_have_run_out_asks_before_it_sends_on(place: Place) -> None:
    place.limit = 2
    process, other = place.process("run-1"), place.process("run-2")
    kept, lost = process.turn("a"), process.turn("b")
    process.watch.look()
    assert [turn.must_pause for turn in (kept, lost)] == [False, False]
    place.sleep(LEASE_SECONDS)  # it stood still; its watch hasn't looked yet
    assert [turn.must_pause for turn in (kept, lost)] == [True, True]
    other.turn("b")  # has the place of the one by now
    thread, raised = paused(kept)
    until(lambda: kept.ticket.number in process.watch._asking)
    with pytest.raises(LeaseLostError):
        lost.pause(lambda: None)
    process.watch.look()
    thread.join(10)
    assert (thread.is_alive(), raised, kept.must_pause) == (False, [], False)


def test_a_ledger_that_answers_too_late_counts_as_none(place: Place) -> None:
    process = place.process("run-1")
    process.turn("a")
    process.watch.look()

    def late(*_: object, **__: object) -> None:
        place.sleep(LEASE_SECONDS)
        raise LedgerError("no answer")

    process.ledger.renew = late  # type: ignore[attr-defined]
    place.sleep(LEASE_SECONDS / 3)
    with pytest.raises(LedgerError):
        process.watch.look()
    assert process.lost == ["a"]


def test_whatever_goes_wrong_with_the_watch_everybody_hears_of_it_and_its_thread_goes_on(place: Place) -> None:
    def breaks() -> Record:
        raise ZeroDivisionError

    place.limit = 3
    process = place.process("run-1")
    well, broken = process.turn("a"), process.turn("b")
    broken.began = breaks
    process.watch.start()
    until(lambda: [said(well), said(broken)] == [LedgerError] * 2)
    later = process.turn("c")
    until(lambda: said(later) is Started)
    process.watch.close()


def test_a_slot_whose_answer_got_lost_is_not_held_for_nothing(place: Place) -> None:
    process, other = place.process("run-1"), place.process("run-2")
    low = process.turn("a", Priority.LOW)
    place.ledger.take_turns("hq", [low.ticket.number], [low.ticket.number], lambda _: low.began(), limit=1, now=START)  # type: ignore[misc]
    high = other.turn("b", Priority.HIGH)
    other.watch.look()
    assert said(high) is Waiting
    process.watch.look()
    assert said(low) is Started
    assert low.must_pause


def test_closed_it_breaks_off_what_pauses(place: Place) -> None:
    process = place.process("run-1")
    low = process.turn("a", Priority.LOW)
    process.watch.look()
    thread, raised = paused(low)
    until(lambda: low.ticket.number in process.watch._asking)
    process.watch.close()
    thread.join(10)
    assert [type(error) for error in raised] == [LeaseLostError]


def test_its_thread_looks_by_itself_and_ends_when_it_is_closed(place: Place) -> None:
    process = place.process("run-1")
    answered = threading.Event()
    process.watch.start()
    turn = process.turn("a")
    until(lambda: said(turn) is Started)
    waiting = process.turn("b")
    waiting.ask(lambda: Record(Event(START, EventKind.SEND_STARTED)), stopped_by=lambda _: None, on_decision=answered.set)
    finish(place, process, turn)
    assert answered.wait(10)
    until(lambda: said(waiting) is Started)
    process.watch.close()
    assert not process.watch._thread.is_alive()


@pytest.mark.parametrize("seconds", [2.0, 90.0])
def test_another_length_of_leases_is_renewed_at_a_third_and_over_at_the_whole(place: Place, seconds: float) -> None:
    process = place.process("run-1")
    process.watch = QueueWatch("hq", 1, ledger=process.ledger, clock=place, lease_seconds=seconds)
    turn = process.turn("a")
    process.watch.look()
    place.sleep(seconds / 3)
    process.watch.look()
    assert process.ledger.calls.count("renew") == 1
    assert [t.lease_until for t in place.ledger.snapshot().tickets] == [place.time + timedelta(seconds=seconds)]
    place.sleep(seconds - 0.1)
    assert not turn.must_pause
    place.sleep(0.1)
    assert turn.must_pause


def test_the_length_of_leases_is_a_setting_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def lease_seconds() -> float:
        return Workplace(Site("site", {}, {}, {}, {}), Distributor("hq", PurePosixPath("/hq"))).lease_seconds

    monkeypatch.delenv("SLUICE_LEASE_SECONDS", raising=False)
    assert lease_seconds() == LEASE_SECONDS
    monkeypatch.setenv("SLUICE_LEASE_SECONDS", "2.5")
    assert lease_seconds() == 2.5
    for wrong in ("soon", "0", "-3", "nan", "inf"):
        monkeypatch.setenv("SLUICE_LEASE_SECONDS", wrong)
        with pytest.raises(LedgerError, match="SLUICE_LEASE_SECONDS is no number of seconds from 2 on"):
            lease_seconds()
