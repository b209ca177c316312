"""Keys of an SSH connection: the identities that are offered to a host, of files and of an ssh-agent, and the host's key."""

from __future__ import annotations

import base64
import copy
import io
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    SSHCertificateType,
    load_pem_private_key,
    load_ssh_private_key,
)

from infra.transports.ssh_agent import Agent, AgentKey
from infra.transports.ssh_auth import Identity
from infra.transports.ssh_certificates import SUFFIX, host_fault, key_in, lifetime_fault, load_certificate, principals_of
from infra.transports.ssh_config_file import SIZE_MAX, read_file
from infra.transports.ssh_connection import shown
from infra.transports.ssh_errors import FOREIGN
from infra.transports.ssh_identity_files import identity_fault
from infra.transports.ssh_known_hosts import HostKeys
from infra.transports.ssh_secrets import asked, secret
from infra.transports.ssh_way import Hop
from sluice.errors import AuthenticationError, HostKeyError

_UNUSABLE: tuple[type[BaseException], ...] = (*FOREIGN, ValueError, TypeError, UnsupportedAlgorithm)
_CLASSES: tuple[tuple[type, type[paramiko.PKey], PrivateFormat], ...] = (
    (Ed25519PrivateKey, paramiko.Ed25519Key, PrivateFormat.OpenSSH),
    (EllipticCurvePrivateKey, paramiko.ECDSAKey, PrivateFormat.TraditionalOpenSSL),
    (RSAPrivateKey, paramiko.RSAKey, PrivateFormat.TraditionalOpenSSL),
)
"""Types of private keys: cryptography's, paramiko's, and the form in which the one hands it to the other."""


@contextmanager
def identities(hop: Hop, timeout: float) -> Iterator[list[Identity]]:
    """Load what is offered to a host, in order; a certificate comes before its key. The ssh-agent is left with the context.

    Raises:
        AuthenticationError: There is none, or one that the blueprint names can't be used.
    """
    if hop.agent is None:
        yield _Loader(hop, ()).all()
        return
    with closing(Agent(hop, timeout)) as agent:
        yield _Loader(hop, agent.keys).all()


class _Loader:
    def __init__(self, hop: Hop, held: Sequence[AgentKey]) -> None:
        self.hop, self.held = hop, held
        self.unused = {path for path in hop.certificates if path in hop.required}

    def all(self) -> list[Identity]:
        """Return everything that is offered."""
        hop, first, files, faults = self.hop, list[Identity](), list[Identity](), list[AuthenticationError]()
        for path in hop.identities:
            try:
                public = _public_blob(path) if self.held else None
                found = [each for each in self.held if each.asbytes() == public]
                for each in found:
                    first += self._with_certificates(Identity(each, f"{path} in the ssh-agent"), path)
                if not found:
                    files += self._with_certificates(Identity(self._of_file(path), str(path)), path)
            except AuthenticationError as error:
                if path in hop.required:
                    raise
                faults.append(error)
        if not hop.only_named:
            others = [each for each in self.held if each.asbytes() not in {known.key.asbytes() for known in first}]
            for each in others:
                first += self._with_certificates(Identity(each, f"{shown(each.comment) or 'a key'} in the ssh-agent"))
        for path in self.unused:
            raise AuthenticationError(
                f"{hop.peer}: the certificate {path} is of another key than the identity",
                remedy="have the CA sign this key (ssh-keygen -s)",
            )
        if first or files:
            return first + files
        if faults:
            raise faults[0]
        raise AuthenticationError(f"{hop.peer} has no identity", remedy="name the private key file as identity: in its document")

    def _of_file(self, path: Path) -> paramiko.PKey:
        peer = self.hop.peer
        fault = identity_fault(path, agent=self.hop.agent is not None)
        if fault is None and path.suffix == ".pub" and self.hop.agent is not None:
            fault = "isn't among the keys of the ssh-agent", f"add it: ssh-add {path.with_suffix('')}"
        if fault is not None:
            raise AuthenticationError(f"{peer}: the identity {path} {fault[0]}", remedy=fault[1])
        try:
            return _private_key(path, None)
        except TypeError:
            return self._opened(path)
        except _UNUSABLE as error:
            raise AuthenticationError(
                f"{peer}: the identity {path} can't be used: {error!s}", remedy="see it with ssh-keygen -lf"
            ) from error

    def _opened(self, path: Path) -> paramiko.PKey:
        """Open a key that is protected by a passphrase."""
        name, peer = self.hop.passphrase, self.hop.peer
        passphrase = secret(name, f"the passphrase of the identity {path}", peer) if name else asked(f"Passphrase of {path}: ")
        if passphrase is None:
            raise AuthenticationError(
                f"{peer}: the identity {path} is protected by a passphrase, which nobody can type in a scheduled run",
                remedy="give it as ssh: {passphrase: secret:NAME}, use an ssh-agent, or a key of its own without a passphrase",
            )
        try:
            return _private_key(path, passphrase.encode(errors="surrogateescape"))
        except _UNUSABLE as error:
            whence = f"secret:{name}" if name else "what was typed"
            raise AuthenticationError(
                f"{peer}: the passphrase of the identity {path} is wrong ({whence})", remedy=f"try it with ssh-keygen -yf {path}"
            ) from error

    def _with_certificates(self, identity: Identity, path: Path | None = None) -> Iterator[Identity]:
        """Yield a key with each certificate of it that holds now, then the key alone; ``path``: the file that names it."""
        key, now = identity.key, time.time()
        beside = [Path(f"{path}-cert.pub")] if path is not None and os.path.exists(f"{path}-cert.pub") else []
        for each in [] if key.public_blob else dict.fromkeys((*self.hop.certificates, *beside)):
            try:
                certificate = load_certificate(read_file(each, SIZE_MAX))
                fault = "" if certificate else "isn't a certificate"
            except OSError as error:
                certificate, fault = None, f"can't be read: {error.strerror}"
            if certificate is not None:
                if key_in(certificate) != key.asbytes():
                    continue
                self.unused.discard(each)
                is_users = certificate.type is SSHCertificateType.USER
                fault = lifetime_fault(certificate, now) if is_users else "is a host's, not a user's"
            if not fault:
                certified = AgentKey(key.agent, key.blob, key.comment) if isinstance(key, AgentKey) else copy.copy(key)
                certified.load_certificate(str(each))
                whose = shown(", ".join(principals_of(certificate))) if certificate else ""
                yield Identity(certified, f"{identity.name} with the certificate {each} for {whose or 'nobody'}")
            elif each in self.hop.required:
                raise AuthenticationError(
                    f"{self.hop.peer}: the certificate {each} {fault}", remedy="have the CA sign the key anew (ssh-keygen -s)"
                )
            else:
                identity = Identity(key, f"{identity.name}, whose certificate {each} {fault}")
        yield identity


def _private_key(path: Path, passphrase: bytes | None) -> paramiko.PKey:
    """Open a private key. Raises TypeError: it needs a passphrase; ValueError and others: it can't be opened.

    Not by paramiko, which takes every second ECDSA key without a comment for a broken one, and opens a protected key twice.
    """
    data = path.read_bytes()
    try:
        key = load_ssh_private_key(data, passphrase)
    except ValueError:
        key = cast(Any, load_pem_private_key(data, passphrase))
    for kind, ours, form in _CLASSES:
        if isinstance(key, kind):
            return ours.from_private_key(io.StringIO(key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()))
    raise ValueError("its type is none of ed25519, ECDSA and RSA")


def _public_blob(path: Path) -> bytes | None:
    """Return the public key of an identity, from the file itself or the .pub beside it."""
    for each in (path, Path(f"{path}.pub")):
        try:
            fields = read_file(each, SIZE_MAX).split()
            if not fields[0].startswith(b"-----"):
                return base64.b64decode(fields[1], validate=True)
        except (OSError, LookupError, ValueError):
            continue
    return None


def host_algorithms(known: HostKeys, offered: Sequence[str]) -> tuple[str, ...]:
    """Order the algorithms of host keys so that a host shows a certificate if a CA is known for it, else a pinned key."""
    kinds = {key.kind for key in known.keys}
    pinned_first = sorted(offered, key=lambda kind: not (kind in kinds or ("ssh-rsa" in kinds and kind.startswith("rsa-"))))
    return (*(kind + SUFFIX for kind in offered if known.authorities), *pinned_first)


def require_pinned(hop: Hop) -> None:
    """Raise HostKeyError if no key that a host can show would be believed: then nobody is called."""
    if hop.known.keys or hop.known.authorities:
        return
    notes = f" ({'; '.join(hop.known.complaints[:3])})" if hop.known.complaints else ""
    if not hop.files:
        raise HostKeyError(
            f"{hop.peer} has no pinned host key",
            remedy="add host_key: or host_keys: to its document, or UserKnownHostsFile to its ssh: config",
        )
    revoked = ", but for revoked keys" if hop.known.revoked else ""
    raise HostKeyError(
        f"{hop.peer}: {hop.known.names[0]} isn't in {hop.files}{revoked}{notes}",
        remedy=f"add its host key there (ssh-keyscan -p {hop.address.port} {hop.address.host}), after comparing it on the host itself",
    )


def check_host_key(host_key: paramiko.PKey, hop: Hop) -> None:
    """Raise HostKeyError, with both fingerprints, if a host's key isn't pinned or is revoked, or its certificate doesn't count."""
    known, what = hop.known, f"{host_key.get_name()} {host_key.fingerprint}"
    if host_key.asbytes() in known.revoked:
        raise HostKeyError(
            f"{hop.peer} shows the host key {what}, which is revoked", remedy=f"give the host a new key, then change {hop.pin}"
        )
    fault = ""
    if host_key.public_blob is not None:
        line = f"{host_key.public_blob.key_type} {base64.b64encode(host_key.public_blob.key_blob).decode()}"
        fault = host_fault(load_certificate(line.encode()), known, time.time())
        if not fault:
            return
    if any(host_key.asbytes() == each.blob for each in known.keys):
        return
    if fault:
        raise HostKeyError(
            f"{hop.peer} shows a certificate of {what} that {fault}",
            remedy=f"see it on the host (ssh-keygen -Lf its -cert.pub); have a CA of {hop.files} sign it anew (ssh-keygen -s CA -h -n "
            f"{known.names[-1]}), or add the right CA there as @cert-authority, after comparing it",
        )
    expected = ", ".join(map(str, known.keys)) or "no key, only a CA, and the host shows no certificate"
    raise HostKeyError(
        f"{hop.peer} shows the host key {what}, pinned is {expected}",
        remedy=f"compare them on the host itself (ssh-keygen -lf its .pub); then change {hop.pin}, or find out which machine answers there",
    )
