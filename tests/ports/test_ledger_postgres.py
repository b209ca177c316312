"""The ledger on PostgreSQL: what a server, its settings and a broken line do to it, and that nothing shows a password."""

import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from infra.doctor.ledger import look
from infra.ledger.sql import SqlLedger, open_ledger
from infra.ledger.tables import events, sequences
from sluice.errors import LedgerError
from sluice.model.event import Event, EventKind
from sluice.model.order import Failure
from sluice.model.state import CurrentState
from sluice.rules.diagnosis import Health
from tests.ports.cut_line import CutLine
from tests.system.postgres import Cluster, cluster

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 12, 1, tzinfo=UTC)
PATIENCE = 120.0


def sent(subscriber: str) -> Event:
    return Event(NOW, EventKind.SENT, distribution="zone", subscriber=subscriber)


def once_more(state: CurrentState) -> CurrentState:
    return replace(state, bytes_sent=state.bytes_sent + 1)


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    name = postgres.database()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def ledger(url: str) -> Iterator[SqlLedger]:
    with closing(open_ledger(url)) as opened:
        yield opened


# --- URLs and passwords ---------------------------------------------------------------------------------------------------


def wrong_urls(server: Cluster) -> dict[str, str]:
    database = server.database()
    latin = server.database(more="ENCODING 'LATIN1'")
    return {
        "another password": server.url(database, password="hunter2-secret"),
        "no such database": server.url("none").replace(server.password, "hunter2-secret"),
        "no such host": "postgresql://sluice:hunter2-secret@host.invalid/ledger",
        "nobody listens": "postgresql://sluice:hunter2-secret@127.0.0.1:1/ledger",
        "no such setting": "postgresql://sluice@127.0.0.1/ledger?password=hunter2-secret&no_such_setting=1",
        "no percent": "postgresql://sluice:hunter2-secret%zz@127.0.0.1/ledger",
        "another encoding": server.url(latin),
    }


def test_no_error_shows_the_password(postgres: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    for what, url in wrong_urls(postgres).items():
        with pytest.raises(LedgerError) as caught:
            open_ledger(url)
        told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caught.value.remedy + caplog.text
        for secret in ("hunter2-secret", postgres.password):
            assert secret not in told, what


def test_an_open_ledger_is_named_without_user_and_password(ledger: SqlLedger, postgres: Cluster) -> None:
    for shown in (repr(ledger), ledger._database.name, repr(ledger._database._writers), str(ledger._database._writers.url)):
        assert postgres.password not in shown
        assert "sluice:" not in shown
    assert repr(ledger).startswith(f"SqlLedger(postgresql://127.0.0.1:{postgres.port}/test_")


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_the_password_may_be_in_a_file(postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"127.0.0.1:{postgres.port}:*:sluice:{postgres.password}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    with closing(open_ledger(postgres.url(postgres.database(), password=None, scheme=scheme))) as ledger:
        assert ledger.next_sequence("hq", "a") == 1


def test_a_service_file_may_say_it_all(postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["[ledger]", "host=127.0.0.1", f"port={postgres.port}", f"dbname={postgres.database()}", "user=sluice"]
    (tmp_path / "services").write_text("\n".join([*lines, f"password={postgres.password}", ""]))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    with closing(open_ledger("postgresql://?service=ledger")) as ledger:
        assert ledger.next_sequence("hq", "a") == 1
        assert repr(ledger) == "SqlLedger(postgresql:///?service=ledger)"


def test_doctor_reads_a_url_as_the_ledger_does(postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = postgres.database()
    hosts = f"postgresql://sluice:{postgres.password}@127.0.0.1:1,127.0.0.1:{postgres.port}/{database}"
    open_ledger(hosts).close()
    assert [found.health for found in look(hosts, NOW).findings] == [Health.OK, Health.OK]
    lines = ["[ledger]", "host=127.0.0.1", f"port={postgres.port}", f"dbname={database}", "user=sluice", f"password={postgres.password}"]
    (tmp_path / "services").write_text("\n".join([*lines, ""]))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    assert [found.health for found in look("postgresql://?service=ledger", NOW).findings] == [Health.OK, Health.OK]


# --- settings, locks, moments ---------------------------------------------------------------------------------------------


def test_every_wait_is_bounded_and_commits_are_durable_whatever_the_server_prefers(postgres: Cluster) -> None:
    database = postgres.database()
    for name, value in (("synchronous_commit", "off"), ("default_transaction_isolation", "serializable")):
        postgres.execute(f"ALTER DATABASE {database} SET {name} = '{value}'")
    url = postgres.url(database) + "?options=-c%20statement_timeout%3D7s"
    wanted = {
        "lock_timeout": "2s",
        "statement_timeout": "7s",
        "idle_in_transaction_session_timeout": "30s",
        "synchronous_commit": "on",
        "transaction_isolation": "read committed",
        "application_name": "sluice",
    }
    with closing(open_ledger(url, busy_seconds=2)) as ledger:
        for name, value in wanted.items():
            assert ledger._database.write(lambda c, name=name: c.exec_driver_sql(f"SHOW {name}").scalar_one()) == value  # type: ignore[misc]


def test_a_ledger_that_stays_locked_is_an_error_after_bounded_tries(url: str, ledger: SqlLedger) -> None:
    inside, go = threading.Event(), threading.Event()

    def hold(state: CurrentState) -> CurrentState:
        inside.set()
        assert go.wait(PATIENCE)
        return state

    with ThreadPoolExecutor(1) as pool, closing(open_ledger(url, busy_seconds=0.05, tries=2)) as other:
        holding = pool.submit(ledger.record, sent("a"), hold)
        assert inside.wait(PATIENCE)
        with pytest.raises(LedgerError, match="stayed locked by another process"):
            other.next_sequence("hq", "a")
        assert other.state("a", "zone") == CurrentState("a", "zone"), "who reads waits for nobody"
        go.set()
        holding.result(PATIENCE)
        assert other.next_sequence("hq", "a") == 1


def test_a_reading_is_of_one_moment(url: str, ledger: SqlLedger) -> None:
    def count_twice(connection: object) -> list[int]:
        found = []
        for _ in range(2):
            found.append(len(connection.execute(select(events.c.number)).all()))  # type: ignore[attr-defined]
            with closing(open_ledger(url)) as other:
                other.record(sent("a"))
        return found

    assert ledger._database.read(count_twice) == [0, 0]
    assert len(ledger.events()) == 2


def test_a_reading_can_change_nothing(ledger: SqlLedger) -> None:
    with pytest.raises(LedgerError, match="read-only"):
        ledger._database.read(lambda c: c.execute(sequences.insert().values(distributor="hq", subscriber="a", last=7)))


def test_an_event_about_a_message_with_a_nul_is_recorded(ledger: SqlLedger) -> None:
    failure = Failure("ActionFailedError", "printed a\0b", "see\0it", False)
    after = ledger.record(sent("a"), lambda state: replace(state, error=failure, reason="why\0"))
    assert after is not None
    found = ledger.state("a", "zone")
    assert found.error is not None
    assert (found.error.message, found.error.remedy, found.reason) == ("printed a?b", "see?it", "why?")


def test_a_forked_child_has_connections_of_its_own_and_leaves_the_parents_alone(url: str) -> None:
    script = """
import os, sys, threading
from infra.ledger.sql import open_ledger
ledger = open_ledger(sys.argv[1])
first = ledger.next_sequence("hq", "a")
child = os.fork()
mine = [ledger.next_sequence("hq", "a") for _ in range(20)]
if child == 0:
    print(*mine, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(first, *mine, ledger.next_sequence("hq", "a"))
"""
    done = subprocess.run([sys.executable, "-c", script, url], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert sorted(int(word) for word in done.stdout.split()) == list(range(1, 43))


def test_encryption_that_the_url_asks_for_is_not_done_without(url: str) -> None:
    with pytest.raises(LedgerError, match="SSL"):
        open_ledger(url + "?sslmode=require")


# --- what breaks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_where_the_line_breaks_at_a_commit_the_repetition_writes_once(postgres: Cluster, when: str) -> None:
    with CutLine(postgres.port) as line:
        url = postgres.url(postgres.database()).replace(f":{postgres.port}/", f":{line.port}/") + "?sslmode=disable"
        with closing(open_ledger(url)) as ledger:
            ledger.record(sent("a"), once_more)
            line.cut_commit(when)
            assert ledger.record(sent("a"), once_more) == ledger.state("a", "zone")
            assert line.cuts == 1
            line.cut_commit(when)
            assert [ledger.next_sequence("hq", "a"), ledger.next_sequence("hq", "a")] == [1, 2]
            assert line.cuts == 2
            assert ledger.state("a", "zone").bytes_sent == len(ledger.events()) == 2


def test_sessions_that_the_server_ends_are_begun_again(postgres: Cluster, url: str) -> None:
    database = url.rpartition("/")[2]
    with closing(open_ledger(url)) as ledger, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(ledger.record, sent(f"host-{n % 8}"), once_more) for n in range(160)]
        for _ in range(5):
            postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
            time.sleep(0.05)
        for future in futures:
            future.result(PATIENCE)
        assert len(ledger.events()) == 160
        assert [ledger.state(f"host-{n}", "zone").bytes_sent for n in range(8)] == [20] * 8


def test_who_stops_in_a_transaction_holds_up_the_others_for_a_while_and_then_repeats_it(url: str, ledger: SqlLedger) -> None:
    inside, go = threading.Event(), threading.Event()

    def stopped(state: CurrentState) -> CurrentState:
        inside.set()
        assert go.wait(PATIENCE)
        return once_more(state)

    soon = url + "?options=-c%20idle_in_transaction_session_timeout%3D500ms"
    with ThreadPoolExecutor(1) as pool, closing(open_ledger(soon)) as other:
        stopping = pool.submit(other.record, sent("a"), stopped)
        assert inside.wait(PATIENCE)
        ledger.record(sent("b"), once_more)
        go.set()
        stopping.result(PATIENCE)
    assert [each.event.subscriber for each in ledger.events()] == ["b", "a"]
    assert ledger.state("a", "zone").bytes_sent == 1


def test_a_server_killed_in_mid_load_counts_nothing_twice_and_loses_nothing(real_part: Callable[[str], Path]) -> None:
    with (
        cluster(real_part, durable=True) as server,
        closing(open_ledger(server.url(server.database()))) as ledger,
        ThreadPoolExecutor(8) as pool,
    ):
        ended = threading.Event()

        def load(host: str) -> list[int]:
            numbers = []
            while not ended.is_set():
                ledger.record(sent(host), once_more)
                numbers.append(ledger.next_sequence("hq", "all"))
            return numbers

        loads = {host: pool.submit(load, host) for host in "abcdefgh"}
        try:
            for kills in range(1, 4):
                before = len(ledger.events(limit=100_000))
                deadline = time.monotonic() + PATIENCE
                while len(ledger.events(limit=100_000)) < before + 20 * kills:
                    assert time.monotonic() < deadline
                server.stop(signal.SIGQUIT)
                server.start()
        finally:
            ended.set()
        found = {host: each.result(60) for host, each in loads.items()}
        given = [number for numbers in found.values() for number in numbers]
        assert len(set(given)) == len(given)
        assert max(given) == len(given), "nor was one given that nobody got"
        for host, numbers in found.items():
            assert ledger.state(host, "zone").bytes_sent == len(ledger.events(subscriber=host, limit=100_000)) == len(numbers)


def test_a_server_that_stays_away_is_an_error_that_says_what_to_do(
    real_part: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.ledger.database.RECONNECT_SECONDS", 0.2)
    with cluster(real_part) as server, closing(open_ledger(server.url(server.database()))) as ledger:
        ledger.next_sequence("hq", "a")
        server.stop()
        for call in (lambda: ledger.next_sequence("hq", "a"), lambda: ledger.state("a", "zone")):
            with pytest.raises(LedgerError, match="see that the server runs"):
                call()
        server.start()
        assert ledger.next_sequence("hq", "a") == 2
