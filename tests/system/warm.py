"""The ``sluice`` command in processes of its own, cheaply: forked from one that has imported Prefect and the flows already.

Importing takes more of a command's time than what it does. In all else a forked command is one that was typed: its environment, output,
signals and exit code are its own, and it can be killed. ``Warm`` starts the process once; it ends with its socket. What Prefect reads
from the environment when it is imported is that of ``Warm``, but for the server's address.
``Warm.program`` is the command as a file, for scripts.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn

PROJECT = Path(__file__).parents[2]
_REQUEST_MAX = 1 << 16
_PROGRAM = """\
#!{python} -ISu
import json, os, socket, sys
ours, theirs = os.pipe()
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
    line.connect({socket!r})
    socket.send_fds(line, [json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()], [theirs, 1, 2])
os.close(theirs)
with os.fdopen(ours) as report:
    report.readline()
    sys.exit(int(report.readline()))
"""


class Command:
    """One command under way; as a ``subprocess.Popen`` of text, as far as tests use one."""

    def __init__(self, args: list[str], report: int, output: int, errors: int | None = None) -> None:
        self.args, self._report = args, os.fdopen(report, "rb", buffering=0)
        self.stdout = os.fdopen(output, encoding="utf-8", errors="replace")
        self.stderr = None if errors is None else os.fdopen(errors, encoding="utf-8", errors="replace")
        self.pid = int(self._report.readline())
        self.returncode: int | None = None

    def __enter__(self) -> Command:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.wait()
        for file in (self.stdout, self.stderr, self._report):
            if file is not None:
                file.close()

    def poll(self) -> int | None:
        """Its exit code once it has ended; negative: the signal."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """The same, waited for."""
        if self.returncode is None:
            self.returncode = int(self._report.readline())
        return self.returncode

    def communicate(self, *, timeout: float) -> tuple[str, str]:
        """The rest of its output, waited for. Raises subprocess.TimeoutExpired, and kills it before."""
        late = threading.Event()
        timer = threading.Timer(timeout, lambda: (late.set(), self.kill()))
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(self.stderr.read() if self.stderr else ""))
        timer.start()
        reader.start()
        output = self.stdout.read()
        reader.join()
        self.wait()
        timer.cancel()
        if late.is_set():
            raise subprocess.TimeoutExpired(self.args, timeout, output)
        return output, errors[0]

    def kill(self) -> None:
        """As kill -9."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Warm:
    """Where commands are forked."""

    def __init__(self, *within: str, environment: Mapping[str, str] = os.environ) -> None:
        """``within``: a command that runs another one, as ``env``; ``environment``: in which Prefect is imported."""
        self._directory = tempfile.TemporaryDirectory(prefix="sluice-warm-")
        listening = Path(self._directory.name, "socket")
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = "import sys; from tests.system.warm import serve; serve(*map(int, sys.argv[1:]))"
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as programs:
            programs.bind(str(listening))
            programs.listen()
            fds = [theirs.fileno(), programs.fileno()]
            self._process = subprocess.Popen(
                [*within, sys.executable, "-c", code, *map(str, fds)],
                pass_fds=fds,
                env={**environment, "PYTHONPATH": str(PROJECT)},
                stdin=subprocess.DEVNULL,
            )
        self.program = Path(self._directory.name, "sluice")
        self.program.write_text(_PROGRAM.format(python=sys.executable, socket=str(listening)))
        self.program.chmod(0o700)

    def start(self, *words: str, environment: Mapping[str, str], cwd: Path | None = None, apart: bool = False) -> Command:
        """Start a command; what it says on stderr comes with its output, or ``apart``."""
        pipes = [os.pipe() for _ in range(3 if apart else 2)]
        request = json.dumps([words, dict(environment), str(cwd or Path.cwd())]).encode()
        socket.send_fds(self._line, [request], [theirs for _, theirs in pipes])
        for _, theirs in pipes:
            os.close(theirs)
        return Command(["sluice", *words], *(ours for ours, _ in pipes))

    def close(self) -> None:
        """No command is started any more."""
        self._line.close()
        self._process.wait(120)
        self._directory.cleanup()


def serve(line: int, listening: int) -> None:
    """The warm process: fork what is asked for. Returns in a command's process, once that is done."""
    from cli.prefect_run import _prepare
    from cli.session import Session

    _prepare(Session(Path.cwd()))

    import cli.main
    import infra.orchestrator.apply
    import infra.orchestrator.embedded  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that wait for a command are waited for by nobody
    gc.freeze()
    ours, programs = socket.socket(fileno=line), socket.socket(fileno=listening)
    while True:
        if ours in select.select([ours, programs], [], [])[0]:
            request, fds, _, _ = socket.recv_fds(ours, _REQUEST_MAX, 3)
        else:
            with programs.accept()[0] as asked:
                request, fds, _, _ = socket.recv_fds(asked, _REQUEST_MAX, 3)
        if not request:
            return
        if os.fork() == 0:
            ours.close()
            programs.close()
            _wait(*json.loads(request), fds)
            cli.main.main()
        for fd in fds:
            os.close(fd)


def _wait(words: list[str], environment: dict[str, str], directory: str, fds: list[int]) -> None:
    """Fork once more: wait for the command beside it and report its exit code, and return as the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid != 0:
        _report(pid, fds)
    os.dup2(fds[1], 1)
    os.dup2(fds[-1], 2)
    for fd in fds:
        os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["sluice", *words]


def _report(pid: int, fds: list[int]) -> NoReturn:
    for fd in fds[1:]:
        os.close(fd)
    os.write(fds[0], b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(fds[0], b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)
