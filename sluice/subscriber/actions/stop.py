"""Stop every process of a name (F5): asked first, killed if the author allows it, and never another process by its PID.

A PID that is given to another process meanwhile is never hit: each process is held by a pidfd if the kernel has them, and its start time
is compared. The agent, its ancestors and PID 1 are never stopped: that is refused before anything is touched.
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
"""Characters of a name in a phase, which may have few (``agents.frame_channel.PHASE_MAX``): as many as the kernel keeps."""


def check_stop(action: StopProcess) -> list[Process]:
    """Return the processes it would stop now.

    Raises:
        ActionFailedError: Some of them are never stopped, or belong to another account.
    """
    found = processes_named(action.name)
    if spared := protected() & {process.pid for process in found}:
        raise ActionFailedError(
            f"{action.label} would end PID {pids_text(spared)}: the agent itself, a process it runs under, or the system's first process",
            remedy="stop it by a script that names it exactly, such as a service",
        )
    if foreign := [process.pid for process in found if not _may_signal(process)]:
        raise ActionFailedError(
            f"{action.label}: PID {pids_text(foreign)} belongs to another account", remedy="run the agent as root, or leave the action out"
        )
    return found


def stop(action: StopProcess, phase: str, limit: float, *, report_wait: Callable[[str], None] = lambda _: None) -> ActionReport:
    """Ask all processes of that name to end; wait, and kill those that remain, if the action says so.

    Args:
        limit: Seconds to wait if it waits; without ``wait`` those to be killed get GRACE.
        report_wait: Called often while it waits: ``waits for NAME (PID 12) to end``.
    Returns:
        The report; its exit code is FAILED if some remain, and its output names them.
    Raises:
        ActionFailedError: As ``check_stop``, before anything is signalled, or if such a process appears while it waits.
    """
    started = time.monotonic()
    with ExitStack() as pidfds:
        stopping = _Stopping(action, pidfds, report_wait)
        stopping.ask()
        if action.wait:
            stopping.wait(limit)
        elif action.kill:
            stopping.wait(GRACE)
        if action.kill:
            stopping.kill()
        failed = (action.wait or action.kill) and bool(stopping.remaining())
        output = "; ".join(stopping.output(failed))
    return ActionReport(phase, action.label, round(time.monotonic() - started, 3), FAILED if failed else 0, output)


class _Stopping:
    def __init__(self, action: StopProcess, pidfds: ExitStack, report_wait: Callable[[str], None]) -> None:
        self._action = action
        self._pidfds = pidfds
        self._report_wait = report_wait
        self._asked: dict[Process, int | None] = {}
        """With the pidfd of each."""
        self._killed: set[int] = set()

    def ask(self) -> None:
        """Ask every process of that name that wasn't asked yet."""
        for process in check_stop(self._action):
            if process not in self._asked:
                self._asked[process] = self._pidfds.enter_context(_pidfd(process))
                self._signal(process, signal.SIGTERM)

    def wait(self, limit: float) -> None:
        """Wait until all have ended, also those that started meanwhile, or the limit is over."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            if not self.remaining():
                self.ask()  # a child may have taken over its parent's work
                if not self.remaining():
                    return
            self._report()
            time.sleep(POLL)

    def kill(self) -> None:
        """Kill those that remain; wait until the kernel has ended them."""
        for process in self.remaining():
            self._killed.add(process.pid)
            self._signal(process, signal.SIGKILL)
        until = time.monotonic() + GRACE
        while time.monotonic() < until and self.remaining():
            time.sleep(POLL)

    def remaining(self) -> list[Process]:
        """Return those that were asked and run all the same."""
        return [process for process in self._asked if is_alive(process)]

    def output(self, failed: bool) -> Iterator[str]:
        """Yield the parts of the report's output."""
        if not self._asked:
            yield NONE_RUNS
            return
        yield f"asked to end: PID {pids_text(process.pid for process in self._asked)}"
        if self._killed:
            yield f"killed: PID {pids_text(self._killed)}"
        if failed:
            yield f"still running: PID {pids_text(process.pid for process in self.remaining())}"

    def _report(self) -> None:
        if remaining := [process.pid for process in self.remaining()]:
            more = f" and {len(remaining) - 1} more" if len(remaining) > 1 else ""
            self._report_wait(f"waits for {_shortened(self._action.name)} (PID {min(remaining)}{more})" + ("" if more else " to end"))

    def _signal(self, process: Process, number: signal.Signals) -> None:
        fd = self._asked[process]
        with suppress(ProcessLookupError, psutil().NoSuchProcess):
            if fd is None:
                process.send_signal(number)  # compares its start time
            elif is_alive(process):  # the pidfd holds the process that was found
                signal.pidfd_send_signal(fd, number)


def _shortened(name: str) -> str:
    """Cut a name such that a phase has room for its PIDs, which count more."""
    return name if len(name) <= SHOWN_NAME else name[: SHOWN_NAME - 1] + "…"


@contextmanager
def _pidfd(process: Process) -> Iterator[int | None]:
    """Hold a process by more than its number; None if the kernel can't, or it is gone."""
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
