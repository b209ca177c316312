"""Run a whole process to measure its seconds and peak memory, and an agent's peak memory meanwhile."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

PROJECT = Path(__file__).parents[1]
_LOOK_SECONDS = 0.05


class NotMeasuredError(RuntimeError):
    """There is no figure; the last line of the message says why."""


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of Prefect and Sluice, with this checkout as a source of imports."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "SLUICE_"))} | {"PYTHONPATH": str(PROJECT)}


@contextmanager
def prefect_server(directory: Path, site: Path) -> Iterator[dict[str, str]]:
    """Start a Prefect server for a site, and return the environment of a process that uses it."""
    from infra.orchestrator.embedded import reached

    state = {"SLUICE_STATE": str(directory / "state"), "PREFECT_HOME": str(directory / "prefect"), "DO_NOT_TRACK": "1"}
    with mock.patch.dict(os.environ, clean_environment() | state, clear=True), reached(site, say=lambda _: None) as address:
        yield dict(os.environ) | {"SLUICE_SITE": str(site), "PREFECT_API_URL": address.api_url}


def cpu(who: int) -> float:
    """Return CPU seconds, user and system, of this process or its children."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def last_line(output: str) -> str:
    """Return the last line of a tool's errors, without addresses."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    wanted = [line for line in lines if "rror" in line or line.startswith("E:")] or lines or ["it failed without a message"]
    return " ".join(word for word in wanted[-1].split() if "://" not in word)[:300]


def run_tool(command: Sequence[str], *, seconds: float, directory: Path | None = None) -> str:
    """Run another tool and return its output. Raises NotMeasuredError if it is missing, fails or takes too long."""
    name = Path(command[0]).name
    try:
        return subprocess.run(
            command, cwd=directory, check=True, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL
        ).stdout
    except FileNotFoundError:
        raise NotMeasuredError(f"{name} isn't installed") from None
    except subprocess.TimeoutExpired:
        raise NotMeasuredError(f"{name} took more than {seconds:g} s") from None
    except subprocess.CalledProcessError as error:
        raise NotMeasuredError(f"{name}: {last_line(error.stderr)}") from error


def write_agent(directory: Path) -> None:
    """Write an agent that runs from this checkout."""
    directory.mkdir(parents=True, mode=0o700)
    (directory / "sluice-agent").write_text(f'#!/bin/sh\ncd {PROJECT} && exec {sys.executable} -m agents.main "$@"\n')
    (directory / "sluice-agent").chmod(0o700)


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that succeeded."""

    began: float
    """CLOCK_MONOTONIC before its start, which is the same in all processes of this machine."""
    seconds: float
    peak: int
    """Bytes of resident memory at most."""
    output: str

    @property
    def figures(self) -> Any:
        """Return what it measured itself: its last line, JSON."""
        return json.loads(self.output.splitlines()[-1])


def run(command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end. Raises NotMeasuredError with its output if it failed."""
    with open(log, "w+b") as errors:
        began = time.monotonic()
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        with process.stdout as stdout:
            output = stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            raise NotMeasuredError(
                f"{' '.join(command)} ended with {process.returncode}:\n{output}\n{errors.read().decode(errors='replace')}"
            )
    return Ended(began, seconds, usage.ru_maxrss * 1024, output)


@contextmanager
def watched_peak(pids: Callable[[], Iterable[int]]) -> Iterator[Callable[[], int]]:
    """Watch the peak resident memory of processes in /proc, since sshd's children aren't ours; yields a function that returns its bytes."""
    over, peaks = threading.Event(), [0]

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            peaks[0] = max([*peaks, *map(peak_of, pids())])

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: peaks[0]
    finally:
        over.set()
        thread.join()


def peak_of(pid: int) -> int:
    """Return its memory in bytes; 0 if it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
