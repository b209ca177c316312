"""Keys of an SSH connection: the host's pinned keys, and the one identity that the blueprint names."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry

from infra.transports.ssh_errors import FOREIGN
from sluice.errors import AuthenticationError, HostKeyError
from sluice.model.site import Subscriber

_UNUSABLE: tuple[type[BaseException], ...] = (*FOREIGN, ValueError)


def identity_of(subscriber: Subscriber, site: Path, peer: str) -> paramiko.PKey:
    """Read the private key that a Subscriber's document names. Raises AuthenticationError."""
    if not subscriber.identity:
        raise AuthenticationError(f"{peer} has no identity", remedy="name the private key file as identity: in its document")
    path = site / subscriber.identity
    try:
        return paramiko.PKey.from_path(path)
    except FileNotFoundError as error:
        raise AuthenticationError(f"{peer}: the identity {path} doesn't exist", remedy="make it with ssh-keygen -t ed25519") from error
    except (paramiko.PasswordRequiredException, TypeError) as error:
        raise AuthenticationError(
            f"{peer}: the identity {path} is protected by a passphrase, which nobody can type in a scheduled run",
            remedy="use a key of its own without one, restricted in the host's authorized_keys",
        ) from error
    except _UNUSABLE as error:
        raise AuthenticationError(f"{peer}: the identity {path} can't be used: {error!s}") from error


def pinned_keys(subscriber: Subscriber, site: Path, peer: str) -> list[paramiko.PKey]:
    """Return every key that the host may show: its ``host_key``, or its lines in the known_hosts file. Raises HostKeyError."""
    if subscriber.host_key:
        try:
            kind, encoded = subscriber.host_key.split()[:2]
            return [paramiko.PKey.from_type_string(kind, base64.b64decode(encoded, validate=True))]
        except _UNUSABLE as error:
            raise HostKeyError(f"{peer}: its host_key isn't an SSH key", remedy="write it as in known_hosts: type and base64") from error
    if not subscriber.host_keys:
        raise HostKeyError(f"{peer} has no pinned host key", remedy="add host_key: or host_keys: to its document")
    path, address = site / subscriber.host_keys, subscriber.address
    known = paramiko.HostKeys()
    revoked = set()
    try:
        for line in path.read_text().splitlines():
            fields = line.split()
            if fields[:1] == ["@revoked"]:
                revoked |= set(fields[3:4])
            elif fields and not fields[0].startswith(("#", "@")) and (entry := HostKeyEntry.from_line(" ".join(fields))):
                for name in entry.hostnames or ():
                    known.add(name, entry.key.get_name(), entry.key)
    except _UNUSABLE as error:
        raise HostKeyError(f"{peer}: the known_hosts file {path} can't be read: {error}") from error
    found = known.lookup(address.host if address.port == 22 else f"[{address.host}]:{address.port}")
    keys = [key for key in (found or {}).values() if key.get_base64() not in revoked]
    if not keys:
        raise HostKeyError(f"{peer} isn't in {path}", remedy="add its host key there, after comparing it on the host itself")
    return keys


def preferred_types(offered: Sequence[str], pinned: Sequence[paramiko.PKey]) -> tuple[str, ...]:
    """Put the pinned kinds first, so that a host with several keys shows a pinned one."""
    kinds = {key.get_name() for key in pinned}
    return tuple(sorted(offered, key=lambda kind: not (kind in kinds or ("ssh-rsa" in kinds and kind.startswith("rsa-")))))


def compare_host_key(shown: paramiko.PKey, pinned: Sequence[paramiko.PKey], subscriber: Subscriber, peer: str) -> None:
    """Raise HostKeyError, with both fingerprints, for a host that shows another key."""
    if shown not in pinned:
        expected = ", ".join(f"{key.get_name()} {key.fingerprint}" for key in pinned)
        raise HostKeyError(
            f"{peer} shows the host key {shown.get_name()} {shown.fingerprint}, pinned is {expected}",
            remedy="compare them on the host itself (ssh-keygen -lf its .pub); then change host_key: in "
            f"{subscriber.name}'s document, or find out which machine answers there",
        )
