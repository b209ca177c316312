"""Running one operation in a fresh process, watched call by call, and ending it where the caller says.

Processes are forks of a warm one: everything is imported, nothing is shared but that. What an operation confirms (it returned, the
agent answered) comes through a pipe and is what may not be lost. Processes that outlive the one they were started by, as
actions do, are watched on until they end (``Runner.stragglers``).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.soak.calls import Call, Listener, watch_me
from tests.soak.process import PipeStream, Tell, begin, end, teller

LIMIT_SECONDS = 240.0
"""For one operation; one that takes longer hangs."""

Told = list[dict[str, Any]]
Peer = Callable[[PipeStream, Tell], None]


class Violation(Exception):
    """Something that must hold doesn't."""


@dataclass(frozen=True, slots=True)
class Work:
    """One operation: ``act`` in a process of its own; with ``peer``, act's stdin and stdout are a line to a second process."""

    act: Callable[[Tell], object]
    peer: Peer | None = None


@dataclass(frozen=True, slots=True)
class Kill:
    """End the process before the call; with ``half``, after the first half of what it writes."""

    half: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """The call fails."""

    error: int


class Skip:
    """The call does nothing and says that it went well."""


Answer = Kill | Fail | Skip | None
Decide = Callable[["Point", Told], Answer]
"""What becomes of a call, once this much was confirmed; None: it is done."""


@dataclass(frozen=True, slots=True)
class Point:
    """The ``number``th call (from 1) of this name: ``fsync`` of a file, ``fsync-dir``, ``say`` for a write to a pipe, ``action:...`` for
    what an action did."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name}:{self.number}"


@dataclass
class Ended:
    """How it went."""

    code: int = 0
    """Exit code of ``act``; negative: the signal."""
    told: Told = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    """In the order they were reached."""
    was_reached: bool = False
    """Whether any call was answered otherwise than by doing it."""
    said: str = ""
    """Its stderr, and the peer's."""


class Runner:
    """Runs operations one after another; not for threads."""

    def __init__(self) -> None:
        self.stragglers: list[Listener] = []
        self.in_child: Callable[[], None] = lambda: None
        """Called first in the process of a watched ``act``: breaks the code, for a control."""

    def run(self, work: Work, decide: Decide | None = None, *, on_end: Callable[[Ended], None] | None = None) -> Ended:
        """Run it to its end, or to its kill.

        Args:
            decide: Asked for every mutating call; None: nothing is watched.
            on_end: Called once the operation is over, before its processes are waited for.
        Raises:
            Violation: It hangs.
        """
        return _Run(self, work, decide).to_end(on_end)

    def check_alone(self) -> None:
        """Raise Violation where a process outlived the recovery."""
        until = time.monotonic() + 60
        while self.stragglers:
            if time.monotonic() > until:
                raise Violation("processes that the operation started still run after the recovery")
            self.serve_stragglers(0.05)

    def serve_stragglers(self, seconds: float) -> None:
        """Let those go on that outlived their operation."""
        poll = select.poll()
        for each in self.stragglers:
            poll.register(each.fd, select.POLLIN)
        for fd, events in poll.poll(seconds * 1000):
            self.serve_straggler(fd, events)

    def serve_straggler(self, fd: int, events: int) -> None:
        """Answer one of them."""
        each = next(each for each in self.stragglers if each.fd == fd)
        if events & select.POLLIN:
            if call := each.receive():
                each.go_on(call)
        elif events & (select.POLLHUP | select.POLLERR):
            each.close()
            self.stragglers.remove(each)


class _Run:
    def __init__(self, runner: Runner, work: Work, decide: Decide | None) -> None:
        self._runner, self._decide = runner, decide
        self._ended = Ended()
        self._counts: Counter[str] = Counter()
        self._is_main: dict[int, bool] = {}
        self._told, told = os.pipe()
        self._said, said = os.pipe()
        ours, theirs = socket.socketpair()
        down, up = (os.pipe(), os.pipe()) if work.peer else ((-1, -1), (-1, -1))
        parent = os.getpid()
        self._main = os.fork()
        if self._main == 0:
            begin(parent, down[0], up[1], said, {told, theirs.fileno()})
            self._act(work, told, theirs if decide else None)
        self._children = {self._main: os.pidfd_open(self._main)}
        if work.peer:
            peer = os.fork()
            if peer == 0:
                begin(parent, -1, -1, said, {told, up[0], down[1]})
                end(lambda: work.peer and work.peer(PipeStream(up[0], down[1]), teller(told)))
            self._children[peer] = os.pidfd_open(peer)
        theirs.close()
        for fd in (told, said, *down, *up):
            if fd >= 0:
                os.close(fd)
        for fd in (self._told, self._said):
            os.set_blocking(fd, False)
        self._listener = Listener(ours) if decide else None
        ours.close()
        self._buffers = {self._told: bytearray(), self._said: bytearray()}

    def _act(self, work: Work, told: int, channel: socket.socket | None) -> None:
        tell = teller(told)

        def act() -> object:
            if channel is not None:
                self._runner.in_child()
                watch_me(channel)
                channel.close()
            return work.act(tell)

        end(act)

    def to_end(self, on_end: Callable[[Ended], None] | None) -> Ended:
        try:
            self._until_over()
            if on_end is not None:
                on_end(self._ended)
        finally:
            for pid, fd in self._children.items():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                os.close(fd)
            for fd in self._buffers:
                self._drain(fd)
                os.close(fd)
            if self._listener is not None:
                self._runner.stragglers.append(self._listener)
        self._ended.said = self._buffers[self._said].decode(errors="replace")
        return self._ended

    def told(self) -> Told:
        """What was confirmed so far."""
        self._drain(self._told)
        lines = bytes(self._buffers[self._told]).split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def _until_over(self) -> None:
        poll = select.poll()
        fds = {*self._buffers, *self._children.values(), *(each.fd for each in self._runner.stragglers)}
        if self._listener is not None:
            fds.add(self._listener.fd)
        for fd in fds:
            poll.register(fd, select.POLLIN)
        until = time.monotonic() + LIMIT_SECONDS
        alive = dict(self._children)
        while alive:
            ready = poll.poll(1000)
            if not ready and time.monotonic() > until:
                raise Violation(f"it hangs; it has said: {bytes(self._buffers[self._said]).decode(errors='replace')}")
            for fd, events in ready:
                if self._listener is not None and fd == self._listener.fd:
                    if events & select.POLLIN:
                        self._answer(self._listener)
                    else:
                        poll.unregister(fd)
                elif fd in self._buffers:
                    if events & select.POLLIN:
                        self._drain(fd)
                    else:
                        poll.unregister(fd)
                elif fd in alive.values():
                    poll.unregister(fd)
                    self._reap(fd, alive)
                else:
                    self._runner.serve_straggler(fd, events)
                    if all(fd != each.fd for each in self._runner.stragglers):
                        poll.unregister(fd)
        self._ended.told = self.told()

    def _reap(self, fd: int, alive: dict[int, int]) -> None:
        pid = next(pid for pid, each in alive.items() if each == fd)
        status = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        del alive[pid]
        if status and pid == self._main:
            self._ended.code = status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
        elif status and status.si_status:
            raise Violation(f"the sender failed: {self._last_words()}")

    def _last_words(self) -> str:
        self._drain(self._said)
        return bytes(self._buffers[self._said]).decode(errors="replace")

    def _answer(self, listener: Listener) -> None:
        call = listener.receive()
        if call is None:
            return
        answer = None
        if self._decide is not None and self._ended.code == 0 and call.changes():
            name = self._name(call)
            self._counts[name] += 1
            point = Point(name, self._counts[name])
            self._ended.points.append(point)
            answer = self._decide(point, self.told())
        self._ended.was_reached |= answer is not None
        if isinstance(answer, Kill):
            if answer.half:
                call.do_half()
            os.kill(self._main, signal.SIGKILL)
            self._decide = None
            if not self._is_main[call.thread]:
                listener.go_on(call)
        elif isinstance(answer, Fail):
            listener.fail(call, answer.error)
        elif isinstance(answer, Skip):
            listener.skip(call)
        else:
            listener.go_on(call)

    def _name(self, call: Call) -> str:
        if call.thread not in self._is_main:
            self._is_main[call.thread] = call.process() == self._main
        about = call.on()
        name = {"other": "say", "directory": f"{call.name}-dir"}.get(about, call.name)
        return name if self._is_main[call.thread] else f"action:{name}"

    def _drain(self, fd: int) -> None:
        with suppress(BlockingIOError):
            while data := os.read(fd, 65536):
                self._buffers[fd] += data
