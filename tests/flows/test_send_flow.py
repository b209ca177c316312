"""The send flow on a real Prefect server: fan-out, retries, queue, cancel, and what a person sees. The wire is a script."""

import asyncio
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from infra.workplace import Workplace, open_workplace
from sluice.distributor.build.record import build_recorded, sign_recorded
from sluice.distributor.deliver.extraction import Extraction
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.send_queue.watch import Turn
from sluice.errors import LockedTargetError, SluiceError, TamperedError, UnreachableError
from sluice.model.assignment import Assignment
from sluice.model.belief import Doubt, HeldState
from sluice.model.event import Event, EventKind
from sluice.model.order import CLAIMED_SEQUENCE_MAX, Failure, Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.state import Record
from sluice.model.state import State as CurrentPlace
from sluice.model.ticket import Started, Ticket
from sluice.sender.hello import AgentHello
from sluice.sender.transfer import Sender, SendResult
from tests.flows.blueprint import HOSTS, write_site
from tests.flows.seen import as_seen

V1 = RevisionNumber(1, 1)

pytestmark = pytest.mark.usefixtures("server")


class Wire:
    """Stands in for what goes to Subscribers: scripted errors, and who transferred beside whom."""

    def __init__(self) -> None:
        self.errors: dict[str, list[SluiceError]] = defaultdict(list)
        self.calls: dict[str, int] = defaultdict(int)
        self.transfers: dict[str, int] = defaultdict(int)
        self.held: set[str] = set()
        self.seconds = 0.0
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self.on_call: Callable[[str], None] = lambda _: None

    def transfer(self, _sender: Sender, subscriber: Any, assignment: Assignment, *_: Any) -> Any:
        name, revision = subscriber.name, assignment.revision

        def call() -> AgentHello:
            self.calls[name] += 1
            self.on_call(name)
            if self.errors[name]:
                raise self.errors[name].pop(0)
            # Its order number is beyond what is compared: no order is given here.
            there = HeldState(revision if name in self.held else None, None, CLAIMED_SEQUENCE_MAX)
            return AgentHello("0.1.0", name, "", "", frozenset(), 0, 0, frozenset(), {}, {assignment.distribution: there}, 0)

        def transfer(progress: Callable[[int, int], None], _turn: Turn) -> SendResult:
            with self._lock:
                self._now += 1
                self.most = max(self.most, self._now)
            progress(0, 100)
            time.sleep(self.seconds)
            with self._lock:
                self._now -= 1
            self.transfers[name] += 1
            self.held.add(name)
            return SendResult(revision, None, False, 100, 40, 60, 10, 5, 5, 0)

        return _Sending(subscriber, call, transfer, lambda: name not in self.held)


class _Sending(SimpleNamespace):
    def __init__(
        self, subscriber: Any, call: Callable[[], AgentHello], transfer: Callable[..., SendResult], needs: Callable[[], bool]
    ) -> None:
        super().__init__(subscriber=subscriber, call=call, transfer=transfer, close=lambda: None, sent=7, resumed=0, called=None)
        self._needs = needs

    @property
    def needs_transfer(self) -> bool:
        return self._needs()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    found = Wire()
    monkeypatch.setattr("tasks.send_session.Transfer", found.transfer)
    return found


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """A site with ``zone`` 1.1 built and signed, not yet sent, where time stands still: a retry is the next one of its rule, however
    long the machine takes from one to the next, and no lease runs out."""
    directory = write_site(tmp_path / "site", retry="{every: 1 s, for: 3 s}", extract="never")
    monkeypatch.setenv("SLUICE_SITE", str(directory))
    begun = datetime.now(UTC)
    monkeypatch.setattr("infra.workplace.SystemClock.now", lambda _: begun)
    with open_workplace(directory, "hq") as opened:
        opened.publisher.ensure_keys(begun)
        build_recorded(opened, "zone")
        sign_recorded(opened, ("zone",))
        yield opened


def run(name: str, **parameters: Any) -> State[Any]:
    return asyncio.run(state_of(name, **parameters))


async def state_of(name: str, **parameters: Any) -> State[Any]:
    from importlib import import_module

    state: State[Any] = await getattr(import_module(f"flows.{name}"), name)(**parameters, return_state=True)
    return state


def test_a_person_reads_who_got_what(work: Workplace, wire: Wire) -> None:
    wire.errors["oslo-1"] = [UnreachableError("oslo-1: nothing answers"), UnreachableError("oslo-1: nothing answers")]
    state = run("send", channel="night")
    seen = as_seen(state, tasks=5)
    assert (state.type.value, state.message) == ("COMPLETED", "send night: 3 of 3 Subscribers done")
    assert seen.run.name == "send night → 3 Subscribers"
    assert "sluice" in seen.run.tags
    tries = [f"send zone 1.1 to {name}" for name in HOSTS]
    retries = [f"retry {n} of 3 to oslo-1 at {work.clock.now() + timedelta(seconds=1):%H:%M}" for n in (1, 2)]
    assert sorted(name for name, _, _ in seen.ends) == sorted([*tries, *retries])
    ends = {name: end for name, *end in seen.ends}
    assert ends[tries[2]] == ends[retries[0]] == ["FAILED", "Unavailable"]
    assert ends[retries[1]] == ends[tries[0]] == ["COMPLETED", "Received"]
    assert [seen.before(name) for name in (tries[2], *retries)] == [set(), {tries[2]}, {retries[0]}]
    (table,) = (a for a in seen.artifacts if a.type == "table")
    assert table.key == "send-night"
    assert all(f'"{name}"' in str(table.data) for name in HOSTS)
    assert '"60 B"' in str(table.data)
    assert {s.held and str(s.held) for s in work.ledger.snapshot().states.values()} == {"1.1"}


def test_nothing_is_built_where_nothing_could_be_signed(work: Workplace) -> None:
    Path(work.distributor.working_directory, "keys/online.pem").unlink()
    state = run("build", distribution="zone", rebaseline=True)
    assert state.type.value == "FAILED"
    assert "restore keys/ from your backup" in str(state.message)
    assert work.store.revisions("zone") == [V1]


def test_an_emptied_source_fails_the_run_until_its_removals_are_allowed(work: Workplace) -> None:
    source = Path(work.site.distribution("zone").files[0].source)
    shutil.rmtree(source)
    source.mkdir()
    state = run("build", distribution="zone")
    assert state.type.value == "FAILED"
    assert f"zone: {source} has no files now; the last revision has " in str(state.message)
    assert "sluice build zone --allow-removals" in str(state.message)
    assert work.store.revisions("zone") == [V1]
    state = run("build", distribution="zone", allow_removals=True)
    assert (state.type.value, state.message) == ("COMPLETED", "built zone 1.2")


def test_nothing_is_due_where_all_hold_it(work: Workplace, wire: Wire) -> None:
    run("send", channel="night")
    state = run("send", channel="night")
    assert state.message == "nothing was due"
    assert run("extract", distributor="hq", verify=True).message == "nothing is installed that could be read back"
    doubt = Doubt("its agent was gone", None, None, 0)
    work.ledger.believe("hq", "oslo-1", None, [], {"zone": lambda state: state.raise_doubt(doubt, work.clock.now())})
    left_out = ". Not read back: oslo-1 (zone): its agent was gone; run: sluice distribute zone --to oslo-1"
    assert run("extract", distributor="hq", verify=True).message == f"nothing is installed that could be read back{left_out}"
    assert set(wire.transfers.values()) == {1}


def test_a_host_that_never_answers_fails_alone_and_waits_for_the_channel(work: Workplace, wire: Wire) -> None:
    wire.errors["oslo-1"] = [UnreachableError("oslo-1: nothing answers") for _ in range(9)]
    state = run("send", channel="night")
    assert state.type.value == "FAILED"
    assert "2 of 3 Subscribers done" in str(state.message)
    assert "oslo-1 (zone): waiting for the Channel's next start: oslo-1: nothing answers" in str(state.message)
    assert wire.calls["oslo-1"] == 4
    left = work.ledger.state("oslo-1", "zone")
    assert (left.state, left.attempts, left.next_try) == ("unavailable", 4, None)
    wire.errors["oslo-1"] = []
    assert run("send", channel="night").type.value == "COMPLETED"


def test_what_trying_again_cannot_help_is_not_tried_again(work: Workplace, wire: Wire) -> None:
    wire.errors["oslo-1"] = [TamperedError("oslo-1: bytes that nobody signed")]
    state = run("send", channel="night")
    assert "oslo-1 (zone): failed: oslo-1: bytes that nobody signed" in str(state.message)
    assert wire.calls["oslo-1"] == 1


def test_never_more_at_once_than_the_limit_over_two_runs(work: Workplace, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_site(Path(work.site.directory), retry="{every: 1 s, for: 3 s}", extract="never", limit=2, more=5)
    monkeypatch.setenv("SLUICE_SITE", str(directory))
    wire.seconds = 0.2
    monkeypatch.setattr("tasks.claims.OCCUPIED_SECONDS", 0.3)

    async def both() -> list[State[Any]]:
        return list(await asyncio.gather(state_of("send", channel="night"), state_of("send", distribution="zone")))

    states = asyncio.run(both())
    assert [state.type.value for state in states] == ["COMPLETED", "COMPLETED"]
    assert wire.most == 2
    assert set(wire.transfers.values()) == {1}
    assert len(wire.transfers) == 8


def test_cancel_stops_what_waits_for_its_retry(work: Workplace, wire: Wire) -> None:
    wire.errors["oslo-1"] = [UnreachableError("oslo-1: nothing answers") for _ in range(9)]

    def cancel(name: str) -> None:
        if name == "oslo-1":
            work.ledger.request_cancel("night", at=datetime.now(UTC))

    wire.on_call = cancel
    state = run("send", channel="night")
    assert work.ledger.state("oslo-1", "zone").state == "cancelled"
    assert wire.calls["oslo-1"] == 1
    assert "oslo-1" not in str(state.message)


def test_cancel_stops_what_waits_for_a_slot(work: Workplace, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_site(Path(work.site.directory), extract="never", limit=1)
    monkeypatch.setenv("SLUICE_SITE", str(directory))
    now = datetime.now(UTC)
    other = work.ledger.enqueue("hq", Assignment("oslo-9", "zone", V1, priority=Priority.MEDIUM), "another run", lease_seconds=60, now=now)
    assert isinstance(other, Ticket)
    began = Record(Event(now, EventKind.SEND_STARTED, distribution="zone", subscriber="oslo-9"))
    turn = work.ledger.take_turns("hq", [other.number], [other.number], lambda _: began, limit=1, now=now)
    assert isinstance(turn.verdicts[other.number], Started)
    wire.on_call = lambda _: work.ledger.request_cancel("night", at=datetime.now(UTC))
    state = run("send", channel="night")
    assert state.message == "send night: 0 of 3 Subscribers done"
    assert {work.ledger.state(name, "zone").state for name in HOSTS} == {"cancelled"}
    assert not wire.transfers


def test_extract_runs_that_start_together_order_each_extraction_once(work: Workplace, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two Extract schedules that begin at the same time both find what is due."""
    run("send", channel="night")
    orders: list[str] = []

    def extract(extraction: Extraction, _on_event: object) -> DeliveryResult:
        assignment = extraction.assignment
        subscriber, distribution, revision = assignment.subscriber, assignment.distribution, assignment.revision
        orders.append(subscriber)
        time.sleep(1.0)
        now = datetime.now(UTC)
        receipt = Receipt("hq", subscriber, 1, distribution, revision, Outcome.INSTALLED, now, now, 1, 0, 5, "ab")
        work.ledger.accept_receipt(receipt, "{}", Event(now, EventKind.INSTALLED))
        return DeliveryResult(subscriber, distribution, revision, CurrentPlace.INSTALLED)

    monkeypatch.setattr(Extraction, "extract", extract)
    monkeypatch.setattr("tasks.claims.OCCUPIED_SECONDS", 0.3)

    async def both() -> list[State[Any]]:
        return list(await asyncio.gather(*(state_of("extract", distributor="hq", at_once=True) for _ in range(2))))

    states = asyncio.run(both())
    assert [state.type.value for state in states] == ["COMPLETED", "COMPLETED"]
    assert sorted(orders) == sorted(HOSTS)
    assert not work.ledger.snapshot().tickets


def test_what_was_locked_is_extracted_by_the_next_run(work: Workplace, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    run("send", channel="night")
    failure, sequences = Failure("LockedTargetError", "locked: /opt/zone/a (held by pid 7)", "end what uses it", True), count(1)

    def extract(extraction: Extraction, _on_event: object) -> DeliveryResult:
        assignment = extraction.assignment
        subscriber, distribution, revision = assignment.subscriber, assignment.distribution, assignment.revision
        sequence = next(sequences)
        is_locked, now = sequence <= len(HOSTS), datetime.now(UTC)
        outcome = Outcome.FAILED if is_locked else Outcome.INSTALLED
        receipt = Receipt("hq", subscriber, sequence, distribution, revision, outcome, now, now, 1, 0, 5, "ab")
        kind = EventKind.EXTRACT_FAILED if is_locked else EventKind.INSTALLED
        work.ledger.accept_receipt(replace(receipt, failure=failure if is_locked else None), "{}", Event(now, kind))
        place = CurrentPlace.FAILED if is_locked else CurrentPlace.INSTALLED
        return DeliveryResult(subscriber, distribution, revision, place, error=LockedTargetError(failure.message) if is_locked else None)

    monkeypatch.setattr(Extraction, "extract", extract)
    assert run("extract", distributor="hq", at_once=True).type.value == "FAILED"
    assert {work.ledger.state(name, "zone").reason for name in HOSTS} == {failure.message}
    assert run("extract", distributor="hq", at_once=True).type.value == "COMPLETED"
    assert {work.ledger.state(name, "zone").state for name in HOSTS} == {"installed"}


def test_an_extraction_that_reaches_no_agent_is_a_row_of_status(work: Workplace, wire: Wire) -> None:
    run("send", channel="night")
    state = run("extract", distributor="hq", at_once=True)
    assert state.type.value == "FAILED"
    for name in HOSTS:
        stands = work.ledger.state(name, "zone")
        # A host without its agent holds nothing, as far as is known: the next send asks it again.
        assert (stands.held, stands.extracted, stands.state.value, stands.reason) == (None, None, "failed", "extracting 1.1 failed")
        assert " its agent was gone: " in stands.doubt
        assert stands.error is not None
        assert stands.error.code == "AgentMissingError"


def test_a_bug_in_one_send_is_a_row_and_no_crash(work: Workplace, wire: Wire) -> None:
    wire.on_call = lambda name: 1 / 0 if name == "oslo-1" else None  # type: ignore[assignment,return-value]
    state = run("send", channel="night")
    assert state.type.value == "FAILED"
    assert "2 of 3 Subscribers done" in str(state.message)
    assert "ZeroDivisionError" in str(state.message)
    assert not work.ledger.snapshot().tickets


def test_runs_whose_object_is_gone_or_inactive_say_so(work: Workplace, wire: Wire) -> None:
    assert [run("send", channel="day").name, run("build", distribution="tools").name, run("extract", distributor="x").name] == ["Gone"] * 3
    write_site(Path(work.site.directory), retry="{every: 1 s, for: 3 s}", extract="never", active=False)
    assert run("build", distribution="zone").name == "Inactive"
    assert run("send", channel="night").name == "Inactive"


def test_a_scheduled_run_whose_window_is_over_sends_nothing(work: Workplace, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.run_context.was_scheduled", lambda: True)
    monkeypatch.setattr("tasks.run_context.window_is_over", lambda *_: True)
    assert run("send", channel="night").name == "Too late"
    assert not wire.calls


def test_an_unchanged_source_is_no_change_and_a_missing_one_fails_with_its_path(work: Workplace) -> None:
    assert run("build", distribution="zone").name == "No change"
    source = Path(work.site.directory) / "files"
    source.rename(source.with_name("moved"))
    state = run("build", distribution="zone")
    assert state.type.value == "FAILED"
    assert str(source) in str(state.message)


def test_send_immediately_in_the_foreground_sends_within_the_build(work: Workplace, wire: Wire) -> None:
    write_site(Path(work.site.directory), retry="{every: 1 s, for: 3 s}", extract="never", send="immediately", text="new")
    assert run("build", distribution="zone").message == "built zone 1.2"
    assert dict(wire.transfers) == dict.fromkeys(HOSTS, 1)


def test_what_a_killed_build_did_not_send_immediately_is_sent_by_the_next(
    work: Workplace, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_site(Path(work.site.directory), retry="{every: 1 s, for: 3 s}", extract="never", send="immediately", text="new")

    async def killed(*_: str) -> None:
        raise OSError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr("flows.build.start_sends", killed)
        assert run("build", distribution="zone").type.value == "FAILED"
    assert run("build", distribution="zone").name == "No change"
    assert dict(wire.transfers) == dict.fromkeys(HOSTS, 1)
    wire.held.clear()
    assert run("build", distribution="zone").name == "No change"
    assert dict(wire.transfers) == dict.fromkeys(HOSTS, 1)


def test_hosts_beyond_those_under_way_wait_for_no_retry_of_others(work: Workplace, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.fan_out.AT_ONCE", 2)
    write_site(Path(work.site.directory), retry="{every: 1 s, for: 10 min}", extract="never")
    called: list[str] = []

    def call(name: str) -> None:
        called.append(name)
        if name == "helsinki-1" and "oslo-1" not in called:
            raise UnreachableError("helsinki-1: nothing answers until oslo-1 was called")

    wire.on_call = call
    assert run("send", channel="night").type.value == "COMPLETED"
    assert called.count("helsinki-1") >= 2
    assert called[-1] == "helsinki-1"


def test_a_refresh_withdraws_what_left_the_site(work: Workplace) -> None:
    assert work.publisher.listing("zone")
    (Path(work.site.directory) / "zone.yaml").unlink()
    state = run("refresh", distributor="hq")
    assert state.message == "0 roles renewed, 1 object withdrawn"
    assert not work.publisher.listing("zone")
    assert run("refresh", distributor="hq").message == "0 roles renewed, 0 objects withdrawn"
