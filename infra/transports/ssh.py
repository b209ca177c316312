"""Subscribers over SSH: one exec channel to ``sluice-agent serve``. Only this file and those beside it named ``ssh_*`` import paramiko.

Rules: the host's key is pinned and compared before anything is sent, at jump hosts too; only identities that the blueprint
names, by itself or by a client configuration or an ssh-agent that it names, are offered (ADR 0027); AES-GCM is preferred, and neither
CBC nor ChaCha20 is offered, so the Terrapin attack doesn't apply. No call waits longer than its timeout, also on a link that was cut: the
socket has TCP_USER_TIMEOUT, and a watchdog ends waits of paramiko that have no limit. Every foreign exception becomes a
TransportError in ``ssh_errors.py``. The way to a host is in ``ssh_way.py``, keys are in ``ssh_keys.py``, the words of a failed start in
``ssh_connection.py``, of a refused login in ``ssh_auth.py``, login shells and sudo in ``ssh_shell.py``. Leaves out: SFTP.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import paramiko

from infra.transports.lines import Lines
from infra.transports.ssh_auth import Identity, authenticate, no_session
from infra.transports.ssh_connection import Connection, Tunnel, open_socket, open_tunnel
from infra.transports.ssh_errors import FOREIGN, translate
from infra.transports.ssh_keys import check_host_key, host_algorithms, identities, require_pinned
from infra.transports.ssh_secrets import asked, secret, typed
from infra.transports.ssh_shell import PasswordWantedError, start
from infra.transports.ssh_way import Hop, find_way
from sluice.errors import ConnectionLostError, TransportError, TransportTimeoutError
from sluice.formats.agent_call import NOT_EXECUTABLE, NOT_FOUND, agent_missing, serve_command
from sluice.model.site import Subscriber
from sluice.rules.wording import output_text

WRITE_MAX = 32_704
"""Bytes of one channel write: OpenSSH takes packets of 32,768, of which paramiko reserves 64. Larger writes cost twice the CPU."""
WINDOW = 4 * 1024 * 1024
"""Bytes an agent may send ahead of our reading: bounds the memory that a hostile one can make us use."""
STDERR_MAX = 4096
"""Last bytes kept of the remote command's stderr."""
_STDERR_READS = 64
OUTPUT_MAX = 1024 * 1024
"""Most bytes kept of the output of a command of ``SshLogin.run``."""
EXIT_WAIT = 5.0
"""Seconds between the end of a command's output and its exit status."""
_FOREIGN_OR_OURS: tuple[type[BaseException], ...] = (*FOREIGN, TransportError)

# Everything that paramiko logs is raised as an exception too; its tracebacks would only repeat that on stderr.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class SshTransport:
    """The Transport port over SSH."""

    def __init__(self, site_directory: Path, lines: Lines | None = None) -> None:
        """Take the directory for relative paths of identities and known_hosts files, and the lines that its own are added to."""
        self._site, self._lines = site_directory, lines or Lines()

    def connect(self, subscriber: Subscriber, *, timeout: float) -> SshStream:
        """See the port; a missing agent is found at the first read or write, when the host's shell has answered."""
        login = self.login(subscriber, timeout=timeout)
        try:
            return login.start(serve_command(subscriber.working_directory), on_close=login.close)
        except BaseException:
            login.close()
            raise

    def login(self, subscriber: Subscriber, *, timeout: float) -> SshLogin:
        """Open an authenticated connection, for the agent or for bootstrap's commands. Raises as the port's ``connect``."""
        way = find_way(subscriber, self._site)
        if way.problems:
            raise way.problems[0]
        for hop in way.hops:
            require_pinned(hop)
        with ExitStack() as agents:
            offers = [agents.enter_context(identities(hop, timeout)) for hop in way.hops]
            login: SshLogin | None = None
            for hop, offered in zip(way.hops, offers, strict=True):
                login = _login(hop, offered, login, subscriber, timeout, self._lines)
        assert login is not None  # noqa: S101 - a way has a hop
        return login


def _login(hop: Hop, offered: Sequence[Identity], jump: SshLogin | None, subscriber: Subscriber, timeout: float, lines: Lines) -> SshLogin:
    """Log in to the next host, over a socket or through the jump host before it, which ends with it."""
    limit = min(timeout, hop.connect_timeout or timeout)
    sock = open_socket(hop, timeout, lines) if jump is None else jump.tunnel(hop)
    try:
        transport = Connection(sock, hop.peer, limit)
    except BaseException as error:
        sock.close()
        if jump is not None:
            jump.close()
        raise translate(error, hop.peer, "connecting") from error
    login = lines.add(SshLogin(transport, sock, subscriber, hop, timeout, jump))
    try:
        with login.watched("logging in"):
            transport.host_algorithms = host_algorithms(hop.known, transport.get_security_options().key_types)
            transport.greet(limit)
            check_host_key(transport.get_remote_server_key(), hop)
            authenticate(transport, hop.address.user, offered, hop.peer)
            transport.set_keepalive(int(hop.alive_interval))
    except BaseException:
        login.close()
        raise
    return login


class SshLogin:
    """An authenticated connection to one host."""

    def __init__(
        self, transport: Connection, sock: socket.socket | Tunnel, subscriber: Subscriber, hop: Hop, timeout: float, jump: SshLogin | None
    ) -> None:
        self.name, self.peer, self.timeout = subscriber.name, hop.peer, timeout
        self._transport, self._sock, self._ssh, self._hop, self._jump = transport, sock, subscriber.ssh, hop, jump

    def tunnel(self, hop: Hop) -> Tunnel:
        """Open a channel from this host to the next. Raises TransportError; then this login is closed."""
        try:
            with self.watched(f"connecting to {hop.name}"):
                return open_tunnel(self._transport, self._hop, hop, self.timeout)
        except BaseException:
            self.close()
            raise

    def start(self, command: Sequence[str], *, on_close: Callable[[], None] | None = None) -> SshStream:
        """Start a command, as root if the Subscriber says ``become: sudo``, with streams to its stdin and stdout.

        Raises:
            AuthenticationError: The host opens no session, its login shell runs nothing, or sudo refuses.
            ConnectionLostError, TransportTimeoutError.
        """
        name, prompt = self._ssh.become_password, f"Password of {self._hop.name} for sudo: "
        is_secret = bool(self._ssh.become and name)
        password = secret(name, "the password of sudo", self.peer) if is_secret else typed(prompt)
        try:
            return self._start(command, password, on_close)
        except PasswordWantedError:
            if (password := asked(prompt)) is None:
                raise
        return self._start(command, password, on_close)

    def _start(self, command: Sequence[str], password: str | None, on_close: Callable[[], None] | None) -> SshStream:
        user, sudo = self._hop.address.user, self._ssh.become == "sudo"
        with self.watched("starting the command"):
            try:
                channel = self._transport.open_session(window_size=WINDOW)  # without a limit of its own, which could come before ours
            except FOREIGN as error:
                raise no_session(error, self._transport, user) from error
            said = start(channel, command, user=user, peer=self.peer, timeout=self.timeout, sudo=sudo, password=password)
        return SshStream(channel, self, on_close, *said)

    def run(self, command: Sequence[str], stdin: bytes | Iterable[bytes] = b"") -> tuple[int, bytes, bytes]:
        """Run a command to its end: (exit status, first MiB of its output, last 4 KiB of its stderr).

        Raises:
            ConnectionLostError, TransportTimeoutError: It never ended, or a signal ended it.
        """
        with closing(self.start(command)) as stream:
            return stream.finish([stdin] if isinstance(stdin, bytes) else stdin)

    @contextmanager
    def watched(self, doing: str) -> Iterator[None]:
        """Translate errors, and end calls that take longer than the timeout: paramiko waits for some answers without a limit."""
        expired = threading.Event()

        def end() -> None:
            expired.set()
            self.close()

        watchdog = threading.Timer(self.timeout, end)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        except _FOREIGN_OR_OURS as error:
            if expired.is_set():
                raise TransportTimeoutError(f"{self.peer}: {doing}: no answer within {self.timeout:g} s") from error
            raise translate(error, self.peer, doing) from error
        finally:
            watchdog.cancel()

    def broken(self) -> Exception | None:
        """Return the error that ended the connection; None while it lasts or if none is known."""
        return None if self._transport.is_active() else self._transport.get_exception()

    def close(self) -> None:
        """End the connection; may be called twice."""
        with suppress(*FOREIGN):
            self._transport.close()
        self._sock.close()
        if self._jump is not None:
            self._jump.close()


class SshStream:
    """The Stream port over one channel. stdin, stdout and stderr of the remote command."""

    def __init__(self, channel: paramiko.Channel, login: SshLogin, on_close: Callable[[], None] | None, sign: bytes, said: bytes) -> None:
        self._channel, self._login, self._on_close = channel, login, on_close
        self._sign, self._stderr = sign, said.rpartition(sign)[2]

    def write(self, data: bytes | memoryview) -> None:
        """Write everything, in pieces the channel takes whole."""
        remaining = memoryview(data)
        try:
            while remaining:
                # A copy of 32 KB costs less than paramiko's check whether a view is bytes.
                sent = self._channel.send(bytes(remaining[:WRITE_MAX]))
                if not sent:
                    raise EOFError
                remaining = remaining[sent:]
        except FOREIGN as error:
            raise self._ended(error, "writing") from error
        self._keep_stderr()

    def read(self, size: int) -> bytes:
        """Read one to ``size`` bytes; ``b""`` if the command ended with status 0."""
        self._keep_stderr()
        try:
            data = self._channel.recv(size)
        except FOREIGN as error:
            raise self._ended(error, "reading") from error
        if not data and self._exit_status() != 0:
            raise self._ended(EOFError(), "reading")
        return data

    def readable(self) -> bool:
        """Whether a read would return at once: bytes, the end or an error."""
        channel = self._channel
        return bool(channel.recv_ready() or channel.eof_received or channel.closed)

    def finish(self, stdin: Iterable[bytes]) -> tuple[int, bytes, bytes]:
        """Write ``stdin``, then read to the end; see ``SshLogin.run``. A command that stops reading is no error."""
        output = bytearray()
        try:
            with suppress(ConnectionLostError):
                for part in stdin:
                    self.write(part)
                    while self._channel.recv_ready():
                        self._keep_output(output)
            self._channel.shutdown_write()
            while self._keep_output(output):
                self._keep_stderr()
        except FOREIGN as error:
            raise self._ended(error, "running a command") from error
        status = self._exit_status()
        self._keep_stderr()
        if status < 0:
            raise self._ended(EOFError(), "running a command")
        return status, bytes(output), self._stderr

    def close(self) -> None:
        """End the conversation; may be called twice. The command sees the end of its stdin."""
        if self._on_close is not None:
            self._on_close()  # first: the channel's own end would wait behind what another thread writes to a host that doesn't read
        with suppress(*FOREIGN):
            self._channel.close()

    def _keep_output(self, output: bytearray) -> int:
        data = self._channel.recv(WRITE_MAX)
        output += data[: OUTPUT_MAX - len(output)]
        return len(data)

    def _keep_stderr(self) -> None:
        # Unread, it would fill the window that stdout needs too.
        for _ in range(_STDERR_READS):
            if not self._channel.recv_stderr_ready():
                return
            self._stderr = (self._stderr + self._channel.recv_stderr(WRITE_MAX)).rpartition(self._sign)[2][-STDERR_MAX:]

    def _exit_status(self) -> int:
        """Return the exit status; -1 if a signal ended the command or the connection broke."""
        deadline = time.monotonic() + min(EXIT_WAIT, self._login.timeout)
        while not self._channel.exit_status_ready() and time.monotonic() < deadline:
            time.sleep(0.01)
        return self._channel.recv_exit_status() if self._channel.exit_status_ready() else -1

    def _ended(self, error: BaseException, doing: str) -> TransportError:
        """Return the error that says why the stream failed: the link, a missing agent, or an agent that ended."""
        peer = self._login.peer
        if isinstance(error, TimeoutError):
            return TransportTimeoutError(f"{peer}: {doing}: no progress within {self._login.timeout:g} s")
        status = self._exit_status()
        self._keep_stderr()
        stderr = output_text(self._stderr)
        if status in (NOT_FOUND, NOT_EXECUTABLE):
            return agent_missing(peer, self._login.name, stderr or f"exit status {status}", is_there=status == NOT_EXECUTABLE)
        if status >= 0:
            return ConnectionLostError(f"{peer}: {doing}: the agent ended with status {status}" + (f": {stderr}" if stderr else ""))
        cause = self._login.broken()
        lost = translate(cause or error, peer, doing)
        return lost if not stderr else type(lost)(f"{lost.message} (its stderr: {stderr})", remedy=lost.remedy)
