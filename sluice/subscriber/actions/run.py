"""Running an action's command (F3, F4, F7) in a session of its own, with a fixed environment and a token in it, and ending it.

When a limit is over, its session and every process that carries its token in the environment are ended, first asked, then killed: a
child that started a session of its own doesn't escape; one that emptied its environment as well does, and outlives the limit. Processes
that a command left running when it ended by itself (daemons) are left alone, and so are our ancestors, such as a login whose server a
script started. ``action.py`` says which command an action runs.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from sluice.errors import ActionFailedError
from sluice.model.order import ActionReport
from sluice.subscriber.actions.processes import pids_text

OUTPUT_MAX = 4096
"""Bytes kept of an action's output: the last ones."""
GRACE = 5.0
"""Seconds between the request to end and the kill."""
TOKEN = "SLUICE_ACTION"  # noqa: S105 - the name of a variable
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POLL = 0.05
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Session:
    """Identifies an action's processes, beside its token."""

    leader: int
    boot: str
    start: int
    """Of the leader, in clock ticks since boot."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The processes of an action that were found and signalled."""

    signalled: Sequence[int]
    """PIDs, in order."""
    remaining: Sequence[int] = ()
    """Those that run all the same: in the kernel's hands, or another account's."""


@dataclass(frozen=True, slots=True)
class Command:
    """The command of an action."""

    words: Sequence[str]
    label: str
    phase: str
    token: str
    """In the environment of every process it starts."""
    environment: Mapping[str, str]
    started: Callable[[Session], None]
    """Called once its session is known."""


def environment(*, distribution: str, revision: str, subscriber: str, phase: str) -> dict[str, str]:
    """Return all environment variables of an action."""
    return {
        "PATH": SEARCH_PATH,
        "LANG": "C.UTF-8",
        "HOME": os.path.expanduser("~"),
        "SLUICE_DISTRIBUTION": distribution,
        "SLUICE_REVISION": revision,
        "SLUICE_SUBSCRIBER": subscriber,
        "SLUICE_PHASE": phase,
    }


def new_token() -> str:
    """Return a token for the environment of one action's processes; it is recorded before they start."""
    return secrets.token_hex(16)


def run_to_end(command: Command, limit: float) -> ActionReport:
    """Run a command and wait for it, at most ``limit`` seconds; then it is ended with everything it started.

    Raises:
        ActionFailedError: It can't be started.
    """
    started = time.monotonic()
    process = _start(command, subprocess.PIPE)
    remaining: Sequence[int] = ()
    try:
        command.started(_session(process.pid))
        output = _Output(process)
        while process.poll() is None and time.monotonic() - started < limit:
            output.take(POLL)
        exit_code = process.poll()
        if exit_code is None:
            remaining = _end(command.token, process.pid).remaining
        output.take(0)
    finally:
        if process.poll() is None:  # something went wrong on our side
            _end(command.token, process.pid)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:  # in the kernel's hands, or another account's
            _reap(process)
        if process.stdout is not None:
            process.stdout.close()
    text = output.text() + (f"\nstill running: PID {pids_text(remaining)}" if remaining else "")
    return ActionReport(command.phase, command.label, round(time.monotonic() - started, 3), exit_code, text)


def leave_running(command: Command) -> ActionReport:
    """Start a command and don't wait for it; its output is discarded.

    Raises:
        ActionFailedError: It can't be started.
    """
    started = time.monotonic()
    process = _start(command, subprocess.DEVNULL)
    try:
        command.started(_session(process.pid))
    except BaseException:  # nobody would know of it
        _end(command.token, process.pid)
        process.wait()
        raise
    _reap(process)
    return ActionReport(command.phase, command.label, round(time.monotonic() - started, 3), 0, f"runs with PID {process.pid}")


def end_action(token: str, session: Session | None) -> Ended:
    """End the processes that an action left running. Harmless if there are none."""
    is_known = session is not None and session.boot == _boot() and _start_time(session.leader) in (None, session.start)
    return _end(token, session.leader if is_known and session is not None else None)


def _start(command: Command, output: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(command.words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**command.environment, TOKEN: command.token},
            start_new_session=True,
            umask=0o022,
        )
    except OSError as error:
        raise ActionFailedError(f"{command.label} can't be started: {error.strerror}") from error


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process in the background, so that it leaves no zombie while we live."""
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()


def _session(leader: int) -> Session:
    return Session(leader, _boot(), _start_time(leader) or 0)


class _Output:
    """The last bytes a process printed, taken without waiting for its end: a daemon may keep the pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._fd = cast("IO[bytes]", process.stdout).fileno()
        os.set_blocking(self._fd, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._fd, selectors.EVENT_READ)
        self._kept = b""
        self._ended = False

    def take(self, wait: float) -> None:
        """Read all bytes there are, waiting at most so long for the first."""
        if self._ended:
            time.sleep(wait)
            return
        if not self._selector.select(wait):
            return
        with suppress(BlockingIOError):
            while len(piece := os.read(self._fd, 65536)) > 0:
                self._kept = (self._kept + piece)[-OUTPUT_MAX:]
            self._ended = True
            self._selector.close()

    def text(self) -> str:
        """Return it as text; bytes that are no UTF-8 become question marks."""
        return self._kept.decode(errors="replace").replace("\0", "?")


def _end(token: str, session: int | None) -> Ended:
    """Ask processes to end, then kill them. Looks again until none remains, since a process may start others meanwhile."""
    started = time.monotonic()
    signalled: dict[int, None] = {}
    while found := _processes(token, session):
        late = time.monotonic() - started > GRACE
        for pid in found:
            signalled[pid] = None
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        if time.monotonic() - started > 2 * GRACE:
            return Ended(tuple(signalled), tuple(found))
        time.sleep(POLL)
    return Ended(tuple(signalled))


def _processes(token: str, session: int | None) -> list[int]:
    """Return living processes of a session or with a token, except us and our ancestors."""
    mark, spared = f"{TOKEN}={token}".encode(), _ancestors()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in spared:
            continue
        with suppress(OSError):
            fields = _stat(int(name))
            if fields[0] in ("Z", "X"):
                continue
            if int(fields[3]) == session or mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
    return found


def _ancestors() -> set[int]:
    """Return our PID and those of all our ancestors."""
    found, pid = set[int](), os.getpid()
    with suppress(OSError):
        while pid not in found:
            found.add(pid)
            pid = int(_stat(pid)[1])
    return found


def _stat(pid: int) -> list[str]:
    """Return /proc/PID/stat from its third field on: state, parent, group, session, ..."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def _start_time(pid: int) -> int | None:
    try:
        return int(_stat(pid)[19])
    except (OSError, IndexError, ValueError):
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
