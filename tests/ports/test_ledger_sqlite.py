"""The ledger on SQLite: its file, its journal, its locks, and what is refused."""

import signal
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.ledger.sql import open_ledger
from sluice.errors import LedgerError
from sluice.model.event import Event, EventKind

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def test_the_file_is_its_owners_alone_and_has_a_rollback_journal(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.db"
    ledger = open_ledger(f"sqlite:///{path}")
    ledger.record(Event(NOW, EventKind.SENT))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("ledger.db-journal").stat().st_mode) == 0o600
    with ledger._database._writers.begin() as inside:
        assert inside.exec_driver_sql("PRAGMA synchronous").scalar() == 3
        assert inside.exec_driver_sql("PRAGMA journal_mode").scalar() == "persist"
    path.chmod(0o644)
    open_ledger(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_ledger_that_stays_locked_is_an_error_after_bounded_tries(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db", busy_seconds=0.01, tries=2)
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(LedgerError, match="stayed locked by another process"):
        ledger.next_sequence("hq", "a")
    with pytest.raises(LedgerError, match="stayed locked by another process"):
        ledger.state("a", "zone")
    holder.execute("ROLLBACK")
    holder.close()
    assert ledger.next_sequence("hq", "a") == 1


def test_what_is_no_ledger_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, and long enough to be read as one" * 100)
    with pytest.raises(LedgerError, match="restore it from a backup"):
        open_ledger(tmp_path / "text.db")
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="owner, mode and free space"):
        open_ledger(tmp_path / "file" / "ledger.db")
    open_ledger(tmp_path / "newer.db").close()
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("UPDATE schema_version SET version = 99")
    newer.commit()
    newer.close()
    with pytest.raises(LedgerError, match="schema version 99"):
        open_ledger(tmp_path / "newer.db")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://hq:hunter2@db/ledger",
        "postgresql+asyncpg://hq:hunter2@db/ledger",
        "sqlite://",
        "sqlite:///:memory:",
        "no url://",
        "mysql://hq:hunter2@db:x/l",
    ],
)
def test_other_databases_are_refused_without_showing_their_password(url: str) -> None:
    with pytest.raises(LedgerError) as caught:
        open_ledger(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("act", ["read", "write", "open"])
def test_ctrl_c_is_heard_while_it_is_locked(act: str, tmp_path: Path) -> None:
    def pressed(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    path, patient = tmp_path / "ledger.db", 100_000.0
    before = signal.signal(signal.SIGALRM, pressed)
    with closing(open_ledger(path, busy_seconds=patient)) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        acts = {
            "read": ledger.snapshot,
            "write": lambda: ledger.next_sequence("hq", "a"),
            "open": lambda: open_ledger(path, busy_seconds=patient),
        }
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                acts[act]()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            other.execute("ROLLBACK")
