"""One Subscriber and Distribution over a run's tries, on a real ledger, a fake clock and a scripted host."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from infra.ledger.sql import SqlLedger, open_ledger
from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.orders import ExtractResult, Orders
from sluice.distributor.send_queue.watch import QueueWatch
from sluice.errors import SluiceError, TamperedError, UnreachableError
from sluice.model.assignment import Assignment
from sluice.model.belief import HeldState
from sluice.model.event import Event, EventKind
from sluice.model.order import Failure, Outcome, Receipt
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.site import Subscriber
from sluice.model.state import State
from sluice.model.ticket import Occupied, Started
from sluice.sender.hello import AgentHello
from sluice.sender.transfer import Remedy, SendResult, Transfer
from tests.distributor.context import context_of
from tests.distributor.distributor import subscriber_named

START = datetime(2026, 3, 1, 22, tzinfo=UTC)
ONE, TWO = RevisionNumber(1, 1), RevisionNumber(1, 2)


@dataclass
class Place:
    """A Distributor's ledger, store and clock, and one host, which answers or doesn't."""

    ledger: SqlLedger
    time: datetime = START
    kept: tuple[RevisionNumber, ...] = (ONE, TWO)
    error: SluiceError | None = None
    held: RevisionNumber | None = None
    extracted: RevisionNumber | None = None
    calls: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = QueueWatch("hq", None, ledger=self.ledger, clock=self)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def revisions(self, _distribution: str) -> tuple[RevisionNumber, ...]:
        return self.kept

    def installed(self, revision: RevisionNumber) -> None:
        """It was sent, extracted and sworn."""
        run_through(self, self.delivery(revision, "run-0"))
        self.held = self.extracted = revision
        receipt = Receipt("hq", "oslo-1", 1, "zone", revision, Outcome.INSTALLED, self.time, self.time, 1, 0, 9, "ab" * 32)
        self.ledger.accept_receipt(receipt, "{}", Event(self.time, EventKind.INSTALLED))
        self.calls.clear()

    def delivery(
        self,
        revision: RevisionNumber,
        flow_run: str,
        *,
        recipe: RenderedRecipe | None = None,
        check: bool = False,
        sending: Callable[[Remedy], Transfer] | None = None,
    ) -> Delivery:
        return Delivery(
            context_of(store=self, ledger=self.ledger, clock=self, flow_run=flow_run),
            self.watch,
            Assignment("oslo-1", "zone", revision, "night"),
            sending or (lambda _: cast("Transfer", Host(self, revision))),
            recipe,
            check=check,
            cancelled_under=("night",),
        )


@dataclass
class Host:
    place: Place
    revision: RevisionNumber
    sent: int = 7
    resumed: int = 0
    called: Any = None
    is_mended: bool = False
    subscriber: Subscriber = field(default_factory=lambda: subscriber_named("oslo-1"))

    def call(self) -> AgentHello:
        self.place.calls.append(self.place.time)
        if self.place.error:
            raise self.place.error
        there = HeldState(self.place.held, self.place.extracted, self.place.ledger.state("oslo-1", "zone").sequence)
        return AgentHello("0.1.0", "oslo-1", "", "", frozenset(), 0, 0, frozenset(), {}, {"zone": there}, 0)

    @property
    def needs_transfer(self) -> bool:
        return self.is_mended or self.revision not in (self.place.held, self.place.extracted)

    def transfer(self, _progress: Any, _turn: Any) -> SendResult:
        self.place.held = self.revision
        return SendResult(self.revision, None, False, 100, 0, 100, 10, 5, 5, 0)

    def close(self) -> None: ...


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    ledger = open_ledger(tmp_path / "ledger.db")
    yield Place(ledger)
    ledger.close()


def tried(place: Place, delivery: Delivery) -> None:
    """One try, in the order of the steps."""
    assert delivery.enter() is None
    try:
        if delivery.call():
            started(place, delivery)
            delivery.transfer()
    except SluiceError as error:
        delivery.fail(error)
    finally:
        delivery.end()


def started(place: Place, delivery: Delivery) -> None:
    turn = delivery.ask(lambda: None)
    place.watch.look()
    assert isinstance(turn.decision, Started)


def run_through(place: Place, delivery: Delivery) -> None:
    delivery.offer()
    tried(place, delivery)
    while (at := delivery.next_try) is not None:
        place.time = at
        if delivery.settled() is None:
            tried(place, delivery)


def test_a_failed_send_is_tried_again_every_two_minutes_for_thirty_then_waits_for_the_channel(place: Place) -> None:
    place.error = UnreachableError("oslo-1: nothing answers")
    delivery = place.delivery(ONE, "run-1")
    run_through(place, delivery)
    assert place.calls == [START + timedelta(minutes=2 * number) for number in range(16)]
    state = place.ledger.state("oslo-1", "zone")
    assert (state.state, state.attempts, state.next_try) == (State.UNAVAILABLE, 16, None)
    assert delivery.failed is not None
    assert delivery.failed.reason.startswith("waiting for the Channel's next start")
    run_through(place, place.delivery(ONE, "run-2"))
    assert len(place.calls) == 32


def test_the_same_run_started_again_continues_the_count(place: Place) -> None:
    place.error = UnreachableError("oslo-1: nothing answers")
    first = place.delivery(ONE, "run-1")
    first.offer()
    for _ in range(5):
        tried(place, first)
        place.time = first.next_try or place.time
    again = place.delivery(ONE, "run-1")
    run_through(place, again)
    assert len(place.calls) == 16


def test_what_trying_again_cannot_help_ends_at_once(place: Place) -> None:
    place.error = TamperedError("bytes that nobody signed")
    run_through(place, place.delivery(ONE, "run-1"))
    assert len(place.calls) == 1
    assert place.ledger.state("oslo-1", "zone").state is State.FAILED


def test_a_retry_doesn_t_take_back_what_another_run_sent_meanwhile(place: Place) -> None:
    place.error = UnreachableError("oslo-1: nothing answers")
    old = place.delivery(ONE, "run-1")
    old.offer()
    tried(place, old)
    place.error = None
    run_through(place, place.delivery(TWO, "run-2"))
    done = old.settled()
    assert done is not None
    assert (done.state, done.reason, done.is_error) == (State.RECEIVED, "1.2 was offered by another run meanwhile", False)
    assert place.ledger.state("oslo-1", "zone").held == TWO


def test_a_run_that_waited_for_its_instant_doesn_t_offer_what_is_old_by_then(place: Place) -> None:
    old = place.delivery(ONE, "run-1")
    run_through(place, place.delivery(TWO, "run-2"))
    old.offer()
    assert place.ledger.state("oslo-1", "zone").offered == TWO
    assert old.settled() is not None
    place.kept = (ONE,)  # the store was begun anew: its first revision is no older one
    assert old.settled() is None


def test_what_another_owner_has_installed_there_settles_nothing(place: Place) -> None:
    """In a ledger that both share; each has its own record on the host."""
    place.installed(ONE)
    event = Event(place.time, EventKind.INSTALLED, "branch", "zone", subscriber="oslo-1")
    place.ledger.record(event, lambda state: replace(state, distributor="branch"))
    place.held = place.extracted = None
    delivery = place.delivery(ONE, "run-1")
    assert (delivery.is_done_by_receipts(), delivery.settled()) == (False, None)
    delivery.offer()
    state = place.ledger.state("oslo-1", "zone")
    assert (state.distributor, state.held, state.extracted, state.sequence) == ("hq", None, None, 0)
    late = Receipt("branch", "oslo-1", 9, "zone", ONE, Outcome.INSTALLED, place.time, place.time, 1, 0, 9, "ab" * 32)
    place.ledger.accept_receipt(late, "{}", Event(place.time, EventKind.INSTALLED))
    assert place.ledger.state("oslo-1", "zone") == state, "a late receipt of the other's"


def test_one_run_at_a_time_sends_to_a_subscriber(place: Place) -> None:
    first, second = place.delivery(ONE, "run-1"), place.delivery(ONE, "run-2")
    assert first.enter() is None
    assert isinstance(second.enter(), Occupied)
    first.end()
    assert second.enter() is None


def test_a_cancel_settles_it(place: Place) -> None:
    delivery = place.delivery(ONE, "run-1")
    delivery.offer()
    assert delivery.settled() is None
    place.ledger.request_cancel("night", at=START)
    done = delivery.settled()
    assert done is not None
    assert (done.state, done.reason) == (State.CANCELLED, "night was cancelled")


def test_a_cancel_means_every_run_that_had_begun_and_none_that_begins_later(place: Place) -> None:
    waiting = place.delivery(ONE, "run-1")
    waiting.offer()
    place.sleep(1)
    place.ledger.request_cancel("night", at=place.now())
    place.sleep(1)
    later = place.delivery(ONE, "run-2")
    later.offer()
    assert later.settled() is None
    stopped = waiting.settled()
    assert stopped is not None
    assert stopped.state is State.CANCELLED


def checked(place: Place, recipe: RenderedRecipe | None = None) -> Delivery:
    """A run that asks the host although receipts say it is there, over its tries."""
    delivery = place.delivery(ONE, "run-check", recipe=recipe, check=True)
    delivery.offer()
    assert delivery.settled() is None
    tried(place, delivery)
    return delivery


@pytest.mark.parametrize("recipe", [None, RenderedRecipe(("/opt/zone",))])
def test_a_check_asks_the_host_and_leaves_what_is_installed_installed(place: Place, recipe: RenderedRecipe | None) -> None:
    place.installed(ONE)
    before = place.ledger.state("oslo-1", "zone")
    place.sleep(60)
    delivery = checked(place, recipe)
    assert len(place.calls) == 1
    assert not delivery.extracts
    done = delivery.extract()
    assert done is not None
    assert (done.state, done.reason, done.is_error) == (State.INSTALLED, "still held and extracted, says the Subscriber", False)
    after = place.ledger.state("oslo-1", "zone")
    assert (after.state, after.extracted, after.since) == (State.INSTALLED, ONE, before.since)


def leave_waiting(place: Place) -> None:
    event = Event(START, EventKind.OFFERED, distributor="hq", distribution="zone", subscriber="oslo-1")
    place.ledger.record(event, lambda s: s.offer(ONE, distributor="hq", channel="night", at=START))


def test_a_check_mends_a_state_that_an_earlier_one_left_waiting(place: Place) -> None:
    place.installed(ONE)
    leave_waiting(place)
    checked(place)
    assert place.ledger.state("oslo-1", "zone").state is State.INSTALLED


@pytest.mark.parametrize("left_waiting", [False, True])
def test_a_check_sends_what_the_host_lacks_and_forgets_the_receipt(place: Place, left_waiting: bool) -> None:
    place.installed(ONE)
    if left_waiting:
        leave_waiting(place)
    place.held = place.extracted = None
    delivery = place.delivery(ONE, "run-check", check=True)
    delivery.offer()
    assert delivery.enter() is None
    assert delivery.call()
    state = place.ledger.state("oslo-1", "zone")
    assert (state.state, state.held, state.extracted) == (State.WAITING, None, None)
    started(place, delivery)
    delivery.transfer()
    state = place.ledger.state("oslo-1", "zone")
    assert (state.state, state.held, state.extracted) == (State.RECEIVED, ONE, None)


def test_a_check_finds_what_is_held_but_not_extracted_any_more(place: Place) -> None:
    place.installed(ONE)
    place.extracted = None
    assert checked(place, RenderedRecipe(("/opt/zone",))).extracts
    state = place.ledger.state("oslo-1", "zone")
    assert (state.state, state.held, state.extracted) == (State.RECEIVED, ONE, None)


def test_a_check_of_a_host_that_does_not_answer_takes_nothing_back(place: Place) -> None:
    place.installed(ONE)
    place.error = UnreachableError("oslo-1: nothing answers")
    for _ in range(2):
        place.calls.clear()
        run_through(place, place.delivery(ONE, f"run-{place.time}", check=True))
        assert len(place.calls) == 16
        state = place.ledger.state("oslo-1", "zone")
        assert (state.state, state.extracted, state.reason) == (State.INSTALLED, ONE, "1.1 is installed")
    stopped = place.delivery(ONE, "run-stopped", check=True)
    stopped.offer()
    place.ledger.request_cancel("night", at=place.now())
    done = stopped.settled()
    assert done is not None
    assert done.state is State.CANCELLED
    assert place.ledger.state("oslo-1", "zone").state is State.INSTALLED


def test_a_run_that_finds_it_done_by_another_takes_nothing_back(place: Place) -> None:
    place.installed(ONE)
    late = place.delivery(ONE, "run-late")
    late.offer()
    done = late.settled()
    assert done is not None
    assert (done.state, done.reason) == (State.INSTALLED, "done by another run")
    assert place.ledger.state("oslo-1", "zone").state is State.INSTALLED


def disappointed(times: int) -> Callable[..., ExtractResult]:
    """Orders that find the Subscriber's tree changed, as often as is said."""
    remaining = [times]

    def give(orders: Orders, **_: Any) -> ExtractResult:
        remaining[0] -= 1
        failure = Failure("BaseDiffersError", "a file was changed", "", retryable=False) if remaining[0] >= 0 else None
        outcome = Outcome.FAILED if failure else Outcome.INSTALLED
        revision = orders.assignment.revision
        receipt = Receipt("hq", "oslo-1", 1, "zone", revision, outcome, START, START, 1, 0, 9, "", failure=failure)
        return ExtractResult(receipt)

    return give


@pytest.mark.parametrize(
    ("times", "remedies", "state"),
    [
        (0, [Remedy.NONE], State.INSTALLED),
        (1, [Remedy.NONE, Remedy.MEND], State.INSTALLED),
        (2, [Remedy.NONE, Remedy.MEND, Remedy.WHOLE], State.INSTALLED),
        (3, [Remedy.NONE, Remedy.MEND, Remedy.WHOLE], State.FAILED),
    ],
)
def test_a_tree_that_was_changed_is_mended_and_only_then_sent_everything(
    times: int, remedies: list[Remedy], state: State, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried_with: list[Remedy] = []

    def sending(remedy: Remedy) -> Transfer:
        tried_with.append(remedy)
        return cast("Transfer", Host(place, ONE))

    monkeypatch.setattr(Orders, "give", disappointed(times))
    delivery = place.delivery(ONE, "run-1", recipe=RenderedRecipe(("/opt/zone",)), sending=sending)
    delivery.offer()
    done = None
    while done is None:
        place.held = None
        tried(place, delivery)
        assert delivery.enter() is None
        done = delivery.extract()
        delivery.end()
    assert (tried_with, done.state) == (remedies, state)


def test_what_an_extraction_by_itself_found_changed_is_mended_by_the_next_send(place: Place) -> None:
    run_through(place, place.delivery(ONE, "run-1"))
    failure = Failure("BaseDiffersError", "a file was changed", "", retryable=False)
    receipt = Receipt("hq", "oslo-1", 1, "zone", ONE, Outcome.FAILED, START, START, 0, 0, 0, "", failure=failure)
    place.ledger.accept_receipt(receipt, "{}", Event(START, EventKind.EXTRACT_FAILED))
    tried_with: list[Remedy] = []

    def sending(remedy: Remedy) -> Transfer:
        tried_with.append(remedy)
        return cast("Transfer", Host(place, ONE, is_mended=True))

    run_through(place, place.delivery(ONE, "run-2", sending=sending))
    assert tried_with == [Remedy.MEND]
    assert place.ledger.state("oslo-1", "zone").state is State.RECEIVED


def test_why_everything_was_sent_stands_in_the_run_s_table_and_in_the_ledger(place: Place) -> None:
    class Wronged(Host):
        def transfer(self, progress: Any, turn: Any) -> SendResult:
            return replace(super().transfer(progress, turn), why_whole="a frame is damaged")

    delivery = place.delivery(ONE, "run-1", sending=lambda _: cast("Transfer", Wronged(place, ONE)))
    run_through(place, delivery)
    (sent,) = place.ledger.events(kinds=[EventKind.SENT])
    assert sent.event.data["why_whole"] == "a frame is damaged"
    row = delivery.extract()
    assert row is not None
    assert (row.state, "all of it was sent: a frame is damaged" in row.reason) == (State.RECEIVED, True)


def test_pauses_are_no_part_of_a_sends_time(place: Place) -> None:
    class Paused(Host):
        def transfer(self, progress: Any, turn: Any) -> SendResult:
            place.time += timedelta(minutes=7)
            turn.paused += timedelta(minutes=4)
            return super().transfer(progress, turn)

    run_through(place, place.delivery(ONE, "run-1", sending=lambda _: cast("Transfer", Paused(place, ONE))))
    (sent,) = place.ledger.events(kinds=[EventKind.SENT])
    assert sent.event.data["seconds"] == 180
