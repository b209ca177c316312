"""Real agents, cheaply: forked from one process that has imported all of theirs, each limited and measured.

``Nursery`` starts that process once; ``start`` gives an agent over pipes, as SSH would. Beside each agent stands a process that waits for
it and reports what it took. The nursery ends with its socket, an agent with its stdin.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.agents.workbench import PROJECT

CPU_SECONDS = 10
"""Of one conversation; beyond that the kernel ends the agent."""
ADDRESS_SPACE = 768 * 1024 * 1024
"""Bytes of one agent, its libraries included: a bomb fails aloud."""
_REQUEST_MAX = 4096


@dataclass(frozen=True)
class Took:
    """What one agent took until its end."""

    status: int
    """Exit code; negative: the signal that ended it."""
    peak: int
    """Bytes of memory, at most."""
    read: int
    """Bytes by all calls that read."""
    written: int


class Born:
    """A running agent: its pipes, its pid, and in the end what it took."""

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes], report: IO[bytes]) -> None:
        self.stdin, self.stdout, self.stderr, self._report = stdin, stdout, stderr, report
        self.pid = int(report.readline())
        self.said = b""

    def end(self) -> Took:
        """Close stdin and wait for the end."""
        with suppress(BrokenPipeError):
            self.stdin.close()
        while self.stdout.read(1 << 20):
            pass
        self.said = self.stderr.read()
        took = Took(**json.loads(self._report.readline()))
        for each in (self.stdout, self.stderr, self._report):
            each.close()
        return took

    def kill(self) -> None:
        """At once, if it still runs."""
        if not self._report.closed:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.end()


class Nursery:
    """Where agents are forked."""

    def __init__(self, address_space: int = ADDRESS_SPACE) -> None:
        """``address_space``: of each agent, in bytes."""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = "import sys; from tests.attacks.forked import main; main(*map(int, sys.argv[1:]))"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, str(theirs.fileno()), str(address_space)],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
        theirs.close()

    def start(self, work: Path) -> Born:
        """``sluice-agent serve`` on a working directory."""
        pipes = [os.pipe() for _ in range(4)]
        (stdin, *_), others = pipes[0], pipes[1:]
        request = json.dumps(["serve", "--directory", str(work)]).encode()
        socket.send_fds(self._line, [request], [stdin, *(there for _, there in others)])
        for fd in (stdin, *(there for _, there in others)):
            os.close(fd)
        return Born(open(pipes[0][1], "wb"), *(open(here, "rb") for here, _ in others))

    def close(self) -> None:
        """No agent is started any more."""
        self._line.close()
        self._process.wait(120)


def main(line: int, address_space: int) -> None:
    """The nursery's own process."""
    from agents import main as agent  # what an agent imports, all of it, once
    from agents import requests, serve  # noqa: F401
    from sluice.subscriber.extract import undo  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for an agent is waited for by nobody
    gc.freeze()
    ours = socket.socket(fileno=line)
    while True:
        request, fds, _, _ = socket.recv_fds(ours, _REQUEST_MAX, 4)
        if not request:
            ours.close()
            return
        if os.fork() == 0:
            ours.close()
            _wait(agent.main, json.loads(request), fds, address_space)
        for fd in fds:
            os.close(fd)


def _wait(main: object, arguments: list[str], fds: list[int], address_space: int) -> None:
    """Beside one agent until its end. Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        _become(main, arguments, fds, address_space)
    for fd in fds[:3]:
        os.close(fd)
    os.write(fds[3], b"%d\n" % pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    _, status, usage = os.wait4(pid, 0)
    took = Took(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, int(counters["rchar"]), int(counters["wchar"]))
    os.write(fds[3], json.dumps(took.__dict__).encode() + b"\n")
    os._exit(0)


def _become(main: object, arguments: list[str], fds: list[int], address_space: int) -> None:
    """The agent itself. Never returns."""
    code = 70
    try:
        for number in range(3):
            os.dup2(fds[number], number)
        os.closerange(3, 1024)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
        sys.argv = ["sluice-agent", *arguments]
        assert callable(main)
        code = main(arguments)
        sys.stderr.flush()
    finally:
        os._exit(code)
