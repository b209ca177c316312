"""Subscribers on the Distributor's own machine (``local:/directory``): the agent as a child process, over pipes.

Same port, same limits as SSH: no call waits longer than its timeout, and a bounded end of stderr is kept for error messages. A conversation
ends its own child, by its pid, and nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress

from infra.transports.lines import Lines
from sluice.errors import ConnectionLostError, TransportError, TransportTimeoutError
from sluice.formats.agent_call import NOT_EXECUTABLE, NOT_FOUND, agent_missing, serve_command
from sluice.model.site import Subscriber
from sluice.rules.wording import output_text

STDERR_MAX = 4096
"""Last bytes kept of the child's stderr."""
OUTPUT_MAX = 1024 * 1024
"""Most bytes kept of the output of a command of ``LocalLogin.run``."""
PIPE_SIZE = 1024 * 1024
"""Bytes of the pipe to the child, if the account may have that many: fewer switches between the two processes."""
END_WAIT = 5.0
"""Seconds a child has to end by itself after its stdin was closed; then it is killed."""
_PIECE = 65_536
_STDERR_READS = 64


class LocalTransport:
    """The Transport port by child processes."""

    def __init__(self, lines: Lines | None = None) -> None:
        """Take the lines that its own are added to."""
        self._lines = lines or Lines()

    def connect(self, subscriber: Subscriber, *, timeout: float) -> LocalStream:
        """See the port. Raises AgentMissingError at once if there is no agent."""
        return self._lines.add(self.login(subscriber, timeout=timeout).start(serve_command(subscriber.working_directory)))

    def login(self, subscriber: Subscriber, *, timeout: float) -> LocalLogin:
        """Return what SSH calls a login: commands as this process's account."""
        return LocalLogin(subscriber.name, f"Subscriber {subscriber.name} ({subscriber.address})", timeout)


class LocalLogin:
    """Runs commands on this machine; the twin of ``SshLogin``."""

    def __init__(self, name: str, peer: str, timeout: float) -> None:
        self.name, self.peer, self.timeout = name, peer, timeout

    def start(self, command: Sequence[str]) -> LocalStream:
        """Start a command with pipes to its stdin and stdout."""
        try:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            is_there = error.errno == errno.EACCES
            raise agent_missing(self.peer, self.name, f"{command[0]}: {error.strerror}", is_there=is_there) from error
        return LocalStream(child, self)

    def run(self, command: Sequence[str], stdin: bytes | Iterable[bytes] = b"") -> tuple[int, bytes, bytes]:
        """Run a command to its end: (exit status, first MiB of its output, last 4 KiB of its stderr).

        Raises:
            AgentMissingError: There is no such program.
            ConnectionLostError, TransportTimeoutError: A signal ended it, or it neither read nor wrote for too long.
        """
        with closing(self.start(command)) as stream:
            return stream.finish([stdin] if isinstance(stdin, bytes) else stdin)

    def close(self) -> None:
        """Do nothing: a login on this machine holds nothing open."""


class LocalStream:
    """The Stream port over a child's pipes."""

    def __init__(self, child: subprocess.Popen[bytes], login: LocalLogin) -> None:
        self._child, self._login = child, login
        assert child.stdin is not None  # noqa: S101
        assert child.stdout is not None  # noqa: S101
        assert child.stderr is not None  # noqa: S101
        self._stdin, self._stdout, self._stderr_pipe = child.stdin, child.stdout, child.stderr
        for pipe in (self._stdin, self._stdout, self._stderr_pipe):
            os.set_blocking(pipe.fileno(), False)
        with suppress(OSError):  # over the account's limit: a smaller pipe will do
            fcntl.fcntl(self._stdin.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._stderr = b""
        self._stderr_ended = False
        self._closed = False
        self._in_use = threading.Lock()

    @property
    def pid(self) -> int:
        """Return the child's process id."""
        return self._child.pid

    def write(self, data: bytes | memoryview) -> None:
        """Write everything."""
        remaining = memoryview(data)
        with self._in_use:
            while remaining:
                self._check_open()
                self._wait(select.POLLOUT, "writing")
                with suppress(BlockingIOError):
                    try:
                        remaining = remaining[os.write(self._stdin.fileno(), remaining) :]
                    except BrokenPipeError as error:
                        raise self._failure("writing") from error

    def read(self, size: int) -> bytes:
        """Read one to ``size`` bytes; ``b""`` if the child ended with status 0."""
        with self._in_use:
            while True:
                self._check_open()
                self._wait(select.POLLIN, "reading")
                with suppress(BlockingIOError):
                    data = os.read(self._stdout.fileno(), size)
                    if not data and self._status() != 0:
                        raise self._failure("reading")
                    return data

    def readable(self) -> bool:
        """Whether a read would return at once: bytes, the end or an error."""
        return self._closed or bool(select.select([self._stdout], [], [], 0)[0])

    def finish(self, stdin: Iterable[bytes]) -> tuple[int, bytes, bytes]:
        """Write ``stdin``, then read to the end; see ``LocalLogin.run``. A child that stops reading is no error."""
        output = bytearray()
        with suppress(BrokenPipeError):
            for part in stdin:
                remaining = memoryview(part)
                while remaining:
                    self._wait(select.POLLOUT, "running a command", output)
                    with suppress(BlockingIOError):
                        remaining = remaining[os.write(self._stdin.fileno(), remaining) :]
        self._stdin.close()
        while self._keep_output(output):
            pass
        status = self._status()
        if status < 0:
            raise self._failure("running a command")
        return status, bytes(output), self._stderr

    def close(self) -> None:
        """End the conversation; may be called twice, from any thread. The child sees the end of its stdin, and is killed if it stays."""
        if self._closed:
            return
        self._closed = True
        if not self._in_use.acquire(blocking=False):
            self._child.kill()  # wakes the thread that reads or writes; its descriptors mustn't be closed under it
            self._in_use.acquire()
        self._in_use.release()
        with suppress(OSError):
            self._stdin.close()
        self._stdout.close()
        self._status()
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self._keep_stderr()
        self._stderr_pipe.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLostError(f"{self._login.peer}: the conversation was closed")

    def _wait(self, event: int, doing: str, output: bytearray | None = None) -> None:
        """Wait until the pipe is ready. stderr, and stdout if ``output`` is given, are emptied meanwhile, so that the child can go on."""
        pipe = self._stdin if event == select.POLLOUT else self._stdout
        deadline = time.monotonic() + self._login.timeout
        while True:
            poll = select.poll()
            poll.register(pipe, event)
            if not self._stderr_ended:
                poll.register(self._stderr_pipe, select.POLLIN)
            if output is not None:
                poll.register(self._stdout, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}
            if self._stderr_pipe.fileno() in ready:
                self._keep_stderr()
            if pipe.fileno() in ready:
                return
            if output is not None and self._stdout.fileno() in ready and not self._take(output):
                output = None
            if time.monotonic() >= deadline:
                raise TransportTimeoutError(f"{self._login.peer}: {doing}: no progress within {self._login.timeout:g} s")

    def _keep_output(self, output: bytearray) -> int:
        self._wait(select.POLLIN, "running a command")
        return self._take(output)

    def _take(self, output: bytearray) -> int:
        data = os.read(self._stdout.fileno(), _PIECE)
        output += data[: OUTPUT_MAX - len(output)]
        return len(data)

    def _keep_stderr(self) -> None:
        with suppress(BlockingIOError):
            for _ in range(_STDERR_READS):
                data = os.read(self._stderr_pipe.fileno(), _PIECE)
                self._stderr = (self._stderr + data)[-STDERR_MAX:]
                if not data:
                    self._stderr_ended = True
                    return

    def _status(self) -> int:
        """Return the child's exit status; -1 if a signal ended it or it still runs after ``END_WAIT``."""
        deadline = time.monotonic() + min(END_WAIT, self._login.timeout)
        while self._child.poll() is None and time.monotonic() < deadline:
            self._keep_stderr()
            time.sleep(0.002)
        self._keep_stderr()
        status = self._child.poll()
        return -1 if status is None else max(status, -1)

    def _failure(self, doing: str) -> TransportError:
        status = self._status()
        stderr = output_text(self._stderr)
        if status in (NOT_FOUND, NOT_EXECUTABLE):
            why = stderr or f"exit status {status}"
            return agent_missing(self._login.peer, self._login.name, why, is_there=status == NOT_EXECUTABLE)
        how = f"the agent ended with status {status}" if status >= 0 else "the agent was ended"
        return ConnectionLostError(f"{self._login.peer}: {doing}: {how}" + (f": {stderr}" if stderr else ""))
