"""A real PostgreSQL of the tests' own: a new cluster in a temporary directory, on a port of loopback.

One ``Cluster`` is one server, started as our child and ended by its pid; PostgreSQL refuses to run as root, so as root it runs as the
package's user ``postgres``, in a directory of that user's. Each test takes a new database (``database()``). What the operating system's
package made (its own cluster, its service) is neither started nor touched. Take it from the fixture ``postgres``; a test that
kills the server, or asks for durability, makes its own by ``cluster(..., durable=True)``.
"""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.system.sshd import free_port

START_WAIT = 90.0
"""Seconds a server has to answer, or to end."""
USER = "sluice"
"""Owns every database of a test; no superuser."""
MEMORY, MEMORY_LEAST = Path("/dev/shm"), 1 << 30
INITDB = ("-E", "UTF8", "--locale=C", "--no-sync")


@dataclass
class Cluster:
    """One server. ``directory`` holds all that is its own; passwords are needed."""

    directory: Path
    program: Path
    port: int
    durable: bool
    account: dict[str, Any]
    password: str = field(default_factory=lambda: secrets.token_hex(12), repr=False)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    def start(self) -> None:
        """Run it in the foreground as our child; returns when it answers."""
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "log_min_messages": "warning"}
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(self.program), "-D", str(self.directory / "data"), "-p", str(self.port), *options],
                stderr=log,
                stdout=log,
                **self.account,
            )
        deadline = time.monotonic() + START_WAIT
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL didn't start:\n{(self.directory / 'log').read_text()}") from error
                time.sleep(0.02)
            else:
                return

    def stop(self, number: int = signal.SIGINT) -> None:
        """End the server: by SIGINT as ``pg_ctl -m fast`` does, by SIGQUIT as ``-m immediate``: no goodbye, and recovery when it starts."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(START_WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(START_WAIT)
        self.process = None

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the superuser; its rows."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user="postgres", password=self.password, autocommit=True, connect_timeout=5
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self, *, more: str = "") -> str:
        """The name of a new database of ``USER``; ``more`` are words of CREATE DATABASE."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} OWNER {USER} TEMPLATE template0 {more}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, and end who uses it."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str, *, password: str | None = "", scheme: str = "postgresql") -> str:
        """Of a database, as ``USER``; without a password where it is None."""
        secret = "" if password is None else f":{password or self.password}"
        return f"{scheme}://{USER}{secret}@127.0.0.1:{self.port}/{database}"


def _account() -> dict[str, Any]:
    """Who runs the server, as arguments of Popen."""
    if os.geteuid() != 0:
        return {}
    found = pwd.getpwnam("postgres")
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": [], "cwd": "/"}


@contextmanager
def cluster(real_part: Callable[[str], Path], *, durable: bool = False) -> Iterator[Cluster]:
    """A new server, answering; ended, with all its files gone, on leaving."""
    initdb, program = real_part("initdb"), real_part("postgres")
    account = _account()
    # Not pytest's directory: that one is closed to other users. In memory where there is room: a database is 300 files.
    roomy = not durable and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_LEAST
    directory = Path(tempfile.mkdtemp(prefix="sluice-tests-postgres-", dir=MEMORY if roomy else None))
    made = Cluster(directory, program, free_port(), durable, account)
    try:
        secret = directory / "password"
        secret.write_text(made.password)
        if account:
            for path in (directory, secret):
                os.chown(path, account["user"], account["group"])
        subprocess.run(
            [str(initdb), "-D", str(directory / "data"), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}", *INITDB],
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=180,
            **account,
        )
        made.start()
        made.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{made.password}'")
        yield made
    finally:
        made.stop(signal.SIGQUIT)  # nothing of it is kept
        shutil.rmtree(directory)
