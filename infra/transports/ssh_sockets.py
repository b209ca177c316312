"""What an SSH connection runs over: a socket, or a channel through a jump host. Neither lets a call wait longer than its limit."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any

import paramiko

from infra.transports.ssh_errors import CHECK_ADDRESS, translate
from infra.transports.ssh_way import Hop
from sluice.errors import UnreachableError

_FORBIDDEN = 1
"""Code of a jump host that may not, or will not, forward; any other: the host behind it can't be reached."""


def open_socket(hop: Hop, timeout: float) -> socket.socket:
    """Connect to a host. Raises TransportError."""
    limit = min(timeout, hop.connect_timeout or timeout)
    try:
        sock = _connected(hop, limit)
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


def _connected(hop: Hop, limit: float) -> socket.socket:
    failed: OSError | None = None
    for *_, address in socket.getaddrinfo(hop.address.host, hop.address.port, hop.family, socket.SOCK_STREAM):
        try:
            return socket.create_connection((str(address[0]), int(address[1])), limit)
        except OSError as error:
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
            f"{hop.peer}: jump host {jump.name} forwards nobody there: {error.text}",
            remedy=f"allow it in its sshd_config (AllowTcpForwarding yes, PermitOpen), or in authorized_keys of {jump.address.user} there",
        )
    return UnreachableError(
        f"{hop.peer}: jump host {jump.name} can't reach {hop.address.host} port {hop.address.port}: {error.text}",
        remedy="check that the host is up, and its address as the jump host sees it",
    )
