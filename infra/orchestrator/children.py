"""Child processes in the foreground: each is started with a log of its own, watched, and ended by its id."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import IO, NoReturn

import psutil

from sluice.errors import OrchestratorError

GRACE_SECONDS = 10.0
"""Time a child has to end by itself after SIGTERM."""
LOG_TAIL = 15
"""Lines of a dead child's log that the error shows."""
POLL_SECONDS = 0.2
_ENDING = frozenset((signal.SIGINT, signal.SIGTERM))


@dataclass(slots=True)
class Fork:
    """A process that was forked; as a ``subprocess.Popen``, as far as a ``Child`` needs one."""

    pid: int
    stdin: IO[bytes]
    returncode: int | None = field(default=None, init=False)

    def poll(self) -> int | None:
        """Its exit code once it has ended; negative: the signal."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # children are waited for by nobody here: SIGCHLD was ignored as this process started
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = inf) -> int:
        """The same, waited for. Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired((), timeout)
            time.sleep(0.005)
        return code

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Child:
    """A running child, leader of its own session, so that a terminal's Ctrl-C reaches only its parent."""

    name: str
    process: subprocess.Popen[bytes] | Fork
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


def fork_child(name: str, run: Callable[[], object], environment: Mapping[str, str], log: Path, *, inherits: Sequence[int]) -> Child:
    """Start a child that runs a function and ends: what was imported before needn't be imported there. Otherwise as ``start_child``.

    It watches. Only a process with a single thread can be forked: a lock that another thread holds would stay locked in the child.
    """
    watched, held = os.pipe()
    with log.open("wb") as output:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            if (pid := os.fork()) == 0:
                _run_as_child(run, environment, log.parent, (watched, output.fileno(), output.fileno()), inherits)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(watched)
    return Child(name, Fork(pid, os.fdopen(held, "wb")), log)


def _run_as_child(
    run: Callable[[], object], environment: Mapping[str, str], directory: Path, standard: Sequence[int], inherits: Sequence[int]
) -> NoReturn:
    code = 1
    try:
        os.setsid()
        for ending in _ENDING:
            signal.signal(ending, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        for number, fd in enumerate(standard):
            os.dup2(fd, number)
        for fd in map(int, os.listdir("/dev/fd")):
            if fd > 2 and fd not in inherits:
                with suppress(OSError):
                    os.close(fd)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        Context().run(run)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing of the parent's may go on here
        traceback.print_exc()
    finally:
        os._exit(code)


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
