"""What a killed demo left is ended by the next one: the very same processes and what they started, nothing else."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from demo.leftovers import StartedProcesses, start_time

SLEEP = "import time; print(flush=True); time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).wait()"


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """One that sleeps, and one whose child does."""
    with ExitStack() as held:
        started = []
        for code in (SLEEP, PARENT):
            process = held.enter_context(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
            held.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            started.append(process)
        yield started


def test_what_was_started_is_ended_with_its_children(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    started = StartedProcesses(tmp_path / "started")
    (child,) = psutil.Process(processes[1].pid).children()
    for process in processes:
        started.note("a sleep", process.pid)
    assert started.end_remaining() == [f"a sleep (pid {process.pid})" for process in processes]
    psutil.wait_procs([child], timeout=60)
    for ended in (*(process.pid for process in processes), child.pid):
        assert not psutil.pid_exists(ended) or psutil.Process(ended).status() == psutil.STATUS_ZOMBIE
    assert started.end_remaining() == []


def test_another_process_of_that_pid_is_left_alone(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    started = StartedProcesses(tmp_path / "started")
    other = processes[0]
    began = start_time(other.pid)
    assert began is not None
    started.path.write_text(f"{other.pid} {began - 1} sluice up\n{other.pid} None sluice up\n{2**22 + 1} None gone\n{other.pid} {began}")
    assert started.end_remaining() == []
    assert other.poll() is None


def test_the_start_time_is_that_of_the_process() -> None:
    assert start_time(psutil.Process().pid) is not None
    assert start_time(2**22 + 1) is None
