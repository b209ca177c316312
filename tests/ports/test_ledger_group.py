"""Threads that write at the same time share a transaction; each has its own outcome, in its own order."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from types import FrameType

import pytest
from sqlalchemy import select

from infra.ledger import group
from infra.ledger.group import Batch, GroupCommit
from infra.ledger.sql import SqlLedger, open_ledger
from infra.ledger.tables import writers
from sluice.errors import LedgerError
from sluice.model.event import Event, EventKind
from sluice.model.state import CurrentState

NOW = datetime(2026, 12, 1, tzinfo=UTC)
PATIENCE = 120.0


@pytest.fixture
def ledger(place: str) -> Iterator[SqlLedger]:
    found = open_ledger(place)
    yield found
    found.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def transactions(ledger: SqlLedger) -> int:
    return int(ledger._database.read(lambda c: c.execute(select(writers.c.last)).scalar_one()))


class Queue:
    """Threads that line up, one after the other, behind a write that is held up until ``go``."""

    def __init__(self, ledger: SqlLedger, pool: ThreadPoolExecutor, *, first_raises: BaseException | None = None) -> None:
        self._ledger, self._pool = ledger, pool
        self._go, self._inside, self._raises = threading.Event(), threading.Event(), first_raises
        self.first = pool.submit(self.write, "first", self._held_up)
        assert self._inside.wait(PATIENCE)

    def write(self, name: str, change: Callable[[CurrentState], CurrentState] = lambda state: state) -> None:
        self._ledger.record(Event(NOW, EventKind.SENT, distribution="zone", subscriber=name), change)

    def _held_up(self, state: CurrentState) -> CurrentState:
        self._inside.set()
        assert self._go.wait(PATIENCE)
        if self._raises is not None:
            raise self._raises
        return state

    def enter(self, name: str, change: Callable[[CurrentState], CurrentState] = lambda state: state) -> Future[None]:
        before = len(self._ledger._database._group._waiting)
        future = self._pool.submit(self.write, name, change)
        wait_for(lambda: len(self._ledger._database._group._waiting) == before + 1)
        return future

    def go(self) -> None:
        self._go.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as made:
        yield made


def recorded(ledger: SqlLedger) -> list[str]:
    return [each.event.subscriber for each in ledger.events()]


def test_those_who_wait_share_one_transaction_in_the_order_they_came(ledger: SqlLedger, pool: ThreadPoolExecutor) -> None:
    queue = Queue(ledger, pool)
    futures = [queue.enter(f"host-{n:02}") for n in range(20)]
    queue.go()
    for future in (queue.first, *futures):
        future.result(PATIENCE)
    assert recorded(ledger) == ["first", *(f"host-{n:02}" for n in range(20))]
    assert transactions(ledger) == 2


def test_more_than_a_batch_is_several(ledger: SqlLedger, pool: ThreadPoolExecutor) -> None:
    queue = Queue(ledger, pool)
    futures = [queue.enter(f"host-{n:02}") for n in range(60)]
    queue.go()
    for future in futures:
        future.result(PATIENCE)
    assert recorded(ledger) == ["first", *(f"host-{n:02}" for n in range(60))]
    assert transactions(ledger) == 3


def test_a_work_that_fails_undoes_itself_alone_and_tells_nobody_else(ledger: SqlLedger, pool: ThreadPoolExecutor) -> None:
    queue = Queue(ledger, pool)

    def broken(state: CurrentState) -> CurrentState:
        raise ValueError(f"no, {state.subscriber}")

    futures = {name: queue.enter(name, broken if name in "bd" else lambda state: state) for name in "abcde"}
    queue.go()
    for name, future in futures.items():
        if name in "bd":
            with pytest.raises(ValueError, match=f"no, {name}"):
                future.result(PATIENCE)
        else:
            future.result(PATIENCE)
    assert recorded(ledger) == ["first", "a", "c", "e"]


def test_what_the_database_refuses_is_an_error_of_that_work_alone(ledger: SqlLedger, pool: ThreadPoolExecutor) -> None:
    queue = Queue(ledger, pool)

    def twice(connection: object) -> None:
        for _ in range(2):
            connection.execute(writers.insert().values(id="same", last=1, at=NOW))  # type: ignore[attr-defined]

    one = queue.enter("one")
    refused = pool.submit(ledger._database.write, twice)
    wait_for(lambda: len(ledger._database._group._waiting) == 2)
    other = queue.enter("other")
    queue.go()
    with pytest.raises(LedgerError, match=r"(?i)unique"):
        refused.result(PATIENCE)
    one.result(PATIENCE)
    other.result(PATIENCE)
    assert recorded(ledger) == ["first", "one", "other"]
    assert ledger._database.read(lambda c: c.execute(select(writers.c.id).where(writers.c.id == "same")).all()) == []


def test_where_the_first_is_interrupted_the_next_one_leads(ledger: SqlLedger, pool: ThreadPoolExecutor) -> None:
    queue = Queue(ledger, pool, first_raises=KeyboardInterrupt())
    futures = [queue.enter(name) for name in "abc"]
    queue.go()
    with pytest.raises(KeyboardInterrupt):
        queue.first.result(PATIENCE)
    for future in futures:
        future.result(PATIENCE)
    assert recorded(ledger) == ["a", "b", "c"]


def test_interrupted_with_others_in_its_transaction_theirs_is_written_once(ledger: SqlLedger, pool: ThreadPoolExecutor) -> None:
    queue = Queue(ledger, pool)
    interrupted = queue.enter("interrupted", lambda state: state)
    others = [queue.enter(name) for name in "abc"]
    database = ledger._database
    sign, times = database._mark_writer, iter(range(9))

    def sign_and_stop(connection: object) -> None:
        sign(connection)  # type: ignore[arg-type]
        if next(times) == 1:
            raise KeyboardInterrupt

    database._mark_writer = sign_and_stop  # type: ignore[method-assign, assignment]
    queue.go()
    queue.first.result(PATIENCE)
    with pytest.raises(KeyboardInterrupt):
        interrupted.result(PATIENCE)
    for future in others:
        future.result(PATIENCE)
    assert recorded(ledger) == ["first", "a", "b", "c"]


@pytest.mark.parametrize("committed", ["before", "after"])
def test_interrupted_at_a_commit_nothing_is_written_twice(
    ledger: SqlLedger, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, committed: str
) -> None:
    queue = Queue(ledger, pool)
    futures = [queue.enter(name) for name in "abc"]
    times = iter(range(9))
    dialect = ledger._database._writers.dialect
    commit = dialect.do_commit

    def do_commit(connection: object) -> None:
        second = next(times) == 1
        if second and committed == "before":
            raise KeyboardInterrupt
        commit(connection)  # type: ignore[arg-type]
        if second:
            raise KeyboardInterrupt

    monkeypatch.setattr(dialect, "do_commit", do_commit)
    queue.go()
    queue.first.result(PATIENCE)
    with pytest.raises(KeyboardInterrupt):
        futures[0].result(PATIENCE)
    for future in futures[1:]:
        future.result(PATIENCE)
    assert recorded(ledger) == ["first", *("abc" if committed == "after" else "bc")]


def test_wherever_the_first_is_interrupted_the_others_go_on(pool: ThreadPoolExecutor) -> None:
    """An interrupt comes where Python looks for signals: at a call, and when a built-in function returns."""
    for point in itertools.count(1):
        inside, go, points, ran = threading.Event(), threading.Event(), itertools.count(1), list[str]()

        def run(batch: Batch, inside: threading.Event = inside, go: threading.Event = go) -> None:
            inside.set()
            assert go.wait(PATIENCE)
            for entry in batch.entries:
                if not entry.abandoned:
                    entry.run(None)  # type: ignore[arg-type]

        def interrupt(frame: FrameType, event: str, _: object, points: Iterator[int] = points, point: int = point) -> None:
            here = frame.f_code.co_filename == group.__file__ and event in ("call", "c_return")
            if here and next(points) == point:
                raise KeyboardInterrupt

        commit = GroupCommit(run)

        def first(commit: GroupCommit = commit, ran: list[str] = ran, inside: threading.Event = inside) -> None:
            sys.setprofile(interrupt)
            try:
                commit.write(lambda _: ran.append("first"))
            finally:
                sys.setprofile(None)
                inside.set()

        leader = pool.submit(first)
        assert inside.wait(PATIENCE)
        others = [pool.submit(commit.write, lambda _, name=name, ran=ran: ran.append(name)) for name in "abc"]
        go.set()
        for future in others:
            future.result(PATIENCE)
        assert sorted(set(ran) - {"first"}) == sorted(name for name in ran if name != "first") == ["a", "b", "c"], point
        if leader.exception(PATIENCE) is None:
            break
    assert point > 10
