"""A command that finds no server starts one for itself: what it did is in Prefect's database, and nothing stays (ADR 0032)."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.cli.real_site import PROJECT, RealSite

pytestmark = pytest.mark.slow
D = """\
---
kind: Distribution
name: d
distributor: hq
type: file
channels: [web]
extract: immediately
files:
  - {source: src, destination: "{{ LOCAL_DIRECTORY }}/tree"}
"""
ENDED = 240
"""Seconds after which a process that was left alone counts as staying."""


class Place:
    """A site whose state directory is new."""

    def __init__(self, directory: Path) -> None:
        self.real = RealSite(directory / "site")
        (self.real.directory / "src").mkdir()
        (self.real.directory / "src/a").write_text("Sluice put this file here.\n")
        self.real.write(D)
        self.state = directory / "state"
        self.database = self.state / "prefect/prefect.db"

    def begin(self, distribution: str = "d") -> subprocess.Popen[str]:
        hidden = ("PREFECT_", "SLUICE_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        environment |= {"SLUICE_STATE": str(self.state), "SLUICE_SITE": str(self.real.directory), "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-m", "cli.main", "distribute", distribution, "--force"]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def rows(self, query: str) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def left(self) -> list[psutil.Process]:
        """Processes that have this site's state directory in their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get("SLUICE_STATE") == str(self.state):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def until(line: str, stream: IO[str] | None) -> None:
    assert stream is not None
    said = ""
    while line not in said:
        said = stream.readline()
        assert said, f"it ended before it said {line!r}"


def test_a_run_without_a_server_is_seen_in_prefect_with_all_its_tasks_states_events_and_logs(place: Place) -> None:
    process = place.begin()
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "installed" in out
    assert place.left() == []

    assert place.rows("SELECT name, state_type FROM flow_run") == [("distribute d 1.1 → 1 Subscriber", "COMPLETED")]
    tasks = place.rows("SELECT name, state_type FROM task_run ORDER BY name")
    assert tasks == [(name, "COMPLETED") for name in ("build d", "extract d 1.1 on s1", "send d 1.1 to s1", "sign d", "stage d 1.1 on s1")]
    states = "SELECT r.name, s.type FROM {0}_run r JOIN {0}_run_state s ON s.{0}_run_id = r.id ORDER BY r.name, s.timestamp"
    ways = ("PENDING", "RUNNING", "COMPLETED")
    assert place.rows(states.format("task")) == [(name, state) for name, _ in tasks for state in ways]
    assert [state for _, state in place.rows(states.format("flow"))] == list(ways)
    events = set(place.rows("SELECT resource_id, event FROM events"))
    for kind in ("task", "flow"):
        for run, end in place.rows(f"SELECT id, state_name FROM {kind}_run"):
            named = {event for resource, event in events if resource.replace("-", "").endswith(run.replace("-", ""))}
            assert {f"prefect.{kind}-run.{state}" for state in ("Pending", "Running", end)} <= named
    logs = {message for (message,) in place.rows("SELECT message FROM log")}
    assert "Finished in state Installed('distribute d: 1 of 1 Subscriber done', type=COMPLETED)" in logs
    assert any(message.startswith("s1 ← d 1.1: installed") for message in logs)


def test_killed_at_any_point_it_leaves_nothing_running_and_a_database_that_the_next_one_uses(place: Place) -> None:
    def begun() -> bool:
        return True

    points: list[tuple[str, Callable[[], bool]]] = [
        ("no Prefect server runs", begun),
        ("no Prefect server runs", place.database.exists),
        ("d 1.1: 1 file", begun),
        ("d: no change since 1.1", begun),
        ("s1 ← d 1.1", begun),
    ]
    for line, is_there in points:
        process = place.begin()
        until(line, process.stderr)
        while not is_there():
            time.sleep(0.005)
        started = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        _, alive = psutil.wait_procs([*started, *place.left()], timeout=ENDED)  # also one that it began to start meanwhile
        assert not alive, f"after {line!r}"
        assert place.left() == []
        if place.database.exists():
            assert place.rows("PRAGMA integrity_check") == [("ok",)]
    process = place.begin()
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert place.rows("SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'")[0][0] >= 1


@pytest.mark.parametrize(
    ("number", "line"),
    [(signal.SIGTERM, "no Prefect server runs"), (signal.SIGINT, "no Prefect server runs"), (signal.SIGTERM, "d 1.1: 1 file")],
)
def test_ended_while_the_server_starts_or_in_a_run_it_says_so_and_ends_the_server(place: Place, number: signal.Signals, line: str) -> None:
    process = place.begin()
    until(line, process.stderr)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 128 + number, err
    assert err.endswith(f"sluice: {'terminated' if number == signal.SIGTERM else 'interrupted'}; every step may be repeated\n")
    assert place.left() == []
    if line != "no Prefect server runs":
        assert place.rows("SELECT state_type FROM flow_run") == [("CRASHED",)]


def test_two_commands_at_once_each_start_a_server_on_the_one_new_database_and_both_runs_are_seen(place: Place) -> None:
    place.real.write(D + D.replace("name: d", "name: e").replace("/tree", "/other"))
    processes = [place.begin("d"), place.begin("e")]
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert place.left() == []
    assert place.rows("PRAGMA integrity_check") == [("ok",)]
    found = place.rows("SELECT name, state_type FROM flow_run ORDER BY name")
    assert found == [(f"distribute {name} 1.1 → 1 Subscriber", "COMPLETED") for name in ("d", "e")]
    assert place.rows("SELECT state_type, count(*) FROM task_run GROUP BY 1") == [("COMPLETED", 10)]


def test_a_server_that_is_killed_ends_the_command_with_a_sentence(place: Place) -> None:
    process = place.begin()
    until("no Prefect server runs", process.stderr)
    me = psutil.Process(process.pid)
    while not (started := me.children()):
        time.sleep(0.005)
    started[0].kill()
    _, err = process.communicate()
    assert process.returncode == 11, err
    assert "the Prefect server ended with exit code -9" in err
    assert place.left() == []
