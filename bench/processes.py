"""Run a whole process to measure its seconds and peak memory, and an agent's peak memory meanwhile."""

from __future__ import annotations

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
from unittest import mock

PROJECT = Path(__file__).parents[1]
_LOOK_SECONDS = 0.05


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


def run(command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end. Raises RuntimeError with its output if it failed."""
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
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output}\n{errors.read().decode(errors='replace')}")
    return Ended(began, seconds, usage.ru_maxrss * 1024, output)


class PeakWatch:
    """Watches the peak resident memory of processes in /proc: they are sshd's children, not ours."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self.peak = 0
        """Return the peak in bytes."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch until the block is left."""
        over = threading.Event()
        thread = threading.Thread(target=self._look, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look(self, over: threading.Event) -> None:
        while not over.wait(_LOOK_SECONDS):
            for pid in self._pids():
                self.peak = max(self.peak, peak_of(pid))


def peak_of(pid: int) -> int:
    """Return its memory in bytes; 0 if it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
