"""Stop every process of a name (F5): asked first, killed where the author allows it, and never anybody else's PID.

A PID that is given to another process meanwhile is never hit: each is held by a pidfd where the kernel has them, and its start time is
compared. Never stopped are the agent, what it descends from and PID 1: that is refused before anything is touched.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from sluice.errors import ActionFailedError
from sluice.model.action import StopProcess
from sluice.model.order import ActionReport
from sluice.subscriber.actions.processes import is_alive, pids_text, processes_named, protected, psutil
from sluice.subscriber.actions.run import GRACE, POLL

if TYPE_CHECKING:
    from psutil import Process

NONE_RUNS = "none of that name runs"
FAILED = 1
"""Exit code in the report of a stop that left some running."""
SHOWN_NAME = 15
"""Characters of a name in a phase, which are few (``agents.line.PHASE_MAX``): as many as the kernel keeps."""


def check_stop(action: StopProcess) -> list[Process]:
    """Those it would stop now.

    Raises:
        ActionFailedError: Some of them are never stopped, or belong to another account.
    """
    found = processes_named(action.name)
    if spared := protected() & {process.pid for process in found}:
        raise ActionFailedError(
            f"{action.label} would end PID {pids_text(spared)}: the agent itself, what it runs under, or the system's first process",
            remedy="stop it by a script that names what is meant, such as a service",
        )
    if foreign := [process.pid for process in found if not _may_signal(process)]:
        raise ActionFailedError(
            f"{action.label}: PID {pids_text(foreign)} belongs to another account", remedy="run the agent as root, or leave the action out"
        )
    return found


def stop(action: StopProcess, phase: str, limit: float, *, waits: Callable[[str], None] = lambda _: None) -> ActionReport:
    """Ask all of that name to end, wait if it says so, kill what stays if it says so.

    Args:
        limit: Seconds to wait where it waits; without ``wait`` those to be killed get GRACE.
        waits: Told whom it waits for, as long as it does, often: ``waits for NAME (PID 12) to end``.
    Returns:
        The report; its exit code is FAILED where some stay, and its output names them.
    Raises:
        ActionFailedError: As ``check_stop``, before anything is signalled, or where such a one appears while it waits.
    """
    begun = time.monotonic()
    with ExitStack() as held:
        stopping = _Stopping(action, held, waits)
        stopping.ask()
        if action.wait:
            stopping.wait(limit)
        elif action.kill:
            stopping.wait(GRACE)
        if action.kill:
            stopping.kill()
        failed = (action.wait or action.kill) and bool(stopping.staying())
        output = "; ".join(stopping.said(failed))
    return ActionReport(phase, action.label, round(time.monotonic() - begun, 3), FAILED if failed else 0, output)


class _Stopping:
    def __init__(self, action: StopProcess, held: ExitStack, waits: Callable[[str], None]) -> None:
        self._action = action
        self._held = held
        self._waits = waits
        self._asked: dict[Process, int | None] = {}
        """With the pidfd that holds each."""
        self._killed: set[int] = set()

    def ask(self) -> None:
        """Every one of that name that wasn't asked yet."""
        for process in check_stop(self._action):
            if process not in self._asked:
                self._asked[process] = self._held.enter_context(_pidfd(process))
                self._signal(process, signal.SIGTERM)

    def wait(self, limit: float) -> None:
        """Until all are gone, also those that started meanwhile, or the limit is over."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            if not self.staying():
                self.ask()  # a child may have taken over its parent's work
                if not self.staying():
                    return
            self._tell()
            time.sleep(POLL)

    def kill(self) -> None:
        """What stays, by force; waits until the kernel has ended it."""
        for process in self.staying():
            self._killed.add(process.pid)
            self._signal(process, signal.SIGKILL)
        until = time.monotonic() + GRACE
        while time.monotonic() < until and self.staying():
            time.sleep(POLL)

    def staying(self) -> list[Process]:
        """Those that were asked and run all the same."""
        return [process for process in self._asked if is_alive(process)]

    def said(self, failed: bool) -> Iterator[str]:
        """What the report says."""
        if not self._asked:
            yield NONE_RUNS
            return
        yield f"asked to end: PID {pids_text(process.pid for process in self._asked)}"
        if self._killed:
            yield f"killed: PID {pids_text(self._killed)}"
        if failed:
            yield f"still running: PID {pids_text(process.pid for process in self.staying())}"

    def _tell(self) -> None:
        if staying := [process.pid for process in self.staying()]:
            more = f" and {len(staying) - 1} more" if len(staying) > 1 else ""
            self._waits(f"waits for {_shortened(self._action.name)} (PID {min(staying)}{more})" + ("" if more else " to end"))

    def _signal(self, process: Process, number: signal.Signals) -> None:
        fd = self._asked[process]
        with suppress(ProcessLookupError, psutil().NoSuchProcess):
            if fd is None:
                process.send_signal(number)  # compares its start time
            elif is_alive(process):  # what the pidfd holds is what was found
                signal.pidfd_send_signal(fd, number)


def _shortened(name: str) -> str:
    """A name that leaves room for the rest of a phase: its PIDs count more."""
    return name if len(name) <= SHOWN_NAME else name[: SHOWN_NAME - 1] + "…"


@contextmanager
def _pidfd(process: Process) -> Iterator[int | None]:
    """Holds a process by more than its number; None where the kernel can't, or it is gone."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _may_signal(process: Process) -> bool:
    try:
        os.kill(process.pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True
