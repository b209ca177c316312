"""The agent's part in bootstrap: make its identity, and trust a Distributor. Both may be repeated.

The receipt key is made here and never leaves; only its public half is printed. Trusting is the administrator's act: it comes over a
login of theirs, not over the agent protocol.
"""

from __future__ import annotations

from pathlib import Path

from sluice.durable import locked, make_directory, replace_atomically
from sluice.errors import StoreCorruptError, TamperedError, TrustError
from sluice.formats.canonical import Fields, canonical_bytes, parse_canonical
from sluice.model.names import name_is_valid
from sluice.trust.keys import ensure_private_key, load_private_key, public_pem
from sluice.trust.verify import TrustDirectory

IDENTITY_MAX = 4096
"""Bytes of subscriber.json."""
LOCK_WAIT = 60.0
"""Seconds to wait for a receive of the same Distributor."""


def init(directory: Path, name: str) -> bytes:
    """Make the Subscriber's name and receipt key unless they are there; returns the public key, PEM.

    Raises:
        TrustError: The directory belongs to another Subscriber.
    """
    if not name_is_valid(name):
        raise TamperedError(f"{name!r:.80} is no name of a Subscriber")
    identity = directory / "identity"
    make_directory(identity)
    with locked(identity / "lock", what=f"the identity in {directory}", wait=LOCK_WAIT):
        path = identity / "subscriber.json"
        if path.exists():
            held = _name(path)
            if held != name:
                raise TrustError(
                    f"{directory} belongs to Subscriber {held}, not to {name}",
                    remedy=f"give {name} a working_directory of its own, or remove {directory} if {held} is gone",
                )
        ensure_private_key(identity / "receipt.pem")
        public = public_pem(load_private_key(identity / "receipt.pem"))
        replace_atomically(identity / "receipt.pub", public, mode=0o644)
        replace_atomically(path, canonical_bytes({"version": 1, "name": name}))
    return public


def trust(directory: Path, distributor: str, root: bytes) -> None:
    """Install or replace the trust root of a Distributor. Raises TamperedError if it isn't signed by itself."""
    if not name_is_valid(distributor):
        raise TamperedError(f"{distributor!r:.80} is no name of a Distributor")
    trusted = directory / "distributors" / distributor
    make_directory(trusted)
    with locked(trusted / "lock", what=f"the trust of Distributor {distributor}", wait=LOCK_WAIT):
        TrustDirectory(trusted, distributor=distributor).install_root(root)


def _name(path: Path) -> str:
    try:
        fields = Fields(parse_canonical(path.read_bytes(), limit=IDENTITY_MAX, what="subscriber.json"), what="subscriber.json")
        fields.constant("version", 1)
        name = fields.text("name")
        fields.done()
    except TrustError as error:
        raise StoreCorruptError(f"{path} is damaged: {error.message}", remedy="delete it, then bootstrap again") from error
    return name
