"""Envelopes: signed orders and receipts (docs/formats.md section 5).

The signature is over a word for the kind and the payload's exact bytes, so that an order can't pass for a receipt and no
canonical form must be computed before the signature is checked.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from sluice.errors import TamperedError
from sluice.formats.canonical import Fields

ORDER_WORD = b"sluice-order-1\n"
RECEIPT_WORD = b"sluice-receipt-1\n"

Envelope = dict[str, Any]


def seal(word: bytes, payload: bytes, *, key: str, sign: Callable[[bytes], bytes]) -> Envelope:
    """Sign a payload and return it in its envelope.

    Args:
        word: ORDER_WORD or RECEIPT_WORD.
        key: Names the signing key.
        sign: Returns the 64-byte Ed25519 signature of its argument.
    """
    return {"payload": payload.decode(), "signature": base64.b64encode(sign(word + payload)).decode(), "key": key}


def unseal(word: bytes, envelope: Any, *, what: str, limit: int, verify: Callable[[str, bytes, bytes], None]) -> bytes:
    """Verify an envelope's signature and return its payload.

    Args:
        envelope: From an untrusted source.
        limit: Most bytes of the payload.
        verify: Called with key name, signature and signed bytes; raises TrustError if they don't match.
    Raises:
        TamperedError: It isn't an envelope, or is over the limit.
    """
    with Fields(envelope, what=what) as fields:
        payload = fields.text("payload", limit=limit).encode()
        signature_text = fields.text("signature", limit=128)
        key = fields.text("key", limit=128)
    try:
        signature = base64.b64decode(signature_text, validate=True)
    except ValueError as error:
        raise TamperedError(f"{what}: its signature isn't base64") from error
    verify(key, signature, word + payload)
    return payload
