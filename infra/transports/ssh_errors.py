"""The seam where paramiko's exceptions, and the network's, become TransportErrors."""

from __future__ import annotations

import errno
import socket

import paramiko
from paramiko.hostkeys import InvalidHostKey
from paramiko.pkey import UnknownKeyType

from sluice.errors import (
    AuthenticationError,
    ConnectionLostError,
    HostKeyError,
    ProtocolError,
    TransportError,
    TransportTimeoutError,
    UnreachableError,
)
from sluice.rules.wording import printable

CHECK_ADDRESS = "check that the host is up and its address is right"
_CONNECT_ERRNOS = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL}


# The first class that fits decides, so subclasses come before their bases. A test shows that it covers all of paramiko's own.
TRANSLATION: tuple[tuple[type[BaseException], type[TransportError]], ...] = (
    (paramiko.BadHostKeyException, HostKeyError),
    (InvalidHostKey, HostKeyError),
    (paramiko.AuthenticationException, AuthenticationError),
    (UnknownKeyType, AuthenticationError),
    (paramiko.ssh_exception.IncompatiblePeer, ProtocolError),
    (paramiko.ssh_exception.MessageOrderError, ProtocolError),
    (paramiko.ConfigParseError, ProtocolError),
    (paramiko.CouldNotCanonicalize, UnreachableError),
    (paramiko.ssh_exception.NoValidConnectionsError, UnreachableError),
    (paramiko.ProxyCommandFailure, UnreachableError),
    (paramiko.ChannelException, ConnectionLostError),
    (paramiko.SFTPError, ConnectionLostError),
    (paramiko.SSHException, ConnectionLostError),
    (TimeoutError, TransportTimeoutError),
    (socket.gaierror, UnreachableError),
    (socket.herror, UnreachableError),
    (EOFError, ConnectionLostError),
    (OSError, ConnectionLostError),
)
_WITHOUT_WORDS = {
    HostKeyError: "its host key can't be used",
    AuthenticationError: "the host refused the login without a reason",
    ProtocolError: "its SSH server and Sluice don't understand each other",
    UnreachableError: "nothing answers there",
    ConnectionLostError: "the connection was lost",
    TransportTimeoutError: "no answer in time",
}
FOREIGN: tuple[type[BaseException], ...] = tuple(foreign for foreign, _ in TRANSLATION)


def translate(error: BaseException, peer: str, doing: str) -> TransportError:
    """Return Sluice's error for a foreign one, which came from ``peer`` while ``doing`` something."""
    if isinstance(error, TransportError):
        return error
    ours = next((ours for foreign, ours in TRANSLATION if isinstance(error, foreign)), ConnectionLostError)
    if isinstance(error, OSError) and error.errno in _CONNECT_ERRNOS:
        ours = UnreachableError
    detail = _detail(error) or _WITHOUT_WORDS[ours]
    remedies = {
        UnreachableError: CHECK_ADDRESS,
        AuthenticationError: "check the Subscriber's identity and the host's authorized_keys",
    }
    return ours(f"{peer}: {doing}: {detail}", remedy=remedies.get(ours, ""))


def _detail(error: BaseException) -> str:
    """Return an exception's own words as a part of a sentence; empty if it has none."""
    if isinstance(error, EOFError):
        return "the connection was closed"
    if isinstance(error, paramiko.ChannelException):
        return printable(error.text).strip(" .:")
    if isinstance(error, UnknownKeyType):
        return f"keys of type {printable(str(error.key_type))} are unknown to Sluice"
    return printable((error.strerror if isinstance(error, OSError) else None) or str(error)).strip(" .:")
