"""Pre and post actions on a Subscriber (F3, F7, F9): scripts, with a limit on them and on everything they started.

A script runs in a session of its own with a fixed environment, its text in a file that only we can read, never through a shell string.
When the limit is over, its session and every process that carries its token in the environment are ended, first asked, then killed: a
child that started a session of its own doesn't escape; one that emptied its environment as well does, and outlives the limit. What a
script left running when it ended by itself (a daemon) is left alone.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from sluice.durable import replace_atomically
from sluice.errors import ActionFailedError
from sluice.model.action import ACTION_TIMEOUT, Action, ScriptType
from sluice.model.order import ActionReport

OUTPUT_MAX = 4096
"""Bytes kept of what an action prints: the last ones."""
GRACE = 5.0
"""Seconds between the request to end and the kill."""
TOKEN = "SLUICE_ACTION"  # noqa: S105 - the name of a variable
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Session:
    """What finds an action's processes again, beside its token."""

    leader: int
    boot: str
    start: int
    """Of the leader, in clock ticks since boot."""


def environment(*, distribution: str, revision: str, subscriber: str, phase: str) -> dict[str, str]:
    """All that a script finds set."""
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "HOME": os.path.expanduser("~"),
        "SLUICE_DISTRIBUTION": distribution,
        "SLUICE_REVISION": revision,
        "SLUICE_SUBSCRIBER": subscriber,
        "SLUICE_PHASE": phase,
    }


def check_action(action: Action) -> None:
    """Before anything is touched. Raises ActionFailedError where its script file is none."""
    if action.path and not (action.path.startswith("/") and Path(action.path).is_file()):
        raise ActionFailedError(
            f"script ({action.type}): {action.path} is no file on this Subscriber", remedy="name an existing file by its full path"
        )


def new_token() -> str:
    """For the environment of one action's processes; put it on record before they start."""
    return secrets.token_hex(16)


def run_action(
    action: Action,
    *,
    phase: str,
    token: str,
    scratch: Path,
    environment: Mapping[str, str],
    limit: float = ACTION_TIMEOUT,
    started: Callable[[Session], None] = lambda _: None,
) -> ActionReport:
    """Run one action and wait for it.

    Args:
        phase: ``pre``, ``post``, or ``undo`` for the action's undo text.
        scratch: A directory of ours for the script's text.
        limit: Seconds until it is ended with everything it started.
        started: Told once its session is known.
    Returns:
        How it went; ``exit_code`` is None where the limit ended it. A failure is the caller's to judge.
    Raises:
        ActionFailedError: It can't be started.
    """
    if phase != "undo" and action.path:
        return _run(action, Path(action.path), phase, token, environment, limit, started)
    path = scratch / f"script-{token}"
    replace_atomically(path, (action.undo if phase == "undo" else action.run).encode(), mode=0o700)
    try:
        return _run(action, path, phase, token, environment, limit, started)
    finally:
        path.unlink(missing_ok=True)  # a script may remove itself


def needs_undo(action: Action) -> bool:
    """Whether its author gave something that takes it back."""
    return action.undo not in ("", "none")


def end_action(token: str, session: Session | None) -> None:
    """End what a killed agent's action left running. Harmless where nothing is."""
    known = session is not None and session.boot == _boot() and _start_time(session.leader) in (None, session.start)
    _end(token, session.leader if known and session is not None else None)


def _run(
    action: Action,
    path: Path,
    phase: str,
    token: str,
    environment: Mapping[str, str],
    limit: float,
    started: Callable[[Session], None],
) -> ActionReport:
    interpreter = ["/bin/sh"] if action.type is ScriptType.SHELL else [sys.executable or "python3", "-I"]
    begun = time.monotonic()
    try:
        process = subprocess.Popen(
            [*interpreter, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**environment, TOKEN: token},
            start_new_session=True,
            umask=0o022,
        )
    except OSError as error:
        raise ActionFailedError(f"{action.label} can't be started: {error.strerror}") from error
    try:
        started(Session(process.pid, _boot(), _start_time(process.pid) or 0))
        output = _Output(process)
        while process.poll() is None and time.monotonic() - begun < limit:
            output.take(_POLL)
        exit_code = process.poll()
        if exit_code is None:
            _end(token, process.pid)
        output.take(0)
    finally:
        if process.poll() is None:  # something went wrong on our side
            _end(token, process.pid)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return ActionReport(phase, action.label, round(time.monotonic() - begun, 3), exit_code, output.text())


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
        """Read what there is, waiting at most so long for the first byte."""
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
        """As text; what is no UTF-8 becomes question marks."""
        return self._kept.decode(errors="replace").replace("\0", "?")


def _end(token: str, session: int | None) -> None:
    """Ask, then kill. Looks again until nobody is left, since a process may start others meanwhile."""
    asked = time.monotonic()
    while found := _processes(token, session):
        late = time.monotonic() - asked > GRACE
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        if time.monotonic() - asked > 2 * GRACE:
            return  # in the kernel's hands: it can't be killed now
        time.sleep(_POLL)


def _processes(token: str, session: int | None) -> list[int]:
    """Living processes of a session or with a token."""
    mark = f"{TOKEN}={token}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):
            fields = _stat(int(name))
            if fields[0] in ("Z", "X"):
                continue
            if int(fields[3]) == session or mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
    return found


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from its third field on: state, parent, group, session, ..."""
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
