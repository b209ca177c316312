"""A process that uses a file: it holds a lock or a lease on it until it is told to end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """
import fcntl, signal, struct, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
signal.alarm(60)
path, how = sys.argv[1:]
record = lambda kind: struct.pack("hhqqi4x", kind, 0, 0, 0, 0)
file = open(path, "r" if "read" in how or "shared" in how else "r+")
match how:
    case "flock" | "shared flock":
        fcntl.flock(file, fcntl.LOCK_EX if how == "flock" else fcntl.LOCK_SH)
    case "write lock" | "read lock":
        fcntl.lockf(file, fcntl.LOCK_EX if how == "write lock" else fcntl.LOCK_SH)
    case "open file lock" | "open file read lock":
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, record(fcntl.F_WRLCK if how == "open file lock" else fcntl.F_RDLCK))
    case "lease" | "read lease":
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK if how == "lease" else fcntl.F_RDLCK)
    case "waits":
        print("ready", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    case _:
        raise ValueError(how)
print("ready", flush=True)
sys.stdin.read()
"""
EXCLUSIVE = ("flock", "write lock", "open file lock", "lease")
SHARED = ("shared flock", "read lock", "open file read lock", "read lease")


class Holder:
    """One such process."""

    def __init__(self, path: Path, how: str) -> None:
        command = [sys.executable, "-c", _PROGRAM, str(path), how]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self.end()
            raise AssertionError(f"{path} can't be held by a {how}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        """It lets go; may be called twice."""
        self._process.kill()
        self._process.communicate(timeout=120)


@contextmanager
def held(path: Path, how: str = "flock") -> Iterator[Holder]:
    """Within, another process holds a file; ``how`` is one of EXCLUSIVE or SHARED, or ``waits`` for an exclusive flock."""
    holder = Holder(path, how)
    try:
        yield holder
    finally:
        holder.end()
