"""What ``doctor`` makes of what it finds: the edges between ok, warning and failed."""

from datetime import UTC, datetime, timedelta

import pytest

from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.ticket import Phase, Ticket
from sluice.rules import diagnosis
from sluice.rules.diagnosis import Health, WorkerSeen

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GIB = 1 << 30


@pytest.mark.parametrize(
    ("found", "health"), [((3, 10), Health.FAILED), ((3, 11), Health.OK), ((3, 13), Health.OK), ((3, 14), Health.FAILED)]
)
def test_pythons_that_the_project_supports(found: tuple[int, int], health: Health) -> None:
    assert diagnosis.python_version(found).health is health


@pytest.mark.parametrize(
    ("free", "kept", "health"),
    [
        (3 * GIB - 1, 3 * GIB, Health.FAILED),
        (3 * GIB, 3 * GIB, Health.WARNING),
        (6 * GIB, 3 * GIB, Health.OK),
        (GIB - 1, 0, Health.WARNING),
        (GIB, 0, Health.OK),
    ],
)
def test_space_below_min_free_fails_and_near_it_warns(free: int, kept: int, health: Health) -> None:
    assert diagnosis.free_space("/srv", free=free, kept=kept).health is health


@pytest.mark.parametrize(("seconds", "health"), [(59, Health.OK), (-61, Health.WARNING), (61, Health.WARNING), (-300, Health.FAILED)])
def test_clocks_apart(seconds: int, health: Health) -> None:
    found = diagnosis.clocks_apart("subscriber", "oslo", timedelta(seconds=seconds))
    assert found.health is health
    if health is not Health.OK:
        assert f"{abs(seconds)} s {'behind' if seconds < 0 else 'ahead'}" in found.sentence


def test_a_clock_behind_what_is_written_down_went_back() -> None:
    assert diagnosis.clock_went_back(NOW, NOW + timedelta(hours=1), what="the ledger").health is Health.FAILED
    assert diagnosis.clock_went_back(NOW, NOW - timedelta(hours=1), what="the ledger").health is Health.OK
    assert diagnosis.clock_went_back(NOW, None, what="the ledger").health is Health.OK


@pytest.mark.parametrize(
    ("mode", "ours", "health"), [(0o700, True, Health.OK), (0o750, True, Health.FAILED), (0o700, False, Health.FAILED)]
)
def test_a_directory_is_its_accounts_alone(mode: int, ours: bool, health: Health) -> None:
    assert diagnosis.private_directory("/srv", mode=mode, ours=ours).health is health


@pytest.mark.parametrize(("found", "health"), [("3.8.8", Health.OK), ("3.8.9", Health.WARNING), ("3.7.8", Health.FAILED)])
def test_a_server_of_another_version(found: str, health: Health) -> None:
    assert diagnosis.server_version(found, "3.8.8").health is health


@pytest.mark.parametrize(
    ("kind", "distributors", "subscribers", "health"),
    [
        ("sqlite", 1, 49, Health.OK),
        ("sqlite", 1, 50, Health.WARNING),
        ("sqlite", 2, 1, Health.WARNING),
        ("postgresql", 9, 900, Health.OK),
        ("", 9, 900, Health.OK),
    ],
)
def test_sqlite_is_for_one_distributor_with_few_subscribers(kind: str, distributors: int, subscribers: int, health: Health) -> None:
    assert diagnosis.database(kind, distributors=distributors, subscribers=subscribers).health is health


def test_a_pool_needs_a_worker_that_is_online() -> None:
    gone = WorkerSeen("a", False, NOW - timedelta(seconds=200))
    there = WorkerSeen("b", True, NOW - timedelta(seconds=20))
    assert diagnosis.workers("hq.send", [], NOW).health is Health.FAILED
    assert (diagnosis.workers("hq.send", [gone], NOW).health, diagnosis.workers("hq.send", [gone], NOW).sentence) == (
        Health.FAILED,
        "no worker is online, last seen 200 s ago",
    )
    assert (diagnosis.workers("hq.send", [gone, there], NOW).health, diagnosis.workers("hq.send", [gone, there], NOW).sentence) == (
        Health.OK,
        "1 online, last seen 20 s ago",
    )


@pytest.mark.parametrize(
    ("left", "health"), [(timedelta(0), Health.FAILED), (timedelta(days=3, hours=11), Health.WARNING), (timedelta(days=3.5), Health.OK)]
)
def test_metadata_of_which_less_than_a_quarter_is_left(left: timedelta, health: Health) -> None:
    found = diagnosis.lifetime("timestamp", expires=NOW + left, lasts=timedelta(days=14), now=NOW, distributor="hq")
    assert found.health is health


def test_tickets_of_dead_runs_are_counted() -> None:
    def ticket(lease: timedelta) -> Ticket:
        return Ticket(1, "hq", "oslo", "zone", RevisionNumber(1, 1), Priority.HIGH, "run", Phase.RUNNING, NOW, NOW + lease)

    found = diagnosis.queue("ledger.db", [ticket(timedelta(seconds=-1)), ticket(timedelta(seconds=1))], NOW)
    assert (found.health, found.sentence) == (Health.WARNING, "1 of 2 tickets in the send queue belongs to runs that died")
    assert diagnosis.queue("ledger.db", [ticket(timedelta(seconds=1))], NOW).health is Health.OK


@pytest.mark.parametrize(("found", "health"), [(None, Health.OK), (3, Health.OK), (2, Health.WARNING), (4, Health.FAILED)])
def test_tables_of_another_version(found: int | None, health: Health) -> None:
    assert diagnosis.schema("ledger.db", found, ours=3, upgrades={2: None}).health is health
