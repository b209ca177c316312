"""The schema of Prefect's SQLite database as its migrations leave it, so that a new one needs none of them: they take seven seconds.

``prefect_schema.sql`` is made by ``python -m infra.generate`` out of Prefect's own migrations. It is used with the release of Prefect that
it was made from, and with no other; a database that exists is Prefect's to migrate.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from sluice.durable import make_directory, temporary, write_all

SCHEMA_FILE = Path(__file__).with_name("prefect_schema.sql")

_URL = "PREFECT_API_DATABASE_CONNECTION_URL"
_CONSTRAINTS = re.compile(r"(?:^\tCONSTRAINT .*\n)+", re.MULTILINE)
_STAMPS = re.compile(r"^INSERT INTO alembic_version VALUES \('(\w+)'\);$", re.MULTILINE)
_STATEMENTS = """
    SELECT sql FROM (SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name)
    UNION ALL SELECT 'INSERT INTO alembic_version VALUES (' || quote(version_num) || ')' FROM alembic_version
"""


def create_database(database: Path) -> None:
    """Create Prefect's database, empty and migrated, if there is none and the schema is of the installed release.

    Otherwise Prefect makes it: also beside a journal of one that was removed, which SQLite would play back into ours, and drops for an
    empty file; and if ours can't be made.
    """
    schema = SCHEMA_FILE.read_text(encoding="utf-8")
    is_there = any(os.path.lexists(f"{database}{ending}") for ending in ("", "-wal", "-journal"))
    if is_there or not schema.startswith(_heading()):
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        content = connection.serialize()
    with suppress(OSError):  # another command was first, and may use it already; or the file system has no hard links
        make_directory(database.parent)
        with temporary(database.parent) as (fd, temp):
            write_all(fd, content)
            os.fsync(fd)
            os.link(temp, database)


def is_migrated(database: Path) -> bool:
    """Whether a database is as the installed release of Prefect would migrate it, as far as is known here."""
    schema = SCHEMA_FILE.read_text(encoding="utf-8")
    if not database.exists() or not schema.startswith(_heading()):
        return False
    with closing(sqlite3.connect(database)) as connection, suppress(sqlite3.Error):
        return [number for (number,) in connection.execute("SELECT version_num FROM alembic_version")] == _STAMPS.findall(schema)
    return False


def migrated_schema() -> str:
    """Return the statements that make what Prefect's migrations make of an empty database."""
    with tempfile.TemporaryDirectory() as home:
        database = Path(home, "prefect.db")
        environment = os.environ | {"PREFECT_HOME": home, _URL: f"sqlite+aiosqlite:///{database}"}
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        with closing(sqlite3.connect(database)) as connection:
            statements = [sql for (sql,) in connection.execute(_STATEMENTS)]
    text = "".join("\n".join(line.rstrip() for line in sql.splitlines()) + ";\n" for sql in statements)
    return _heading() + _CONSTRAINTS.sub(_in_order, text)


def _in_order(constraints: re.Match[str]) -> str:
    """Return a table's constraints by name: a migration that copies a table has them in the order of a set."""
    return ",\n".join(sorted(line.rstrip(",") for line in constraints[0].splitlines())) + "\n"


def _heading() -> str:
    return f"-- Made by Prefect {version('prefect')} (Apache-2.0): python -m infra.generate\n"
