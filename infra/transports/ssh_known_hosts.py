"""Read the lines of known_hosts files that are about one host: keys, CAs and revoked keys, as sshd(8) describes them.

Rules: names may be hashed, be patterns, or exclude by ``!``; a host at another port than 22 is ``[host]:port``, and its bare name
counts if no line has it so. Every key counts, also several of one type. A revoked key is revoked whatever other lines say. Lines for
other hosts are passed over, whatever they hold; one for this host that can't be used is remembered, to be named if no other helps.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from infra.transports.ssh_config_file import is_match, read_file

TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
"""Types of keys that Sluice can verify."""
SIZE_MAX = 64 * 1024 * 1024
"""Bytes of one file."""
_MARKERS = ("@cert-authority", "@revoked")


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One public key: type and bytes as on the wire."""

    kind: str
    blob: bytes

    def __str__(self) -> str:
        return f"{self.kind} SHA256:{base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip('=')}"


@dataclass(frozen=True, slots=True)
class HostKeys:
    """All that known_hosts files, or a ``host_key:``, say about one host."""

    names: tuple[str, ...]
    """By which it was looked up."""
    keys: tuple[KnownKey, ...] = ()
    authorities: tuple[KnownKey, ...] = ()
    """CAs whose host certificates count."""
    revoked: frozenset[bytes] = frozenset()
    complaints: tuple[str, ...] = ()
    """Files and lines that couldn't be used."""


@dataclass(frozen=True, slots=True)
class _Line:
    marker: str
    names: tuple[str, ...]
    is_plain: bool
    """Whether the names are neither hashes nor patterns."""
    key: KnownKey | None
    place: str

    def is_for(self, name: str) -> bool:
        if self.is_plain:
            return name in self.names
        hashed = [each for each in self.names if each.startswith("|1|")]
        return any(_is_hash_of(each, name) for each in hashed) or (not hashed and is_match(name, map(str.lower, self.names)))


def known_keys(files: Sequence[Path], names: Sequence[str]) -> HostKeys:
    """Look a host up.

    Args:
        names: Its names, the most exact first; the next counts if no line has the one before.
    """
    complaints: list[str] = []
    lines = [line for file in files for line in _lines(file, complaints)]
    found: dict[str, tuple[_Line, ...]] = {}
    for marker in ("", *_MARKERS):
        every = [tuple(line for line in lines if line.marker == marker and line.is_for(name.lower())) for name in names]
        found[marker] = sum(every, ()) if marker == "@revoked" else next(filter(None, every), ())
    complaints += [line.place for each in found.values() for line in each if line.key is None]
    revoked = frozenset(line.key.blob for line in found["@revoked"] if line.key)
    keys, authorities = (tuple(line.key for line in found[marker] if line.key) for marker in ("", "@cert-authority"))
    return HostKeys(tuple(names), _without(keys, revoked), _without(authorities, revoked), revoked, tuple(complaints))


def parse_key(kind: str, encoded: str) -> KnownKey | None:
    """Parse type and base64; None if that is no key that Sluice can verify."""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    name = kind.encode()
    is_whole = len(blob) > 36 and blob.startswith(len(name).to_bytes(4, "big") + name)
    return KnownKey(kind, blob) if kind in TYPES and is_whole else None


def _without(keys: tuple[KnownKey, ...], revoked: frozenset[bytes]) -> tuple[KnownKey, ...]:
    return tuple(dict.fromkeys(key for key in keys if key.blob not in revoked))


def _lines(file: Path, complaints: list[str]) -> tuple[_Line, ...]:
    try:
        return _parsed(str(file), read_file(file, SIZE_MAX).decode("utf-8", "surrogateescape"))
    except OSError as error:
        complaints.append(f"{file}: {error.strerror}")
        return ()


@lru_cache(maxsize=16)
def _parsed(file: str, text: str) -> tuple[_Line, ...]:
    """Parse a file; kept, as a site's hosts share one."""
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 2 or fields[0].startswith("#") or (marker and marker not in _MARKERS):
            continue
        key = parse_key(fields[1], fields[2] if len(fields) > 2 else "")
        is_plain = not set(fields[0]) & set("|*?!")
        names = tuple((fields[0].lower() if is_plain else fields[0]).split(","))
        lines.append(_Line(marker, names, is_plain, key, f"{file}:{number}: no key that Sluice can verify ({fields[1][:40]})"))
    return tuple(lines)


def _is_hash_of(hashed: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in hashed.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
