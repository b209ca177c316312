"""What every ledger does, whatever database it is on. Its processes and its file are in files of their own."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from infra.ledger.sql import SqlLedger
from sluice.errors import UnreachableError
from sluice.model.assignment import Assignment
from sluice.model.belief import Belief, Doubt, Machine
from sluice.model.event import Event, EventKind
from sluice.model.known import Known
from sluice.model.order import CLAIMED_SEQUENCE_MAX, Failure, Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.site import RetryRule
from sluice.model.state import Built, CurrentState, ReceiptStored, State
from sluice.ports import Ledger
from sluice.rules.retry import after_failure, failure_of
from tests.ports.conftest import Opener

NOW = datetime(2026, 12, 1, 20, 0, 0, 123456, tzinfo=UTC)
V1, V2 = RevisionNumber(1, 1), RevisionNumber(1, 2)


def event(kind: EventKind, *, subscriber: str = "helsinki-1", **more: object) -> Event:
    return Event(NOW, kind, distributor="hq", distribution="zone", subscriber=subscriber, flow_run="run-1", **more)  # type: ignore[arg-type]


def offered(state: CurrentState) -> CurrentState:
    return state.offer(V1, distributor="hq", channel="patterns", at=NOW)


def receipt(sequence: int = 1, outcome: Outcome = Outcome.INSTALLED, revision: RevisionNumber = V1) -> Receipt:
    failure = None if outcome is Outcome.INSTALLED else Failure("ActionFailedError", "post action 1 failed", "see its output", False)
    finished = NOW + timedelta(seconds=9)
    return Receipt("hq", "helsinki-1", sequence, "zone", revision, outcome, NOW, finished, 3, 0, 99, "ab" * 32, (), failure)


# --- events and current state ---------------------------------------------------------------------------------------------


def test_an_event_and_its_change_are_there_together_for_every_other_opener(ledger: Ledger, opener: Opener) -> None:
    ledger.record(event(EventKind.OFFERED, revision=V1, channel="patterns", data={"bytes": 12, "why": "schedule"}), offered)
    other = opener()
    found = other.events()
    assert [(e.number, e.event) for e in found] == [
        (1, event(EventKind.OFFERED, revision=V1, channel="patterns", data={"bytes": 12, "why": "schedule"}))
    ]
    state = other.state("helsinki-1", "zone")
    assert (state.state, state.offered, state.since, state.flow_run, state.channel) == (State.WAITING, V1, NOW, "run-1", "patterns")


def test_a_change_that_fails_leaves_neither_event_nor_state(ledger: Ledger) -> None:
    def broken(state: CurrentState) -> CurrentState:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        ledger.record(event(EventKind.OFFERED), broken, built=Built("zone", V1, NOW, 1, 1))
    assert list(ledger.events()) == []
    assert ledger.state("helsinki-1", "zone") == CurrentState("helsinki-1", "zone")
    assert ledger.built("zone") is None


def test_every_field_of_a_state_comes_back(ledger: Ledger) -> None:
    error = UnreachableError("helsinki-1 doesn't answer", remedy="start it")
    ledger.record(event(EventKind.OFFERED), offered)
    changed = ledger.record(
        event(EventKind.SEND_FAILED), lambda s: after_failure(s, failure_of(error), RetryRule(), NOW, sent=600, resumed=40)[0]
    )
    assert changed is not None
    assert changed == ledger.state("helsinki-1", "zone") == ledger.snapshot().states["helsinki-1", "zone"]
    assert (changed.attempts, changed.first_failure, changed.next_try) == (1, NOW, NOW + timedelta(minutes=2))
    assert (changed.bytes_sent, changed.bytes_last, changed.bytes_resumed) == (600, 600, 40)
    assert changed.error == Failure("UnreachableError", "helsinki-1 doesn't answer", "start it", True)


def test_states_and_snapshots_are_of_those_who_are_asked_about(ledger: Ledger) -> None:
    pairs = {("a", "zone"), ("b", "zone"), ("a", "maps")}
    for subscriber, distribution in pairs:
        ledger.record(replace(event(EventKind.OFFERED, subscriber=subscriber), distribution=distribution), offered)
    for sender, host, distribution in (("hq", "a", "zone"), ("branch", "b", "zone"), ("branch", "c", "other")):
        ledger.enqueue(sender, Assignment(host, distribution, V1), "run-1", lease_seconds=60, now=NOW)
    many = [f"name-{n}" for n in range(1200)]
    for distributions, subscribers, wanted in (
        ([], [], pairs),
        (["zone"], [], {("a", "zone"), ("b", "zone")}),
        ([], ["a"], {("a", "zone"), ("a", "maps")}),
        ([*many, "zone", "maps"], ["b", *many], {("b", "zone")}),
        (["nosuch"], ["a"], set()),
    ):
        assert ledger.states(distributions=distributions, subscribers=subscribers).keys() == wanted
        assert ledger.snapshot(distributions=distributions, subscribers=subscribers).states.keys() == wanted
    asked = ledger.snapshot(distributions=["zone"], subscribers=["b"])
    assert [t.subscriber for t in asked.tickets] == ["b", "c"], "the queue as a whole says when b's turn comes"
    assert [t.subscriber for t in ledger.snapshot().tickets] == ["a", "b", "c"]


def test_events_are_read_from_where_one_stopped_and_by_name(ledger: Ledger) -> None:
    for name in ("a", "b", "a", "b"):
        ledger.record(event(EventKind.SENT, subscriber=name))
    assert [e.number for e in ledger.events(after=1, limit=2)] == [2, 3]
    assert [e.number for e in ledger.events(subscriber="a")] == [1, 3]
    assert list(ledger.events(distribution="other")) == []


def test_a_change_needs_to_know_whose_state_it_is(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="names Subscriber and Distribution"):
        ledger.record(Event(NOW, EventKind.SENT), offered)


def test_event_data_stays_small(ledger: Ledger) -> None:
    ledger.record(event(EventKind.SEND_FAILED, data={"message": "x" * 100_000}))
    assert ledger.events()[0].event.data == {"message": "x" * 1000}
    with pytest.raises(ValueError, match="4096 bytes"):
        ledger.record(event(EventKind.SENT, data={f"key-{n}": "x" * 1000 for n in range(5)}))


@pytest.mark.parametrize("char", ["\x01", "\n", "\udcff", "\U0001f600", '"', "ä"])
def test_an_event_is_recorded_whatever_its_message_quotes(ledger: Ledger, char: str) -> None:
    ledger.record(event(EventKind.BUILD_FAILED, data={"code": "SourceMissingError", "message": char * 2000}))
    (recorded,) = ledger.events()
    message = str(recorded.event.data["message"])
    assert set(message) == ({char} if char.isprintable() else {"?"})
    assert 990 < len(message.encode()) <= 1000


def test_the_latest_built_revision_is_kept_though_nothing_was_sent(ledger: Ledger) -> None:
    for revision in (V1, V2, V2):
        built = Built("zone", revision, NOW, 7, 1 << 40)
        ledger.record(Event(NOW, EventKind.BUILT, distribution="zone", revision=revision), built=built)
    assert ledger.built("zone") == Built("zone", V2, NOW, 7, 1 << 40)
    assert ledger.snapshot().built == {"zone": Built("zone", V2, NOW, 7, 1 << 40)}


# --- sequences, receipts, cancel ------------------------------------------------------------------------------------------


def test_sequences_grow_by_distributor_and_subscriber_over_openings(ledger: Ledger, opener: Opener) -> None:
    assert [ledger.next_sequence("hq", "a"), ledger.next_sequence("hq", "a"), opener().next_sequence("hq", "a")] == [1, 2, 3]
    assert ledger.next_sequence("hq", "b") == 1
    assert ledger.next_sequence("hq-2", "a") == 1


def test_a_sequence_goes_on_above_what_the_subscriber_accepted_before_this_ledger(ledger: Ledger) -> None:
    assert [ledger.next_sequence("hq", "a", above=31), ledger.next_sequence("hq", "a"), ledger.next_sequence("hq", "a", above=5)] == [
        32, 33, 34,
    ]  # fmt: skip
    for hostile in (CLAIMED_SEQUENCE_MAX, 2**63 - 1, 2**80, -7):
        assert ledger.next_sequence("hq", "b", above=hostile) < 5
    assert ledger.next_sequence("hq", "b", above=CLAIMED_SEQUENCE_MAX - 1) == CLAIMED_SEQUENCE_MAX
    assert ledger.next_sequence("hq", "b", above=CLAIMED_SEQUENCE_MAX) == CLAIMED_SEQUENCE_MAX + 1


def test_threads_never_get_the_same_sequence(ledger: Ledger) -> None:
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: ledger.next_sequence("hq", "a"), range(120)))
    assert sorted(found) == list(range(1, 121))


def test_a_receipt_is_kept_verbatim_and_installs_once(ledger: Ledger) -> None:
    ledger.record(event(EventKind.OFFERED), offered)
    text = '{"payload":"{\\"é\\":1}","signature":"AA==","key":"k"}'
    assert ledger.accept_receipt(receipt(), text, event(EventKind.INSTALLED)) is ReceiptStored.NEW
    assert ledger.accept_receipt(receipt(), text, event(EventKind.INSTALLED)) is ReceiptStored.KNOWN
    assert ledger.receipt("hq", "helsinki-1", 1) == text
    assert ledger.receipt("hq", "helsinki-1", 2) is None
    state = ledger.state("helsinki-1", "zone")
    assert (state.state, state.extracted, state.held, state.sequence, state.since) == (
        State.INSTALLED, V1, V1, 1, NOW + timedelta(seconds=9),
    )  # fmt: skip
    assert [e.event.kind for e in ledger.events()] == [EventKind.OFFERED, EventKind.INSTALLED]


def test_another_receipt_for_the_same_order_is_told_and_not_believed(ledger: Ledger) -> None:
    ledger.accept_receipt(receipt(), "first", event(EventKind.INSTALLED))
    again = receipt(outcome=Outcome.FAILED)
    assert ledger.accept_receipt(again, "second", event(EventKind.EXTRACT_FAILED)) is ReceiptStored.CONFLICT
    assert ledger.receipt("hq", "helsinki-1", 1) == "first"
    assert ledger.state("helsinki-1", "zone").state is State.INSTALLED
    assert ledger.events()[-1].event.kind is EventKind.RECEIPT_CONFLICT


def test_a_receipt_of_an_heir_clears_its_former_name_of_the_same_distributor_alone(ledger: Ledger) -> None:
    def extracted(distribution: str, distributor: str) -> None:
        about = replace(event(EventKind.INSTALLED), distribution=distribution)
        found = replace(receipt(), distribution=distribution, distributor=distributor)
        ledger.accept_receipt(found, distribution, about)

    extracted("old", "hq")
    extracted("theirs", "branch")
    for number, former in enumerate(("old", "theirs", "never-seen"), 2):
        ledger.accept_receipt(replace(receipt(number), took_over=former), former, event(EventKind.INSTALLED))
    states = ledger.snapshot().states
    assert (states["helsinki-1", "old"].extracted, states["helsinki-1", "old"].state) == (None, State.WAITING)
    assert states["helsinki-1", "theirs"].extracted == V1
    assert states["helsinki-1", "zone"].extracted == V1


def test_a_receipt_of_a_release_leaves_nothing_held(ledger: Ledger) -> None:
    ledger.accept_receipt(receipt(), "first", event(EventKind.INSTALLED))
    released = replace(receipt(2, Outcome.RELEASED), failure=None)
    ledger.accept_receipt(released, "second", event(EventKind.RELEASED))
    state = ledger.state("helsinki-1", "zone")
    assert (state.state, state.held, state.extracted, state.reason) == (State.RELEASED, None, None, "released: its files stay")
    ledger.accept_receipt(receipt(1), "late", event(EventKind.INSTALLED))
    assert ledger.state("helsinki-1", "zone").extracted is None


def test_a_receipt_that_comes_late_is_kept_and_changes_nothing(ledger: Ledger) -> None:
    ledger.accept_receipt(receipt(2, revision=V2), "second", event(EventKind.INSTALLED))
    assert ledger.accept_receipt(receipt(1, Outcome.FAILED), "first", event(EventKind.EXTRACT_FAILED)) is ReceiptStored.NEW
    assert ledger.state("helsinki-1", "zone").extracted == V2
    assert ledger.state("helsinki-1", "zone").state is State.INSTALLED


def test_a_failed_extraction_keeps_what_was_extracted_and_says_why(ledger: Ledger) -> None:
    ledger.accept_receipt(receipt(1), "first", event(EventKind.INSTALLED))
    ledger.accept_receipt(receipt(2, Outcome.FAILED, V2), "second", event(EventKind.EXTRACT_FAILED))
    state = ledger.state("helsinki-1", "zone")
    assert (state.state, state.extracted) == (State.FAILED, V1)
    assert state.error is not None
    assert state.error.remedy == "see its output"


def test_a_new_owner_counts_its_own_orders(ledger: Ledger) -> None:
    ledger.accept_receipt(receipt(7), "first", event(EventKind.INSTALLED))
    state = ledger.state("helsinki-1", "zone").offer(V2, distributor="hq-2", channel="patterns", at=NOW)
    assert state.sequence == 0


# --- what is believed of a Subscriber, and builds that fail ---------------------------------------------------------------

BELIEF = Belief(
    NOW, "0.1.0", "ab" * 16, "/var/lib/sluice", 7, (Machine("boot-2", "web", "ssh:web", NOW), Machine("boot-1", "ü", "", NOW)), NOW
)


def test_what_is_believed_comes_back_with_the_states_of_that_distributor_alone(ledger: Ledger, opener: Opener) -> None:
    assert ledger.known("hq", "helsinki-1") == Known()
    ledger.record(event(EventKind.OFFERED), offered)
    other = replace(event(EventKind.OFFERED), distributor="branch", distribution="other")
    ledger.record(other, lambda state: state.offer(V1, distributor="branch", channel="", at=NOW))
    ledger.next_sequence("hq", "helsinki-1")
    doubt = Doubt("restored\0", None, None, 0)
    ledger.believe("hq", "helsinki-1", BELIEF, [event(EventKind.SEEN)], {"zone": lambda state: state.raise_doubt(doubt, NOW)})
    known = opener().known("hq", "helsinki-1")
    assert (known.belief, list(known.states), known.last_order) == (BELIEF, ["zone"], 1)
    state = known.states["zone"]
    assert (state.doubt, state.seen_at, state.flow_run) == ("restored?", NOW, "run-1")
    assert ledger.snapshot().beliefs == {("hq", "helsinki-1"): BELIEF}
    assert [each.event.kind for each in ledger.events()] == [EventKind.OFFERED, EventKind.OFFERED, EventKind.SEEN]
    ledger.believe("hq", "helsinki-1", None, [], {})
    assert ledger.known("hq", "helsinki-1").belief is None


def test_a_belief_and_its_changes_are_one_transaction(ledger: Ledger) -> None:
    def broken(state: CurrentState) -> CurrentState:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        ledger.believe("hq", "helsinki-1", BELIEF, [event(EventKind.SEEN)], {"zone": broken})
    assert (ledger.known("hq", "helsinki-1"), list(ledger.events())) == (Known(), [])


@pytest.mark.parametrize("success", [EventKind.BUILT, EventKind.NO_CHANGE])
def test_a_failing_build_is_kept_from_its_first_failure_until_a_success(ledger: Ledger, success: EventKind) -> None:
    built = Event(NOW, EventKind.BUILD_FAILED, "hq", "zone")
    for minutes, message in ((0, "the source is gone"), (5, "it can't be read")):
        told = {"code": "SourceMissingError", "message": message, "remedy": "mount it"}
        ledger.record(replace(built, at=NOW + timedelta(minutes=minutes), data=told))
    (failure,) = ledger.snapshot().failing.values()
    assert (failure.since, failure.at) == (NOW, NOW + timedelta(minutes=5))
    assert (failure.code, failure.message, failure.remedy) == ("SourceMissingError", "it can't be read", "mount it")
    ledger.record(replace(built, distribution="other", kind=success))
    assert list(ledger.snapshot().failing) == ["zone"]
    ledger.record(replace(built, kind=success))
    assert ledger.snapshot().failing == {}


def test_a_failing_signing_is_kept_until_it_succeeds_and_told_after_a_failing_build(ledger: Ledger) -> None:
    def happens(kind: EventKind, minutes: int) -> tuple[str, datetime] | None:
        ledger.record(Event(NOW + timedelta(minutes=minutes), kind, "hq", "zone", data={"code": kind.value}))
        found = ledger.failing().get("zone")
        return None if found is None else (found.operation, found.since)

    first, later = NOW + timedelta(minutes=1), NOW + timedelta(minutes=5)
    assert happens(EventKind.SIGN_FAILED, 1) == ("sign", first)
    assert happens(EventKind.NO_CHANGE, 2) == ("sign", first), "a build isn't signed by its success"
    assert happens(EventKind.SIGN_FAILED, 3) == ("sign", first)
    assert ledger.snapshot().failing == ledger.failing()
    assert happens(EventKind.SIGNED, 4) is None
    assert happens(EventKind.BUILD_FAILED, 5) == ("build", later)
    assert happens(EventKind.SIGN_FAILED, 6) == ("build", later), "by a refresh"
    assert happens(EventKind.SIGNED, 7) == ("build", later)
    assert happens(EventKind.BUILT, 8) is None


def go_back_before_version_7(connection: Connection) -> None:
    connection.execute(text("DROP TABLE queue_changes"))
    connection.execute(text("DROP INDEX states_by_distribution"))


def test_a_ledger_of_version_5_keeps_its_failing_builds(ledger: SqlLedger, opener: Opener) -> None:
    ledger.record(Event(NOW, EventKind.BUILD_FAILED, "hq", "zone", data={"code": "SourceMissingError"}))
    with ledger._database._writers.begin() as older:
        go_back_before_version_7(older)
        older.execute(text("ALTER TABLE failing DROP COLUMN operation"))
        older.execute(text("UPDATE schema_version SET version = 5"))
    assert [(each.distribution, each.operation) for each in opener().failing().values()] == [("zone", "build")]


def test_a_ledger_of_version_3_is_upgraded_and_keeps_what_it_has(ledger: SqlLedger, opener: Opener) -> None:
    ledger.record(event(EventKind.OFFERED), offered)
    ledger.accept_receipt(receipt(), "{}", event(EventKind.INSTALLED))
    with ledger._database._writers.begin() as older:
        go_back_before_version_7(older)
        for column in ("read_back_at", "seen_at", "doubt", "doubt_order"):
            older.execute(text(f"ALTER TABLE states DROP COLUMN {column}"))
        for table in ("beliefs", "failing"):
            older.execute(text(f"DROP TABLE {table}"))
        older.execute(text("UPDATE schema_version SET version = 3"))
    upgraded = opener()
    state = upgraded.state("helsinki-1", "zone")
    assert (state.state, state.extracted, state.read_back_at, state.seen_at, state.doubt) == (State.INSTALLED, V1, None, None, "")
    upgraded.believe("hq", "helsinki-1", BELIEF, [], {})
    assert upgraded.known("hq", "helsinki-1").belief == BELIEF
    assert upgraded.snapshot().failing == {}


def test_a_ledger_of_version_4_takes_every_order_for_older_than_the_doubts_that_stand(ledger: SqlLedger, opener: Opener) -> None:
    for name in ("zone", "other"):
        ledger.record(replace(event(EventKind.OFFERED), distribution=name), offered)
    sequence = ledger.next_sequence("hq", "helsinki-1")
    ledger.believe("hq", "helsinki-1", BELIEF, [], {"zone": lambda state: state.raise_doubt(Doubt("restored?", None, None, 0), NOW)})
    with ledger._database._writers.begin() as older:
        go_back_before_version_7(older)
        older.execute(text("ALTER TABLE states DROP COLUMN doubt_order"))
        older.execute(text("UPDATE schema_version SET version = 4"))
    upgraded = opener()
    assert [upgraded.state("helsinki-1", name).doubt_order for name in ("zone", "other")] == [sequence, 0]
