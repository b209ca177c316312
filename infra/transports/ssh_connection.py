"""An SSH connection up to the exchange of keys, over a socket or a channel of a jump host, and the words for a start that fails.

paramiko tells of that by one text, and of a host's farewell only in its log: ``Connection`` remembers what the host said. The methods
that it overrides are paramiko's own; ``tests/system/test_ssh_settings.py`` shows against real servers that they are still called.
Neither a socket nor a tunnel lets a call wait longer than its limit.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any, cast

import paramiko
from paramiko.packet import Packetizer

from infra.transports.lines import Lines, WakingSocket
from infra.transports.ssh_errors import CHECK_ADDRESS, FOREIGN, translate
from infra.transports.ssh_way import Hop
from sluice.errors import ConnectionLostError, ProtocolError, TransportError, TransportTimeoutError, UnreachableError
from sluice.rules.wording import output_text, printable

GREETING_WAIT = 30.0
"""Seconds in which an SSH server greets: a port that accepts connections and stays silent is no reason to wait longer."""
GREETING_MAX = 64 * 1024
"""Most bytes before the first packet."""
SAID_MAX = 300
"""Most characters of a host's own words in an error."""
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr")
_BUSY = ("maxstartups", "not allowed at this time", "too many")
"""What sshd says, without a greeting, to those who come too many at once."""
_KINDS = {
    # paramiko's words: kind, key of its lists, keyword of sshd_config.
    "kex algorithm": ("key exchange method", "kex_algo_list", "KexAlgorithms"),
    "host key": ("type of host key", "server_key_algo_list", "HostKeyAlgorithms"),
    "ciphers": ("cipher", "server_encrypt_algo_list", "Ciphers"),
    "macs": ("MAC", "server_mac_algo_list", "MACs"),
}
_FORBIDDEN = 1
"""Code of a jump host that may not, or will not, forward; any other: the host behind it can't be reached."""


class _Packets(Packetizer):
    """New keys after 32 GiB (OpenSSH takes them after 64), not after paramiko's 512 MiB, which stalls a fast stream twice a GB."""

    REKEY_BYTES = 32 * 1024**3
    REKEY_PACKETS = 2**31

    def __init__(self, socket: Any) -> None:
        super().__init__(socket)
        self.lines: list[str] = []
        """The lines before the first packet."""
        self._greeted = 0

    def readline(self, timeout: float) -> str:
        """Keep what is read."""
        line = str(super().readline(timeout))
        self.lines.append(line)
        return line

    def _read_timeout(self, timeout: float) -> bytes:
        data = bytes(super()._read_timeout(timeout))  # type: ignore[misc] # its types leave it out
        self._greeted += len(data)
        if self._greeted > GREETING_MAX:
            self.lines.append(data.decode(errors="replace"))
            raise EOFError
        return data


class Connection(paramiko.Transport):
    """A connection that says why it failed."""

    def __init__(self, sock: Any, peer: str, timeout: float) -> None:
        """Take the socket, or the channel of a jump host."""
        super().__init__(sock, strict_kex=True, packetizer_class=_Packets)
        self.peer = peer
        self.host_algorithms: tuple[str, ...] = ()
        """Of host keys, the wanted first; set before ``greet``."""
        self.farewell = ""
        """What the host said as it disconnected."""
        self.offers: dict[str, list[str]] = {}
        """The host's algorithms, by paramiko's names of the lists."""
        self._banner = b""
        self.banner_timeout = min(timeout, GREETING_WAIT)
        self.handshake_timeout = self.clear_to_send_timeout = timeout
        self.auth_timeout = 2 * timeout  # the watchdog of a login comes first, and knows that it was one
        self.get_security_options().ciphers = CIPHERS

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Return what is offered to the host, in order; paramiko's own puts certificates last."""
        return self.host_algorithms or tuple(super().preferred_keys)

    def greet(self, timeout: float) -> None:
        """Exchange greetings and keys. Raises TransportError with what the host said or lacks."""
        try:
            self.start_client(timeout=timeout)
            if not self.initial_kex_done:
                raise TimeoutError
        except FOREIGN as error:
            raise self._failure(error) from error

    def get_exception(self) -> Exception | None:
        """Return what ended the connection. Whatever else a host's packets do to paramiko's thread is an SSHException too."""
        found = super().get_exception()
        if found is None or isinstance(found, (*FOREIGN, TransportError)):
            return found
        return paramiko.SSHException("the host sent a packet that makes no sense")

    def auth_publickey(self, username: str, key: paramiko.PKey, event: Any = None) -> list[str]:
        """Keep the banner, which comes with the first attempt and which paramiko forgets at the second."""
        try:
            return super().auth_publickey(username, key, event)
        finally:
            self._banner = self.get_banner() or self._banner

    def banner(self) -> str:
        """Return what the host's Banner, or its PAM, said before the login was decided, as the end of a message."""
        said = shown(output_text(self._banner))
        return f" (its banner: {said})" if said else ""

    def _failure(self, error: BaseException) -> TransportError:
        peer, lines = self.peer, cast(_Packets, self.packetizer).lines
        if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
            return self._nothing_in_common(error)
        if self.remote_version:
            why = self.farewell or ("no answer in time" if isinstance(error, TimeoutError) else "")
            if why or isinstance(error, EOFError):
                return ConnectionLostError(
                    f"{peer}: the connection was closed during the key exchange" + (f": {shown(why)}" if why else ""),
                    remedy="if that goes on, look there at sshd's log (journalctl -u ssh)",
                )
            return translate(error, peer, "exchanging keys")
        check_port = "check the port of its address: sshd listens on 22 unless its sshd_config says otherwise"
        said = shown(next(filter(None, lines), ""))
        if said and any(word in said.lower() for word in _BUSY):
            return UnreachableError(
                f"{peer}: the host takes no more logins at the moment: it said {said!r}",
                remedy="if that goes on, raise MaxStartups in its sshd_config, or end connections that wait for a login",
            )
        if said:
            return ProtocolError(f"{peer}: no SSH server answers there: it said {said!r}", remedy=check_port)
        cause = error.__context__
        if isinstance(cause, UnicodeError):
            return ProtocolError(f"{peer}: no SSH server answers there: its first bytes aren't text", remedy=check_port)
        if isinstance(cause or error, TimeoutError):
            return TransportTimeoutError(
                f"{peer}: the port accepts connections and says nothing for {self.banner_timeout:g} s: no SSH server, or a stalled one",
                remedy=f"{check_port}; if it is the right one, look at the host's load",
            )
        return UnreachableError(
            f"{peer}: the connection was accepted and closed without a greeting",
            remedy="look there at sshd's log (journalctl -u ssh), its MaxStartups, /etc/hosts.deny and fail2ban; or it is another "
            f"program's port: {check_port}",
        )

    def _nothing_in_common(self, error: BaseException) -> ProtocolError:
        kind, key, keyword = next((each for words, each in _KINDS.items() if words in str(error)), ("", "", ""))
        if not kind:
            said = shown(str(error).rstrip("."))
            return ProtocolError(f"{self.peer}: it speaks another SSH: {said}", remedy="update the SSH server there: Sluice speaks 2.0")
        ours = {
            "kex_algo_list": self.preferred_kex,
            "server_key_algo_list": self.preferred_keys,
            "server_encrypt_algo_list": self.preferred_ciphers,
            "server_mac_algo_list": self.preferred_macs,
        }[key]
        offered = shown(", ".join(self.offers.get(key, ())))
        message = f"{self.peer}: no {kind} in common: the host offers {offered}; Sluice offers {', '.join(ours)}"
        remedy = f"allow one of them in the host's sshd_config ({keyword}), or update its SSH server"
        if key == "server_key_algo_list":
            message += ", and no RSA with SHA-1 (ssh-rsa)" if "ssh-rsa" in self.offers.get(key, ()) else ""
            remedy = f"make an ed25519 host key there with ssh-keygen -A, and allow it in its sshd_config (HostKey, {keyword})"
        return ProtocolError(message, remedy=remedy)

    def _parse_disconnect(self, m: paramiko.Message) -> None:
        m.get_int()
        self.farewell = output_text(m.get_string())

    def _really_parse_kex_init(self, m: paramiko.Message, ignore_first_byte: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = super()._really_parse_kex_init(m, ignore_first_byte)  # type: ignore[misc]
        self.offers = {key: list(value) for key, value in found.items() if isinstance(value, list)}
        return found


def open_socket(hop: Hop, timeout: float, lines: Lines) -> socket.socket:
    """Connect to a host. Raises TransportError."""
    limit = min(timeout, hop.connect_timeout or timeout)
    try:
        sock = _connected(hop, limit, lines)
    except TimeoutError as error:
        raise UnreachableError(f"{hop.peer}: no answer within {limit:g} s", remedy=CHECK_ADDRESS) from error
    except OSError as error:
        raise translate(error, hop.peer, "connecting") from error
    dead = min(timeout, hop.alive_interval * hop.alive_count or timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, int(dead / 3)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, int(dead / 9)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(dead * 1000)))
    return sock


def _connected(hop: Hop, limit: float, lines: Lines) -> socket.socket:
    failed: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(hop.address.host, hop.address.port, hop.family, socket.SOCK_STREAM):
        sock = lines.add(WakingSocket(family, kind, protocol))
        try:
            sock.settimeout(limit)
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            failed = error
    raise failed or OSError(errno.EADDRNOTAVAIL, "it has no address")


class Tunnel:
    """A channel that takes a socket's place. A send that makes no progress fails after the limit, as a socket's by TCP_USER_TIMEOUT."""

    def __init__(self, channel: paramiko.Channel, timeout: float) -> None:
        self._channel, self._timeout = channel, timeout
        self._stalled: float | None = None

    def send(self, data: bytes) -> int:
        """Send some of it. Raises OSError."""
        try:
            sent = self._channel.send(data)
        except TimeoutError:
            now = time.monotonic()
            self._stalled = self._stalled or now
            if now - self._stalled > self._timeout:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
            raise
        self._stalled = None
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def open_tunnel(transport: paramiko.Transport, jump: Hop, hop: Hop, timeout: float) -> Tunnel:
    """Open a channel from a jump host to the next host. Raises UnreachableError: it opens none."""
    to = (hop.address.host, hop.address.port)
    try:
        # Its own limit is the later one: whoever watches this call knows more to say.
        return Tunnel(transport.open_channel("direct-tcpip", to, ("127.0.0.1", 0), timeout=2 * timeout), timeout)
    except paramiko.ChannelException as error:
        raise _refused(error, jump, hop) from error


def _refused(error: paramiko.ChannelException, jump: Hop, hop: Hop) -> UnreachableError:
    if error.code == _FORBIDDEN:
        return UnreachableError(
            f"{hop.peer}: jump host {jump.name} forwards nobody there: {shown(error.text)}",
            remedy=f"allow it in its sshd_config (AllowTcpForwarding yes, PermitOpen), or in authorized_keys of {jump.address.user} there",
        )
    return UnreachableError(
        f"{hop.peer}: jump host {jump.name} can't reach {hop.address.host} port {hop.address.port}: {shown(error.text)}",
        remedy="check that the host is up, and its address as the jump host sees it",
    )


def shown(text: str) -> str:
    """Return a host's words fit for a message: printable, on one line, and not too long."""
    text = " ".join(printable(text, replacement=" ").split())
    return text if len(text) <= SAID_MAX else text[:SAID_MAX] + "…"
