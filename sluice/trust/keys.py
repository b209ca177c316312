"""Ed25519 keys on disk: PKCS#8 PEM, 0600, in a 0700 directory. Private keys are read only to sign.

They never reach Prefect, the ledger, a log or a message: errors name the file, not its content.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sluice.durable import make_directory, replace_atomically
from sluice.errors import TamperedError, TrustError

PUBLIC_KEY_MAX = 1024
"""Most bytes of a public key's PEM."""


def ensure_private_key(path: Path) -> bool:
    """Create a private key unless there is one; a key is never replaced. Returns whether it was created."""
    if path.exists():
        return False
    make_directory(path.parent)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    replace_atomically(path, pem)
    return True


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key. Raises TrustError if it is missing, readable by others or not an Ed25519 key."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise TrustError(
            f"the private key {path} can't be read: {error.strerror}",
            remedy="restore it from your backup; for a new Distributor run `sluice trust init NAME`",
        ) from None
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) & 0o077:
            raise TrustError(f"the private key {path} can be read by others", remedy=f"chmod 600 {path}")
        pem = os.read(fd, 4096)
    finally:
        os.close(fd)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it wants a passphrase
        raise TrustError(f"{path} isn't a private key", remedy="restore it from your backup") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"the private key {path} isn't an Ed25519 key", remedy="restore it from your backup")
    return key


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """Return the public key as PEM."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def parse_public_pem(pem: bytes, *, what: str) -> Ed25519PublicKey:
    """Read a public key from an untrusted source. Raises TamperedError."""
    try:
        key = serialization.load_pem_public_key(pem[:PUBLIC_KEY_MAX])
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise TamperedError(f"{what} isn't an Ed25519 public key")
    return key


def is_signed_by(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``key`` signed ``data``."""
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True
