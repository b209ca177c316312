"""X1: one sentence for every pair, and the state that goes with it; status and why are the same answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest

from sluice.errors import ExpiredError, HostKeyError, NotFoundError, UnreachableError
from sluice.model.belief import Belief, BuildFailure, Doubt, Machine
from sluice.model.known import LedgerSnapshot
from sluice.model.order import Failure, Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.schedule import IMMEDIATELY, NEVER, Kind, Schedule, Window
from sluice.model.site import (
    Address,
    Channel,
    Distribution,
    DistributionType,
    Distributor,
    Priority,
    RetryRule,
    Site,
    Subscriber,
    Subscription,
)
from sluice.model.state import Built, CurrentState, State
from sluice.model.ticket import Phase, Ticket
from sluice.rules.reasons import status_row, status_rows, why
from sluice.rules.retry import after_failure, failure_of, moment
from sluice.rules.status_row import StatusRow

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
T0 = NOW - timedelta(hours=1)
V1, V2 = RevisionNumber(1, 1), RevisionNumber(1, 2)
AT_22 = Schedule(Kind.DAILY, window=Window(time(22), time(22)))
AT_23 = Schedule(Kind.DAILY, window=Window(time(23), time(23)))


def site(
    *,
    channel: Channel | None = None,
    subscriber: Subscriber | None = None,
    distribution: Distribution | None = None,
    more: Sequence[Channel] = (),
) -> Site:
    channel = channel or CHANNEL
    return Site(
        "blueprints",
        {"hq": Distributor("hq", PurePosixPath("/var/lib/sluice/hq"), max_concurrent=2)},
        {"helsinki-1": subscriber or HOST},
        {c.name: c for c in (channel, *more)},
        {"zone": distribution or ZONE},
    )


CHANNEL = Channel("patterns", send=AT_22, subscriptions=(Subscription("helsinki-1"),))
HOST = Subscriber("helsinki-1", Address("ssh", "192.0.2.7", 22, "sluice"), PurePosixPath("/var/lib/sluice"), platform="debian-12")
ZONE = Distribution("zone", "hq", DistributionType.FILE, channels=("patterns",))
BUILT = Built("zone", V2, T0, 3, 1000)
BLANK = CurrentState("helsinki-1", "zone")
OFFERED = BLANK.offer(V2, distributor="hq", channel="patterns", at=T0)


def snapshot(state: CurrentState | None = None, *tickets: Ticket, built: Built | None = BUILT) -> LedgerSnapshot:
    states = {} if state is None else {(state.subscriber, state.distribution): state}
    return LedgerSnapshot(states, {} if built is None else {"zone": built}, tickets)


def ticket(phase: Phase, *, number: int = 9, host: str = "helsinki-1", lease: float = 60) -> Ticket:
    return Ticket(number, "hq", host, "zone", V2, Priority.MEDIUM, "run-1", phase, T0, NOW + timedelta(seconds=lease))


def receipt(outcome: Outcome = Outcome.INSTALLED, revision: RevisionNumber = V2) -> Receipt:
    failure = None if outcome is Outcome.INSTALLED else Failure("ActionFailedError", "post action 1 ended with 3", "see its output", False)
    return Receipt("hq", "helsinki-1", 1, "zone", revision, outcome, T0, T0, 3, 0, 99, "ab" * 32, (), failure)


def failed(state: CurrentState, error: Exception, times: int = 1) -> CurrentState:
    assert isinstance(error, UnreachableError | HostKeyError)
    for n in range(times):
        state, _ = after_failure(state, failure_of(error), RetryRule(), T0 + n * timedelta(minutes=2))
    return state


AWAY = UnreachableError("helsinki-1 doesn't answer", remedy="start it")

CASES: list[tuple[str, Site, LedgerSnapshot, State, str]] = [
    ("no Channel", site(distribution=replace(ZONE, channels=())), snapshot(), State.NOT_SENT, "not sent: no Channel"),
    (
        "not joined",
        site(channel=replace(CHANNEL, subscriptions=())),
        snapshot(),
        State.NOT_JOINED,
        "not joined: helsinki-1 isn't in Channel patterns",
    ),
    (
        "unsubscribed after it was installed",
        site(channel=replace(CHANNEL, subscriptions=())),
        snapshot(OFFERED.apply_receipt(receipt())),
        State.NOT_JOINED,
        "not joined: helsinki-1 isn't in Channel patterns; 1.2 stays installed",
    ),
    ("Distribution", site(distribution=replace(ZONE, active=False)), snapshot(), State.INACTIVE, "Distribution zone is inactive"),
    ("Subscriber", site(subscriber=replace(HOST, active=False)), snapshot(), State.INACTIVE, "Subscriber helsinki-1 is inactive"),
    ("Channel", site(channel=replace(CHANNEL, active=False)), snapshot(), State.INACTIVE, "Channel patterns is inactive"),
    (
        "subscription",
        site(channel=replace(CHANNEL, subscriptions=(Subscription("helsinki-1", active=False),))),
        snapshot(OFFERED.apply_receipt(receipt())),
        State.INACTIVE,
        "the subscription of helsinki-1 to Channel patterns is inactive; 1.2 stays installed",
    ),
    (
        "another Channel is active",
        site(
            channel=replace(CHANNEL, active=False),
            distribution=replace(ZONE, channels=("patterns", "nightly")),
            more=[Channel("nightly", send=AT_23, subscriptions=CHANNEL.subscriptions)],
        ),
        snapshot(),
        State.WAITING,
        "1.2 waits for the next start of Channel nightly at 2026-12-01 23:00:00 UTC",
    ),
    (
        "family of the platform fits",
        site(distribution=replace(ZONE, platforms=("linux",))),
        snapshot(OFFERED.apply_receipt(receipt())),
        State.INSTALLED,
        "1.2 is installed, read back 1 h ago (2026-12-01 11:00:00 UTC)",
    ),
    (
        "platform",
        site(distribution=replace(ZONE, platforms=("windows", "rhel"))),
        snapshot(),
        State.NOT_APPLICABLE,
        "not applicable: zone is for windows, rhel, but helsinki-1 is debian-12",
    ),
    (
        "unknown platform",
        site(distribution=replace(ZONE, platforms=("linux",)), subscriber=replace(HOST, platform="")),
        snapshot(),
        State.NOT_APPLICABLE,
        "not applicable: zone is for linux, and the platform of helsinki-1 isn't known: set its `platform:`",
    ),
    ("never built", site(), snapshot(built=None), State.NOT_BUILT, "not built: there is no revision of zone yet"),
    ("never offered", site(), snapshot(), State.WAITING, "1.2 waits for the next start of Channel patterns at 2026-12-01 22:00:00 UTC"),
    (
        "no schedule",
        site(channel=replace(CHANNEL, send=NEVER)),
        snapshot(),
        State.WAITING,
        "1.2 waits for the next start of Channel patterns: nothing is scheduled, use `sluice send patterns`",
    ),
    (
        "immediately",
        site(channel=replace(CHANNEL, send=IMMEDIATELY)),
        snapshot(),
        State.WAITING,
        "1.2 is to be sent at once through Channel patterns",
    ),
    ("connecting", site(), snapshot(OFFERED, ticket(Phase.ENTERED)), State.WAITING, "connecting to send 1.2"),
    (
        "no slot",
        site(),
        snapshot(
            OFFERED,
            *(ticket(Phase.RUNNING, number=n, host=f"h-{n}") for n in (1, 2)),
            ticket(Phase.READY, number=3, host="h-3"),
            ticket(Phase.READY),
        ),
        State.WAITING,
        "waiting: 2 of 2 transfers of hq run (zone to h-1, zone to h-2); 1 before it",
    ),
    (
        "sending",
        site(),
        snapshot(OFFERED.begin_sending(V2, T0), ticket(Phase.RUNNING)),
        State.SENDING,
        "sending 1.2 since 2026-12-01 11:00:00 UTC",
    ),
    (
        "the sender died",
        site(),
        snapshot(OFFERED.begin_sending(V2, T0), ticket(Phase.RUNNING, lease=0)),
        State.WAITING,
        (
            "sending 1.2, begun 2026-12-01 11:00:00 UTC, was interrupted; "
            "1.2 waits for the next start of Channel patterns at 2026-12-01 22:00:00 UTC"
        ),
    ),
    (
        "a retry",
        site(),
        snapshot(replace(failed(OFFERED, AWAY, 3), next_try=NOW)),
        State.UNAVAILABLE,
        "retry 3 of 15 at 2026-12-01 11:06:00 UTC: helsinki-1 doesn't answer",
    ),
    (
        "a retry that nobody makes",
        site(),
        snapshot(failed(OFFERED, AWAY)),
        State.UNAVAILABLE,
        "retry 1 of 15 at 2026-12-01 11:02:00 UTC: helsinki-1 doesn't answer; overdue: no flow run is retrying it",
    ),
    (
        "retries used up",
        site(),
        snapshot(failed(OFFERED, AWAY, 16)),
        State.UNAVAILABLE,
        (
            "1.2 waits for the next start of Channel patterns at 2026-12-01 22:00:00 UTC, "
            "after 16 failed tries since 2026-12-01 11:00:00 UTC: helsinki-1 doesn't answer: start it"
        ),
    ),
    (
        "failed",
        site(),
        snapshot(failed(OFFERED, HostKeyError("helsinki-1 shows another key", remedy="look, then correct host_key"))),
        State.FAILED,
        "1.2 failed at 2026-12-01 11:00:00 UTC: helsinki-1 shows another key: look, then correct host_key",
    ),
    (
        "extraction failed",
        site(),
        snapshot(OFFERED.mark_received(V2, sent=1000, resumed=0, at=T0).apply_receipt(receipt(Outcome.FAILED))),
        State.FAILED,
        "1.2 failed at 2026-12-01 11:00:00 UTC: post action 1 ended with 3: see its output",
    ),
    (
        "received",
        site(subscriber=replace(HOST, extract=AT_23)),
        snapshot(OFFERED.mark_received(V2, sent=1000, resumed=0, at=T0)),
        State.RECEIVED,
        "received 1.2, waiting for its Extract schedule at 2026-12-01 23:00:00 UTC",
    ),
    (
        "received, extract immediately",
        site(subscriber=replace(HOST, extract=NEVER), distribution=replace(ZONE, extract_immediately=True)),
        snapshot(OFFERED.mark_received(V2, sent=1000, resumed=0, at=T0)),
        State.RECEIVED,
        "received 1.2, to be extracted at once",
    ),
    (
        "received, and its host was away when it was to extract",
        site(subscriber=replace(HOST, extract=AT_23)),
        snapshot(OFFERED.mark_received(V2, sent=1, resumed=0, at=T0).fail_extracting(failure_of(UnreachableError("nothing answers")), T0)),
        State.RECEIVED,
        (
            "received 1.2, waiting for its Extract schedule at 2026-12-01 23:00:00 UTC, "
            "after an extraction failed at 2026-12-01 11:00:00 UTC: nothing answers"
        ),
    ),
    (
        "an order that its host refuses",
        site(),
        snapshot(OFFERED.mark_received(V2, sent=1, resumed=0, at=T0).fail_extracting(failure_of(ExpiredError("it is over")), T0)),
        State.FAILED,
        "1.2 failed at 2026-12-01 11:00:00 UTC: it is over",
    ),
    (
        "installing",
        site(),
        snapshot(OFFERED.mark_received(V2, sent=1, resumed=0, at=T0).begin_extracting(V2, T0), ticket(Phase.ENTERED)),
        State.INSTALLING,
        "extracting 1.2 since 2026-12-01 11:00:00 UTC",
    ),
    (
        "an extraction at once whose run died",
        site(),
        snapshot(OFFERED.mark_received(V2, sent=1, resumed=0, at=T0).begin_extracting(V2, T0)),
        State.RECEIVED,
        (
            "extracting 1.2, begun 2026-12-01 11:00:00 UTC, was interrupted; "
            "it waits for the next start of Channel patterns at 2026-12-01 22:00:00 UTC"
        ),
    ),
    (
        "an extraction by its schedule whose run died",
        site(subscriber=replace(HOST, extract=AT_23)),
        snapshot(OFFERED.mark_received(V2, sent=1, resumed=0, at=T0).begin_extracting(V2, T0)),
        State.RECEIVED,
        "extracting 1.2, begun 2026-12-01 11:00:00 UTC, was interrupted; waiting for its Extract schedule at 2026-12-01 23:00:00 UTC",
    ),
    (
        "an older one is installed",
        site(),
        snapshot(replace(OFFERED, offered=V1).apply_receipt(receipt(revision=V1))),
        State.WAITING,
        "1.2 waits for the next start of Channel patterns at 2026-12-01 22:00:00 UTC",
    ),
    (
        "cancelled",
        site(),
        snapshot(OFFERED.cancel("anna cancelled zone", T0)),
        State.CANCELLED,
        (
            "cancelled at 2026-12-01 11:00:00 UTC: anna cancelled zone; "
            "1.2 waits for the next start of Channel patterns at 2026-12-01 22:00:00 UTC"
        ),
    ),
]


@pytest.mark.parametrize(("made", "known", "state", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_gate_gives_its_reason(made: Site, known: LedgerSnapshot, state: State, reason: str) -> None:
    row = status_row(made, known, "helsinki-1", "zone", NOW)
    assert (row.state, row.reason) == (state, reason)
    assert why(made, known, "helsinki-1", "zone", NOW).endswith(f": {reason}.")
    for listed in status_rows(made, known, NOW):
        assert listed.reason == reason or listed.subscriber == ""


def test_why_begins_with_what_the_subscriber_has() -> None:
    older = snapshot(replace(OFFERED, offered=V1).apply_receipt(receipt(revision=V1)))
    assert why(site(), older, "helsinki-1", "zone", NOW).startswith("helsinki-1 has 1.1 of zone (latest: 1.2): 1.2 waits")
    assert why(site(), snapshot(built=None), "helsinki-1", "zone", NOW).startswith("helsinki-1 has no revision of zone: not built")


@pytest.mark.parametrize("names", [("helsinki-9", "zone"), ("helsinki-1", "zone-9")])
def test_why_knows_whom_it_is_asked_about(names: tuple[str, str]) -> None:
    with pytest.raises(NotFoundError):
        why(site(), snapshot(), *names, NOW)


def test_a_row_has_the_keys_of_the_interface() -> None:
    (row,) = status_rows(site(), snapshot(OFFERED.mark_received(V2, sent=600, resumed=0, at=T0).apply_receipt(receipt())), NOW)
    assert row.as_json() == {
        "subscriber": "helsinki-1",
        "distribution": "zone",
        "channel": "patterns",
        "held": "1.2",
        "extracted": "1.2",
        "latest": "1.2",
        "state": "installed",
        "reason": "1.2 is installed, read back 1 h ago (2026-12-01 11:00:00 UTC)",
        "since": "2026-12-01T11:00:00Z",
        "bytes_sent": 600,
        "read_back_at": "2026-12-01T11:00:00Z",
        "seen_at": "2026-12-01T11:00:00Z",
        "doubt": None,
        "build_failure": None,
    }


def test_a_distribution_that_reaches_nobody_still_has_a_row() -> None:
    (row,) = status_rows(site(distribution=replace(ZONE, channels=())), snapshot(), NOW)
    assert (row.subscriber, row.channel, row.latest, row.reason) == ("", "", V2, "not sent: no Channel")


def test_what_the_site_no_longer_has_but_a_subscriber_holds_is_listed() -> None:
    gone = replace(OFFERED.apply_receipt(receipt()), distribution="old")
    rows = status_rows(site(), snapshot(gone), NOW)
    assert list(status_rows(site(), snapshot(gone), NOW, distributions=["old"], subscribers=["helsinki-1"])) == rows[:1]
    assert [(r.distribution, r.state) for r in rows] == [("old", State.NOT_JOINED), ("zone", State.WAITING)]
    assert rows[0].reason == "the site no longer has a Distribution old; 1.2 stays installed"


@pytest.mark.parametrize(
    ("wanted", "count"),
    [({"subscribers": ["helsinki-1"]}, 1), ({"distributions": ["zone"]}, 1), ({"subscribers": ["x"]}, 0), ({"distributions": ["x"]}, 0)],
)
def test_rows_can_be_asked_for_by_name(wanted: dict[str, list[str]], count: int) -> None:
    read: Callable[..., Sequence[object]] = status_rows
    assert len(read(site(), snapshot(), NOW, **wanted)) == count


def test_what_a_subscriber_wrote_cant_move_the_cursor() -> None:
    failure = Failure("ActionFailedError", "\x1b[2Jall is well\n", "trust\x07me", retryable=False)
    answer = Receipt("hq", "helsinki-1", 1, "zone", V2, Outcome.FAILED, T0, T0, 0, 0, 0, "", (), failure)
    said = why(site(), snapshot(OFFERED.apply_receipt(answer)), "helsinki-1", "zone", NOW)
    assert said.endswith("?[2Jall is well?: trust?me.")
    assert said.isprintable()


LATER = T0 + timedelta(hours=1)


def checked(**changes: Any) -> StatusRow:
    """Of a Distribution that was installed at T0, and whose agent answered an order an hour later."""
    installed = OFFERED.apply_receipt(receipt())
    again = replace(receipt(), sequence=2, finished=LATER, files_written=0, files_unchanged=3, **changes)
    return status_row(site(), snapshot(installed.begin_extracting(V2, LATER).apply_receipt(again)), "helsinki-1", "zone", NOW)


@pytest.mark.parametrize(
    ("written", "unchanged", "said"),
    [(0, 3, "1.2 is installed"), (1, 2, "1.2 is installed, 1 file repaired"), (3, 0, "1.2 is installed, 3 files written anew")],
)
def test_what_was_read_back_says_when_and_what_was_repaired(written: int, unchanged: int, said: str) -> None:
    again = replace(receipt(), sequence=2, finished=LATER, files_written=written, files_unchanged=unchanged, files_read=3)
    state = OFFERED.apply_receipt(receipt()).begin_extracting(V2, LATER).apply_receipt(again)
    row = status_row(site(), snapshot(state), "helsinki-1", "zone", NOW)
    assert (row.state, row.reason) == (State.INSTALLED, f"{said}, read back just now ({moment(LATER)})")
    assert row.read_back_at == LATER


@pytest.mark.parametrize("read", [None, 2, 0])
def test_an_answer_without_reading_everything_leaves_the_age_of_what_stayed(read: int | None) -> None:
    """An older agent, a file known by its stat, an answer from the status file."""
    row = checked(files_read=read)
    assert row.reason == f"1.2 is installed since {moment(LATER)}, its unchanged files read back 1 h ago ({moment(T0)})"
    assert row.read_back_at == T0


def test_a_claim_is_seen_and_is_no_read_back() -> None:
    state = OFFERED.apply_receipt(receipt()).confirm_installed(T0 + timedelta(minutes=57))
    row = status_row(site(), snapshot(state), "helsinki-1", "zone", NOW)
    assert row.reason == f"1.2 is installed, read back 1 h ago ({moment(T0)}), last seen 3 min ago"
    assert (row.read_back_at, row.seen_at) == (T0, T0 + timedelta(minutes=57))


def test_what_an_older_ledger_has_is_installed_without_an_age() -> None:
    state = replace(OFFERED.apply_receipt(receipt()), read_back_at=None, seen_at=None)
    assert status_row(site(), snapshot(state), "helsinki-1", "zone", NOW).reason == f"1.2 is installed since {moment(T0)}"


def test_a_check_that_came_to_no_answer_leaves_it_installed_and_damage_that_cant_be_mended_has_it_sent_again() -> None:
    asked = OFFERED.apply_receipt(receipt()).begin_extracting(V2, NOW)
    assert asked.reason == "verifying 1.2"
    back = asked.fail_extracting(failure_of(UnreachableError("nothing answers")), NOW)
    assert (back.state, back.extracted, back.held, back.error) == (State.INSTALLED, V2, V2, None)
    refused = asked.fail_extracting(failure_of(ExpiredError("it is over")), NOW)
    assert (refused.state, refused.extracted) == (State.FAILED, V2)
    differs = replace(receipt(Outcome.FAILED), sequence=2, failure=Failure("BaseDiffersError", "changed", "send it whole", False))
    lost = asked.apply_receipt(differs)
    assert (lost.state, lost.extracted, lost.held) == (State.FAILED, V2, None)
    mended = lost.apply_receipt(replace(receipt(), sequence=3, files_written=2))
    assert (mended.state, mended.held, mended.reason) == (State.INSTALLED, V2, "1.2 is installed, 2 files written anew")


def test_a_doubt_is_said_with_when_it_is_sent_again() -> None:
    doubt = Doubt("at T its agent had nothing extracted, although 1.2 had been read back", None, None, 0)
    state = OFFERED.apply_receipt(receipt()).raise_doubt(doubt, NOW)
    row = status_row(site(), snapshot(state), "helsinki-1", "zone", NOW)
    assert (row.state, row.extracted, row.doubt) == (State.WAITING, None, doubt.text)
    assert row.reason.startswith("1.2 waits for the next start of Channel patterns")
    assert row.reason.endswith(f"; {doubt.text}")
    assert why(site(), snapshot(state), "helsinki-1", "zone", NOW).startswith("helsinki-1 has no revision of zone (latest: 1.2): ")
    held = OFFERED.apply_receipt(receipt()).raise_doubt(replace(doubt, held=V2), NOW)
    assert status_row(site(), snapshot(held), "helsinki-1", "zone", NOW).state is State.RECEIVED


def test_machines_that_answer_in_turn_and_failing_builds_are_said_beside_what_is_installed() -> None:
    machines = (Machine("x", "web", "ssh:web", NOW), Machine("y", "copy", "ssh:copy", T0))
    belief = Belief(NOW, "0.1.0", "k", "/work", 1, machines, twins_at=NOW)
    failure = BuildFailure("zone", T0, NOW, "SourceMissingError", "/srv/zone is missing", "mount it")
    seen = replace(snapshot(OFFERED.apply_receipt(receipt())), beliefs={("hq", "helsinki-1"): belief}, failing={"zone": failure})
    row = status_row(site(), seen, "helsinki-1", "zone", NOW)
    assert row.state is State.INSTALLED
    assert "; two machines answered in turn as helsinki-1: web at ssh:web" in row.reason
    assert f"; builds fail since {moment(T0)}: /srv/zone is missing (mount it); run: sluice build zone" in row.reason
    hourly = site(distribution=replace(ZONE, build=Schedule(Kind.INTERVAL, interval=timedelta(hours=1))))
    assert "; the next try is at 2026-12-01 " in status_row(hourly, seen, "helsinki-1", "zone", NOW).reason
    assert row.as_json()["build_failure"] == {
        "since": "2026-12-01T11:00:00Z",
        "at": "2026-12-01T12:00:00Z",
        "next_try": None,
        "operation": "build",
        "code": "SourceMissingError",
        "message": "/srv/zone is missing",
        "remedy": "mount it",
    }


def test_what_another_distributor_delivered_is_not_installed_by_this_one() -> None:
    state = replace(OFFERED.apply_receipt(receipt()), distributor="branch")
    row = status_row(site(), snapshot(state), "helsinki-1", "zone", NOW)
    assert (row.state, row.extracted) == (State.WAITING, None)
