"""One Subscriber and Distribution over a run's tries, on a real ledger, a fake clock and a scripted host."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from infra.ledger.sql import SqlLedger, open_ledger
from sluice.errors import SluiceError, TamperedError, UnreachableError
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distributor, Priority
from sluice.model.state import State
from sluice.model.ticket import Occupied
from sluice.operations.deliver import Delivery
from sluice.operations.order_extract import Ordering
from sluice.operations.send import SendResult
from sluice.operations.send_plan import SendTarget

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
    calls: list[datetime] = field(default_factory=list)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def revisions(self, _distribution: str) -> tuple[RevisionNumber, ...]:
        return self.kept

    def delivery(self, revision: RevisionNumber, flow_run: str, *, recipe: RenderedRecipe | None = None) -> Delivery:
        return Delivery(
            SendTarget("oslo-1", "zone", "night", revision, Priority.MEDIUM),
            distributor=Distributor("hq", PurePosixPath("/hq")),
            ordering=Ordering("hq", self, None, self.ledger, flow_run),  # type: ignore[arg-type]
            clock=self,
            sending=lambda _whole: Host(self, revision),  # type: ignore[arg-type,return-value]
            recipe=recipe,
            watched=("night",),
        )


@dataclass
class Host:
    place: Place
    revision: RevisionNumber
    sent: int = 7
    resumed: int = 0

    def call(self) -> None:
        self.place.calls.append(self.place.time)
        if self.place.error:
            raise self.place.error

    @property
    def needs_transfer(self) -> bool:
        return self.place.held != self.revision

    def transfer(self, _progress: Any) -> SendResult:
        self.place.held = self.revision
        return SendResult(self.revision, None, False, 100, 0, 100, 10, 5, 5, 0)

    def close(self) -> None: ...


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    ledger = open_ledger(tmp_path / "ledger.db")
    yield Place(ledger)
    ledger.close()


def tried(delivery: Delivery) -> None:
    """One try, in the order of the steps."""
    assert delivery.enter() is None
    try:
        if delivery.call():
            assert delivery.ask() is None
            delivery.transfer()
    except SluiceError as error:
        delivery.fail(error)
    finally:
        delivery.close()
        delivery.leave()


def run_through(place: Place, delivery: Delivery) -> None:
    delivery.offer()
    tried(delivery)
    while (at := delivery.next_try) is not None:
        place.time = at
        if delivery.settled() is None:
            tried(delivery)


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
        tried(first)
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
    tried(old)
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


def test_one_run_at_a_time_sends_to_a_subscriber(place: Place) -> None:
    first, second = place.delivery(ONE, "run-1"), place.delivery(ONE, "run-2")
    assert first.enter() is None
    assert isinstance(second.enter(), Occupied)
    first.leave()
    assert second.enter() is None


def test_a_cancel_settles_it(place: Place) -> None:
    delivery = place.delivery(ONE, "run-1")
    delivery.offer()
    assert delivery.settled() is None
    place.ledger.request_cancel("night", at=START)
    done = delivery.settled()
    assert done is not None
    assert (done.state, done.reason) == (State.CANCELLED, "night was cancelled")
