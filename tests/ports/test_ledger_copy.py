"""A ledger is copied whole from one database to another, or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.ledger import copying
from infra.ledger.copying import Copied, copy_ledger
from infra.ledger.sql import SqlLedger, at_work, open_ledger
from infra.ledger.tables import SCHEMA_VERSION
from sluice.errors import LedgerError
from sluice.model.assignment import Assignment
from sluice.model.belief import Belief, Machine
from sluice.model.event import Event, EventKind
from sluice.model.revision import RevisionNumber
from sluice.model.state import Built
from sluice.ports import Ledger

NOW = datetime(2026, 12, 1, tzinfo=UTC)
V1 = RevisionNumber.parse("1.1")
NAMES = ("a", "B", "ä", "a-b", "a b", "z", "Z", "\U0001f600", "0")
"""Which a database's own language sorts in another order than their bytes."""


def filled(place: str | Path) -> str:
    """Make a ledger with rows in every table; its tickets' leases have ended."""
    with closing(open_ledger(place)) as ledger:
        for number, name in enumerate(NAMES * 3):
            event = Event(NOW, EventKind.SENT, "hq", "zone", V1, name, data={"bytes": 1 << 40, "message": f'"{name}"\u00e4'})
            ledger.record(event, lambda state, number=number: replace(state, bytes_sent=number, reason="ö\n'x'", since=NOW))  # type: ignore[misc]
            ledger.next_sequence("hq", name)
        ledger.record(Event(NOW, EventKind.BUILT, distribution="zone", revision=V1), built=Built("zone", V1, NOW, 7, 1 << 40))
        ledger.record(Event(NOW, EventKind.BUILD_FAILED, distribution="tools", data={"code": "SourceMissingError", "message": "gone"}))
        ledger.request_cancel("zone", at=NOW)
        machines = (Machine("i", "host", "address", NOW),)
        ledger.believe("hq", "a", Belief(NOW, "1.0", "key", "/srv", 3, machines), [], {})
        ledger.enqueue("hq", Assignment("a", "zone", V1), "run", lease_seconds=30, now=NOW - timedelta(hours=1))
    return str(place)


@pytest.fixture
def source(tmp_path: Path) -> str:
    return filled(tmp_path / "old" / "ledger.db")


def copied(source: str, target: str, *, dry_run: bool = False, now: datetime = NOW) -> Copied:
    return copy_ledger(source, target, now=now, dry_run=dry_run, progress=lambda *_: None)


def contents(ledger: Ledger) -> tuple[object, ...]:
    return ledger.snapshot(), ledger.events(), ledger.known("hq", "a"), ledger.state("B", "zone")


def seen(path: str) -> tuple[str, int]:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest(), os.stat(path).st_mtime_ns


def test_everything_is_there_the_source_is_untouched_and_numbers_go_on(source: str, place: str) -> None:
    before = seen(source)
    done = copied(source, place)
    assert (seen(source), done.was_there) == (before, False)
    rows = {each.table: each.rows for each in done.tables}
    assert min(rows[name] for name in ("events", "states", "beliefs", "failing", "built", "sequences", "cancels", "tickets", "queues")) > 0
    with closing(open_ledger(source)) as old, closing(open_ledger(place)) as new:
        assert contents(new) == contents(old)
        last = old.events(limit=1, newest_first=True)[0].number
        new.record(Event(NOW, EventKind.SENT, "hq", "zone", V1, "a"))
        assert new.events(limit=1, newest_first=True)[0].number == last + 1
        assert new.next_sequence("hq", "a") == 4
        new.enqueue("hq", Assignment("b", "zone", V1), "run", lease_seconds=30, now=NOW)


def test_and_back(source: str, place: str, tmp_path: Path) -> None:
    there = copied(source, place)
    back = copied(place, str(tmp_path / "new" / "ledger.db"))
    assert back.tables == there.tables
    with closing(open_ledger(source)) as old, closing(open_ledger(tmp_path / "new" / "ledger.db")) as new:
        assert contents(new) == contents(old)


def test_a_repetition_finds_it_equal_until_somebody_wrote(source: str, place: str) -> None:
    first = copied(source, place)
    again = copied(source, place)
    assert (again.was_there, again.tables) == (True, first.tables)
    with closing(open_ledger(place)) as new:
        new.next_sequence("hq", "a")
    for dry_run in (True, False):
        with pytest.raises(LedgerError, match=r"isn't empty: name a new database"):
            copied(source, place, dry_run=dry_run)


def test_a_target_with_empty_tables_is_empty(source: str, place: str) -> None:
    open_ledger(place).close()
    assert not copied(source, place).was_there


def test_a_dry_run_makes_nothing(source: str, place: str, tmp_path: Path) -> None:
    looked = copied(source, place, dry_run=True)
    assert not looked.was_there
    assert not (tmp_path / "hq").exists()
    assert looked.tables == copied(source, place).tables


@pytest.mark.parametrize("which", ["source", "target"])
@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_another_version_is_refused_and_not_upgraded(source: str, tmp_path: Path, which: str, version: int) -> None:
    target = str(tmp_path / "new.db")
    open_ledger(target).close()
    path = {"source": source, "target": target}[which]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE schema_version SET version = ?", (version,))
    before = seen(source), seen(target)
    with pytest.raises(LedgerError, match=f"has schema version {version}"):
        copied(source, target)
    assert (seen(source), seen(target)) == before


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN"])
def test_a_source_that_somebody_reads_or_writes_is_refused(source: str, place: str, monkeypatch: pytest.MonkeyPatch, begin: str) -> None:
    monkeypatch.setattr(copying, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(source, isolation_level=None)) as other:
        other.execute(begin)
        other.execute("SELECT count(*) FROM events").fetchone()
        with pytest.raises(LedgerError, match="stayed locked by another process"):
            copied(source, place)
    assert not copied(source, place).was_there


def test_a_flow_run_at_work_is_refused(source: str, place: str) -> None:
    with pytest.raises(LedgerError, match="a flow run has positions in its send queue: end `sluice up`"):
        copied(source, place, now=NOW - timedelta(hours=1))


def test_a_run_at_work_is_refused_before_it_has_written_anything(source: str, place: str, tmp_path: Path) -> None:
    with at_work(source), at_work(source):  # as many as there are
        with pytest.raises(LedgerError, match="in use: a run works with it"):
            copied(source, place)
        assert not (tmp_path / "hq").exists()
    assert not copied(source, place).was_there


def test_no_run_begins_while_the_ledger_is_copied(source: str, place: str) -> None:
    refused = []

    def progress(*_: object) -> None:
        with pytest.raises(LedgerError, match="being copied") as error, at_work(source):
            pass
        refused.append(error)

    copy_ledger(source, place, now=NOW, progress=progress)
    assert refused
    with at_work(source):
        pass


@pytest.mark.parametrize("missing", ["nowhere/ledger.db", "ledger.db"])
def test_a_ledger_that_is_not_there_yet_holds_up_nobody(missing: str, tmp_path: Path) -> None:
    with at_work(str(tmp_path / missing)):
        assert list(tmp_path.iterdir()) == []


def test_a_source_that_is_missing_or_no_ledger_is_refused_and_nothing_is_made(place: str, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        copied(str(tmp_path / "none.db"), place)
    sqlite3.connect(tmp_path / "other.db").close()
    with pytest.raises(LedgerError, match="holds no ledger"):
        copied(str(tmp_path / "other.db"), place)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("by", ["its name", "a link", "a hard link"])
def test_a_ledger_is_not_copied_onto_itself(by: str, source: str) -> None:
    target = Path(source).with_name("linked.db")
    if by == "a link":
        target.symlink_to(source)
    elif by == "a hard link":
        target.hardlink_to(source)
    else:
        target = Path(source)
    with pytest.raises(LedgerError, match="is source and target"):
        copied(source, f"sqlite:///{target}")


def test_a_row_that_does_not_read_back_undoes_everything(source: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = copying._rows

    def wrong(connection, found):  # type: ignore[no-untyped-def]
        lies = found.name == "states" and "old" not in str(connection.engine.url)
        return ((*row[:-1], "doubt") if lies else row for row in rows(connection, found))

    with monkeypatch.context() as patch:
        patch.setattr(copying, "_rows", wrong)
        with pytest.raises(LedgerError, match="states differs"):
            copied(source, place)
    assert not copied(source, place).was_there, "nothing of it was kept"


COPY = """
import os, signal, sys
from datetime import UTC, datetime
from infra.ledger import copying
copying.BATCH = 5
left = [int(sys.argv[3])]
def progress(*_):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
copying.copy_ledger(sys.argv[1], sys.argv[2], now=datetime(2026, 12, 1, tzinfo=UTC), progress=progress)
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 7])
def test_a_copy_that_was_killed_has_left_nothing_and_is_repeated(source: str, place: str, at: int) -> None:
    before = seen(source)
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", COPY, source, place, str(at)], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    done = copied(source, place)
    assert (done.was_there, seen(source)) == (False, before)


@pytest.mark.real
def test_a_postgresql_that_others_have_open_is_refused_as_source(source: str, postgres, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    name = postgres.database()
    url = postgres.url(name)
    copied(source, url)
    other = open_ledger(url)
    with closing(other):
        assert isinstance(other, SqlLedger)
        other.snapshot()
        with pytest.raises(LedgerError, match="in use by 1 other connection of"):
            copied(url, str(tmp_path / "back.db"))
    assert copied(url, str(tmp_path / "back.db")).tables
    postgres.drop(name)


@pytest.mark.real
def test_a_database_with_a_language_of_its_own_is_compared_by_bytes_too(source: str, postgres) -> None:  # type: ignore[no-untyped-def]
    name = postgres.database(more="LOCALE_PROVIDER icu ICU_LOCALE 'fi-FI'")
    assert not copied(source, postgres.url(name)).was_there
    postgres.drop(name)


@pytest.mark.real
def test_no_refusal_shows_a_password(source: str, postgres, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    caplog.set_level("DEBUG")
    secret = "hunter2-secret"  # the test's own
    latin = postgres.url(postgres.database(more="ENCODING 'LATIN1'"))
    for url in (postgres.url(postgres.database(), password=secret), f"postgresql://sluice:{secret}@127.0.0.1:1/ledger", latin):
        for one, other in ((source, url), (url, source)):
            with pytest.raises(LedgerError) as refused:
                copied(one, other)
            told = str(refused.value) + caplog.text
            assert secret not in told
            assert postgres.password not in told
