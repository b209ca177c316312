"""Metadata as a forger makes it: edited, signed again by whatever keys there are, or never signed at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import SSlibKey

Change = Callable[[dict[str, Any]], None]


def key_id(key: Ed25519PrivateKey) -> str:
    """How metadata names a key."""
    return str(SSlibKey.from_crypto(key.public_key()).keyid)


def key_json(key: Ed25519PrivateKey) -> dict[str, Any]:
    """A public key as roots and delegations list it."""
    return dict(SSlibKey.from_crypto(key.public_key()).to_dict())


def signature(key: Ed25519PrivateKey, signed: dict[str, Any], *, named: str = "") -> dict[str, str]:
    """One signature over a role, perhaps under another key's name."""
    return {"keyid": named or key_id(key), "sig": key.sign(encode_canonical(signed).encode()).hex()}


def resigned(data: bytes, change: Change, *keys: Ed25519PrivateKey) -> bytes:
    """A role with something else in it, signed by these keys."""
    signed = json.loads(data)["signed"]
    change(signed)
    return json.dumps({"signatures": [signature(key, signed) for key in keys], "signed": signed}).encode()


def edited(data: bytes, change: Change) -> bytes:
    """A role with something else in it under its old signatures; the change is given the whole document."""
    value = json.loads(data)
    change(value)
    return json.dumps(value).encode()


def setting(**values: Any) -> Change:
    """Sets these fields of a role."""
    return lambda signed: signed.update(values)


def whole_set(files: Mapping[str, bytes], key: Ed25519PrivateKey, **changes: Change) -> dict[str, bytes]:
    """A set in which the named roles are changed (``timestamp``, ``snapshot``, ``targets``, ``zone``) and signed by their key."""
    found = dict(files)
    for role, change in changes.items():
        name = next(name for name in files if name.endswith({"timestamp": "timestamp.json"}.get(role, f".{role}.json")))
        found[name] = resigned(files[name], change, key)
    return found
