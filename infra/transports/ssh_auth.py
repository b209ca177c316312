"""Log in with keys, and say why a host refuses: the key, the user, a second factor, the number of tries.

sshd doesn't tell a client why it refuses a key: that the account is unknown, locked or kept out looks the same on purpose. Where several
causes look the same, the remedy names them, and the host's log, which knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import paramiko

from infra.transports.ssh_connection import Connection, shown
from infra.transports.ssh_errors import FOREIGN
from sluice.errors import AuthenticationError, ConnectionLostError, TransportError

_FACTORS = {
    "publickey": "another key",
    "password": "a password",
    "keyboard-interactive": "something that a person types (keyboard-interactive: a password or a code)",
    "hostbased": "a key of this machine (hostbased)",
    "gssapi-with-mic": "Kerberos (gssapi-with-mic)",
}
_FORCED_ROOT = {"root": ", or PermitRootLogin forced-commands-only"}
_LOG = "sshd's log there has the reason (journalctl -u ssh)"


@dataclass(frozen=True, slots=True)
class Identity:
    """A key to offer; ``name`` is the path of its file, or tells of the ssh-agent."""

    key: paramiko.PKey
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.key.get_name()} {self.key.fingerprint})"


def authenticate(connection: Connection, user: str, identities: Iterable[Identity], peer: str) -> None:
    """Offer the identities in order until the host lets ``user`` in. A step of several that the host accepted is continued by the next key.

    Raises:
        AuthenticationError: The host refuses all of them, or asks for more; the message has what it said.
        ConnectionLostError: It closed the connection instead of an answer.
    """
    accepted: list[Identity] = []
    refused: list[Identity] = []
    asks: Sequence[str] = ()
    for identity in identities:
        try:
            more = connection.auth_publickey(user, identity.key)
        except paramiko.BadAuthenticationType as error:
            refused.append(identity)
            if not accepted:
                _no_keys(error.allowed_types, user, peer, connection)
            break
        except FOREIGN as error:
            refused.append(identity)
            if connection.is_active() and isinstance(error, paramiko.AuthenticationException):
                continue
            raise _closed(connection, error, user, (*accepted, *refused), peer) from error
        if not more:
            return
        accepted.append(identity)
        asks = more
        if "publickey" not in more:
            break
    if accepted:
        _more(asks, accepted, refused, user, peer, connection)
    _refused(connection, user, refused, peer)


def no_session(error: BaseException, connection: Connection, user: str) -> TransportError:
    """Return the error of a host that lets somebody in and opens no session."""
    if isinstance(error, paramiko.ChannelException):
        why = f" ({shown(error.text.rstrip('.'))})" if error.text else ""
        return AuthenticationError(
            f"{connection.peer}: the login succeeded, and the host opens no session{why}",
            remedy="set MaxSessions in its sshd_config to 1 or more (10 is sshd's default), and reload sshd",
        )
    said = f": {shown(connection.farewell)}" if connection.farewell else ""
    return ConnectionLostError(
        f"{connection.peer}: the login succeeded, and the host closed the connection as a session was opened{said}",
        remedy="if that goes on, PAM may limit it (limits.conf)" + _FORCED_ROOT.get(user, "") + f": {_LOG}",
    )


def _more(
    asks: Sequence[str], accepted: Sequence[Identity], refused: Sequence[Identity], user: str, peer: str, connection: Connection
) -> NoReturn:
    wanted = " or ".join(_FACTORS.get(each, shown(each)) for each in asks)
    others = f", not {_listed(refused)}" if refused else ""
    alone = f"allow a key alone for it in the host's sshd_config: Match User {user}, and below it AuthenticationMethods publickey"
    second = "offer a second key too (ssh: agent: or config: in its document), or " if "publickey" in asks else ""
    raise AuthenticationError(
        f"{peer}: the key {_listed(accepted)} was accepted, and the host also asks for {wanted}{others}{connection.banner()}",
        remedy=f"Sluice logs in with keys alone: {second}{alone}",
    )


def _no_keys(methods: Sequence[str], user: str, peer: str, connection: Connection) -> NoReturn:
    raise AuthenticationError(
        f"{peer}: the host takes no keys for {user}, only {shown(', '.join(methods)) or 'nothing'}{connection.banner()}",
        remedy=f"set PubkeyAuthentication yes there, or AuthenticationMethods publickey for {user} (Match User {user}) in its sshd_config",
    )


def _refused(connection: Connection, user: str, refused: Sequence[Identity], peer: str) -> NoReturn:
    if not refused:
        raise AuthenticationError(f"{peer}: there is no key to offer", remedy="name the private key file as identity: in its document")
    extensions: dict[str, bytes] = getattr(connection, "server_extensions", {})
    takes = [each for each in extensions.get("server-sig-algs", b"").decode(errors="replace").split(",") if each]
    if takes and all(_unknown(each.key, takes) for each in refused):
        kinds = ", ".join(sorted({each.key.get_name() for each in refused}))
        raise AuthenticationError(
            f"{peer}: the host accepts no keys of type {kinds}; it accepts {shown(', '.join(takes))}",
            remedy="use an identity of one of these types (ssh-keygen -t ed25519), or allow this one in its sshd_config "
            "(PubkeyAcceptedAlgorithms)",
        )
    offers = ""
    try:
        connection.auth_none(user)
    except paramiko.BadAuthenticationType as error:
        offers = f"; it offers {shown(', '.join(error.allowed_types))}"
    except FOREIGN:
        offers = ""  # the refusal stands without it
    if user == "root":
        place, causes = "/root/.ssh/authorized_keys", "PermitRootLogin is no, or AllowUsers or DenyUsers keeps root out"
    else:
        place = f"~{user}/.ssh/authorized_keys"
        causes = "the account doesn't exist, is locked or expired, or AllowUsers or DenyUsers keeps it out"
    signed = f", or have the CA in TrustedUserCAKeys there sign it for {user}" if any(each.key.public_blob for each in refused) else ""
    raise AuthenticationError(
        f"{peer}: the host doesn't accept the key {_listed(refused)} for user {user}{offers}{connection.banner()}",
        remedy=f"put its .pub into {place} there{signed}; if that is so, {causes}, others may write to that file, or "
        f"PubkeyAcceptedAlgorithms leaves its type out: {_LOG}",
    )


def _closed(connection: Connection, error: BaseException, user: str, tried: Sequence[Identity], peer: str) -> TransportError:
    """Return the error of a connection that ended in the middle of the login."""
    if "too many" in connection.farewell.lower():
        return AuthenticationError(
            f"{peer}: the host ended the login after {_listed(tried)}: {shown(connection.farewell)}",
            remedy=f"offer the right key alone or first, or raise MaxAuthTries in its sshd_config; if this is the right one, {_LOG}",
        )
    if "pubkey algorithm" in str(error):
        return AuthenticationError(
            f"{peer}: the host checks RSA keys by SHA-1 alone (ssh-rsa), which Sluice doesn't offer",
            remedy="use an ed25519 key as identity (ssh-keygen -t ed25519), or update the SSH server there",
        )
    said = f": {shown(connection.farewell)}" if connection.farewell else ""
    return ConnectionLostError(
        f"{peer}: the host closed the connection when {_listed(tried)} was shown for user {user}{said}{connection.banner()}",
        remedy="if that goes on, the account may be expired or closed (PAM, /run/nologin)" + _FORCED_ROOT.get(user, "") + f": {_LOG}",
    )


def _unknown(key: paramiko.PKey, takes: Sequence[str]) -> bool:
    kind = key.get_name()
    return not any(each.startswith("rsa-sha2-") if kind == "ssh-rsa" else each == kind for each in takes)


def _listed(identities: Sequence[Identity]) -> str:
    return ", ".join(map(str, identities))
