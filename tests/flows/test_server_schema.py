"""A new database of Prefect is made from the schema that its migrations make, which `make check` makes again and compares (ADR 0026)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import prefect.server.database
import pytest
from alembic.script import ScriptDirectory

from infra.orchestrator import server_schema
from infra.orchestrator.server_schema import create_database, is_migrated


def test_prefect_finds_nothing_to_migrate_in_a_new_database(tmp_path: Path) -> None:
    database = tmp_path / "home" / "prefect.db"
    create_database(database)
    migrations = Path(prefect.server.database.__file__).parent / "_migrations"
    scripts = ScriptDirectory(str(migrations), version_locations=[str(migrations / "versions" / "sqlite")])
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(scripts.get_current_head(),)]


def test_only_a_database_of_the_installed_release_needs_no_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old, empty, other = (tmp_path / name for name in ("new", "old", "empty", "other"))
    create_database(new)
    create_database(old)
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'before'")
        connection.commit()
    empty.touch()
    other.write_bytes(b"no database at all, whatever its name says")
    assert [is_migrated(path) for path in (new, old, empty, other, tmp_path / "missing")] == [True, False, False, False, False]
    assert not (tmp_path / "missing").exists()
    monkeypatch.setattr(server_schema, "version", lambda _: "3.8.9")
    assert not is_migrated(new)


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_beside_the_journal_of_one_that_was_removed_prefect_makes_it(tmp_path: Path, ending: str) -> None:
    journal = tmp_path / f"prefect.db{ending}"  # SQLite would play it back into a database that has content already
    journal.write_bytes(b"left")
    create_database(tmp_path / "prefect.db")
    assert list(tmp_path.iterdir()) == [journal]


def test_without_hard_links_prefect_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.link", Mock(side_effect=PermissionError))  # as FAT says
    create_database(tmp_path / "prefect.db")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_exists_is_left_to_prefect(tmp_path: Path) -> None:
    database = tmp_path / "prefect.db"
    database.write_bytes(b"")
    create_database(database)
    assert database.read_bytes() == b""


def test_another_release_of_prefect_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_schema, "version", lambda _: "3.8.9")
    create_database(tmp_path / "prefect.db")
    assert list(tmp_path.iterdir()) == []


def test_one_that_another_command_makes_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "prefect.db"
    monkeypatch.setattr(server_schema, "write_all", lambda *_: database.write_bytes(b"theirs"))
    create_database(database)
    assert database.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [database]
