"""Child processes in the foreground: each is started with a log of its own, watched, and ended by its id."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from sluice.errors import OrchestratorError

GRACE_SECONDS = 10.0
"""Time a child has to end by itself after SIGTERM."""
LOG_TAIL = 15
"""Lines of a dead child's log that the error shows."""
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Child:
    """A running child, leader of its own session, so that a terminal's Ctrl-C reaches only its parent."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None


def start_child(
    name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, *, inherits: Sequence[int] = (), watches: bool = False
) -> Child:
    """Start a child whose output goes to ``log``, which is emptied first.

    Args:
        inherits: Descriptors that it gets under the same numbers.
        watches: Its standard input is open until ``end``, or until this process has ended in whatever way.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.PIPE if watches else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            start_new_session=True,
            pass_fds=inherits,
        )
    return Child(name, process, log)


def check(children: Sequence[Child]) -> None:
    """Raise OrchestratorError if one of them has ended, with the last lines it wrote."""
    for child in children:
        if child.ended:
            raise OrchestratorError(
                f"{child.name} ended with exit code {child.process.returncode}:\n{tail(child.log)}", remedy=f"read its log, {child.log}"
            )


def end(children: Sequence[Child]) -> None:
    """End children, last started first: SIGTERM to each, then SIGKILL to the sessions of those that remain."""
    for child in reversed(children):
        with suppress(ProcessLookupError):
            child.process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for child in reversed(children):
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, deadline - time.monotonic()))
        # Flow runs are children of a worker's; the session is ours, so its id can't be another's while we hold the process.
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        if child.process.stdin is not None:
            child.process.stdin.close()


def end_leftovers(pids: Sequence[int], *, marked: Mapping[str, str]) -> None:
    """End children of a parent that was killed: only processes whose environment has every variable of ``marked``."""
    found = []
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            environment = process.environ()
            if all(environment.get(key) == value for key, value in marked.items()):
                process.terminate()
                found.append(process)
    _, alive = psutil.wait_procs(found, timeout=GRACE_SECONDS)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    with suppress(OSError):
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-LOG_TAIL:])
    return ""
