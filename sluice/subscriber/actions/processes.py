"""Finding the processes of this host that an action is about (F4, F5), by psutil, which is imported when it is needed.

Counted are living processes of our own PID namespace: no zombies, no containers' processes, no kernel threads. A process has the names
of its executable and of its first argument; one that an interpreter runs has its script's name instead, as ``ps`` shows it. The kernel
cuts the name it keeps at 15 bytes, so that one of that length is never compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.errors import ActionFailedError
from sluice.rules.interpreters import LINE_MAX, interpreter

if TYPE_CHECKING:
    from types import ModuleType

    from psutil import Process

COMM_MAX = 15
"""Bytes of a process's name that the kernel keeps."""
NAMED_MAX = 20
"""Most PIDs that a message names."""


def psutil() -> ModuleType:
    """Import the library. Raises ActionFailedError if this agent's bundle came without it."""
    try:
        import psutil
    except ImportError as error:
        raise ActionFailedError(
            f"this agent can't look at processes ({error})", remedy="build its bundle anew with `sluice agent build`, then bootstrap it"
        ) from error
    return psutil


def processes_named(name: str) -> list[Process]:
    """Return every process of exactly that name, by PID."""
    return [process for process in _all() if name in _names(process)]


def processes_running(path: str) -> list[Process]:
    """Return every process that runs a program, by PID: as its executable, or as the script of the interpreter in its ``#!`` line."""
    real = os.path.realpath(path)
    named = interpreter(first_line(path))
    return [process for process in _all() if _runs(process, real, named)]


def is_alive(process: Process) -> bool:
    """Whether that very process still runs: not a zombie, and not another one with its PID."""
    with suppress(psutil().Error):
        return process.is_running() and _counts(process)
    return False


def protected() -> frozenset[int]:
    """Return the PIDs that nothing here may signal: ours, those of all our ancestors, and the first."""
    return frozenset({1, os.getpid(), *(parent.pid for parent in psutil().Process().parents())})


def first_line(path: str) -> str:
    """Return a file's first line, which may be a script's ``#!`` line; empty if it can't be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, LINE_MAX).decode(errors="replace").partition("\n")[0]
    except OSError:
        return ""
    finally:
        os.close(fd)


def pids_text(pids: Iterable[int]) -> str:
    """Return PIDs as text: ``12, 34 and 3 more``."""
    listed = sorted(pids)
    more = f" and {len(listed) - NAMED_MAX} more" if len(listed) > NAMED_MAX else ""
    return ", ".join(map(str, listed[:NAMED_MAX])) + more


def _all() -> Iterator[Process]:
    for pid in sorted(psutil().pids()):
        with suppress(psutil().Error):
            process = psutil().Process(pid)
            if _counts(process):
                yield process


def _counts(process: Process) -> bool:
    if process.status() in (psutil().STATUS_ZOMBIE, psutil().STATUS_DEAD):
        return False
    if 2 in (process.pid, process.ppid()) and not process.cmdline():
        return False  # a thread of the kernel
    return _is_of_our_namespace(process.pid)


def _is_of_our_namespace(pid: int) -> bool:
    """Whether a process has a single PID: one of a namespace below ours has one in each of them."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return len(line.split()) == 2
    return True  # an old kernel, or it just ended


def _names(process: Process) -> frozenset[str]:
    with suppress(psutil().Error):
        comm, called, script, exe = _facts(process)
        if script and _cut(_last(script)) == comm and comm not in (_cut(_last(exe)), _cut(_last(called))):
            return frozenset({_last(script)})
        whole = {comm} if len(os.fsencode(comm)) < COMM_MAX else set()
        return frozenset({_last(exe), _last(called), *whole} - {""})
    return frozenset()


def _runs(process: Process, real: str, named: str) -> bool:
    with suppress(psutil().Error):
        comm, called, script, exe = _facts(process)
        if exe == real:
            return True
        is_script = comm == _cut(_last(script)) or (named and named in (_last(exe), _last(called)))
        return bool(script and is_script) and os.path.realpath(os.path.join(process.cwd(), script)) == real
    return False


def _facts(process: Process) -> tuple[str, str, str, str]:
    """Return the name the kernel keeps, the first word of its command line, the first non-option after it, and its executable if known."""
    with process.oneshot():
        words: Sequence[str] = process.cmdline()
        try:
            exe = process.exe()
        except psutil().AccessDenied:
            exe = ""
        comm = _cut(process.name())
    script = next((word for word in words[1:] if word and not word.startswith("-")), "")
    return comm, words[0] if words else "", script, exe


def _cut(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:COMM_MAX])


def _last(path: str) -> str:
    return path.rpartition("/")[2]
