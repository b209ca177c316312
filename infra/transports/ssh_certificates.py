"""Judge SSH certificates: who signed, for whom, from when to when (OpenSSH's PROTOCOL.certkeys). ``cryptography`` verifies signatures."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from infra.transports.ssh_config_file import is_match
from infra.transports.ssh_known_hosts import HostKeys
from sluice.rules.wording import printable

SUFFIX = "-cert-v01@openssh.com"
"""What the type of a key gets by being in a certificate."""
_FOREVER = 2**64 - 1
_SHA2 = (b"rsa-sha2-256", b"rsa-sha2-512")


def load_certificate(line: bytes) -> SSHCertificate | None:
    """Parse type and base64 of a certificate; None if it is none."""
    try:
        found = load_ssh_public_identity(line)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return found if isinstance(found, SSHCertificate) else None


def key_in(certificate: SSHCertificate) -> bytes:
    """Return the certified key, as on the wire."""
    return base64.b64decode(certificate.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])


def lifetime_fault(certificate: SSHCertificate, now: float) -> str:
    """Return why it doesn't hold at this time, in seconds since 1970; empty if it does."""
    if now < certificate.valid_after:
        return f"is valid only from {_time(certificate.valid_after)} on"
    if certificate.valid_before != _FOREVER and now >= certificate.valid_before:
        return f"expired on {_time(certificate.valid_before)}"
    return ""


def principals_of(certificate: SSHCertificate) -> list[str]:
    """Return for whom it is: names of hosts, with patterns, or of users."""
    return [each.decode(errors="replace") for each in certificate.valid_principals]


def host_fault(certificate: SSHCertificate | None, known: HostKeys, now: float) -> str:
    """Return why a host's certificate doesn't count; empty if it does."""
    if certificate is None:
        return "can't be parsed"
    try:
        signer = certificate.signature_key()
        signed_by = base64.b64decode(signer.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
        if signed_by in known.revoked:
            return "is signed by a CA that is revoked"
        if all(signed_by != each.blob for each in known.authorities):
            return "is signed by another CA"
        if isinstance(signer, RSAPublicKey) and not _is_sha2(certificate, signer.key_size):
            return "is signed with SHA-1"
        certificate.verify_cert_signature()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        return "has no valid signature"
    if certificate.type is not SSHCertificateType.HOST:
        return "is a user's, not a host's"
    name = known.names[-1].lower()
    principals = principals_of(certificate)
    if not any(is_match(name, [each.lower()]) for each in principals if not each.startswith("!")):
        return f"is for {', '.join(map(printable, principals))}, not for {name}" if principals else "names no host (principal)"
    if certificate.critical_options:
        return "has a critical option that isn't known here"
    return lifetime_fault(certificate, now)


def _is_sha2(certificate: SSHCertificate, bits: int) -> bool:
    """Whether the RSA signature with which a certificate ends is one of rsa-sha2-256 and rsa-sha2-512."""
    size = (bits + 7) // 8
    head = base64.b64decode(certificate.public_bytes().split()[1])[:-size]
    return any(head.endswith(len(kind).to_bytes(4, "big") + kind + size.to_bytes(4, "big")) for kind in _SHA2)


def _time(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return "a time beyond the calendar"
