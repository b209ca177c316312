"""Hostile input in a process of its own: whatever it does to that one, the limits of memory and time hold, and it is told which it was."""

from __future__ import annotations

import mmap
import os
import pickle
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Say = Callable[[str], None]
"""Names the case that is tried now."""

MIB = 1024 * 1024
CPU_SECONDS = 120
"""Of all cases together: far beyond what they take, so that only what has no end meets it."""
_NAME_MAX = 4096


def contained(work: Callable[[Say], T], *, memory: int) -> T:
    """What ``work`` returns, done in a forked process with ``memory`` bytes more of address space than this one has.

    Raises AssertionError, naming the case, where the process was ended by a signal, took more than its share, or raised.
    """
    case = mmap.mmap(-1, _NAME_MAX)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _become(work, case, writing, memory)
    os.close(writing)
    with open(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    where = case[: case.find(b"\0")].decode(errors="replace")
    case.close()
    if code:
        said = f"it was ended by {signal.Signals(-code).name}" if code < 0 else data.decode(errors="replace")
        raise AssertionError(f"at {where!r}: {said}")
    found: T = pickle.loads(data)
    return found


def _become(work: Callable[[Say], object], case: mmap.mmap, writing: int, memory: int) -> None:
    """Never returns."""
    code = 1
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + CPU_SECONDS, used + CPU_SECONDS))

        def say(name: str) -> None:
            data = name.encode()[: _NAME_MAX - 1]
            case[: len(data) + 1] = data + b"\0"

        try:
            data = pickle.dumps(work(say))
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, it is told and this process ends
            data = traceback.format_exc().encode()
        with open(writing, "wb") as pipe:
            pipe.write(data)
    finally:
        sys.stdout.flush()
        os._exit(code)
