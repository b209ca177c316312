"""Receipts at the Distributor: believed once they are this Subscriber's; whatever else an envelope or a key holds is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from sluice.errors import TamperedError, TrustError
from sluice.formats.orders import receipt_bytes
from sluice.model.order import Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.trust.envelope import ORDER_WORD, RECEIPT_WORD, Envelope, seal
from sluice.trust.keys import load_private_key, parse_public_pem, public_pem
from sluice.trust.publish import Publisher

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
OF_UNKNOWN_CURVE = b"""-----BEGIN PUBLIC KEY-----
MDIwEAYHKoZIzj0CAQYFK4EEAAYDHgAEwvIkOGEqshoIts0yRVyxLIwaTG1l6dd+
ULN7ig==
-----END PUBLIC KEY-----
"""


def receipt(*, subscriber: str = "oslo", distributor: str = "hq") -> Receipt:
    return Receipt(distributor, subscriber, 1, "zone", RevisionNumber(1, 1), Outcome.FAILED, NOON, NOON, 0, 0, 0, "")


def sealed(key: Ed25519PrivateKey, answer: Receipt, *, word: bytes = RECEIPT_WORD) -> Envelope:
    return seal(word, receipt_bytes(answer), key="receipt", sign=key.sign)


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def publisher(tmp_path: Path, key: Ed25519PrivateKey) -> Publisher:
    publisher = Publisher(tmp_path, distributor="hq")
    publisher.keep_subscriber_key("oslo", public_pem(key))
    return publisher


def test_a_receipt_of_the_subscriber_is_believed(publisher: Publisher, key: Ed25519PrivateKey) -> None:
    assert publisher.open_receipt(sealed(key, receipt()), subscriber="oslo") == receipt()


def test_a_receipt_of_a_subscriber_without_key_is_refused(publisher: Publisher, key: Ed25519PrivateKey) -> None:
    with pytest.raises(TrustError, match="the receipt key of bergen isn't known"):
        publisher.open_receipt(sealed(key, receipt(subscriber="bergen")), subscriber="bergen")


@pytest.mark.parametrize("names", [{"subscriber": "bergen"}, {"distributor": "other"}])
def test_a_receipt_that_names_others_is_refused(publisher: Publisher, key: Ed25519PrivateKey, names: dict[str, str]) -> None:
    with pytest.raises(TamperedError, match="names"):
        publisher.open_receipt(sealed(key, receipt(**names)), subscriber="oslo")


def test_a_receipt_signed_by_another_key_is_refused(publisher: Publisher) -> None:
    with pytest.raises(TamperedError, match="doesn't match"):
        publisher.open_receipt(sealed(Ed25519PrivateKey.generate(), receipt()), subscriber="oslo")


def test_what_was_signed_as_an_order_is_no_receipt(publisher: Publisher, key: Ed25519PrivateKey) -> None:
    with pytest.raises(TamperedError, match="doesn't match"):
        publisher.open_receipt(sealed(key, receipt(), word=ORDER_WORD), subscriber="oslo")


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": "é"},
        {"signature": "abc"},
        {"signature": ""},
        {"signature": "YWJj"},
        {"signature": None},
        {"payload": 7},
        {"payload": "x" * 2_000_000},
        {"key": ["receipt"]},
        {"more": 1},
    ],
)
def test_a_hostile_envelope_is_refused(publisher: Publisher, key: Ed25519PrivateKey, changes: dict[str, object]) -> None:
    with pytest.raises(TamperedError):
        publisher.open_receipt({**sealed(key, receipt()), **changes}, subscriber="oslo")


@pytest.mark.parametrize("finished", ["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"])
def test_a_time_no_clock_shows_is_refused_though_signed(publisher: Publisher, key: Ed25519PrivateKey, finished: str) -> None:
    payload = json.dumps({**json.loads(receipt_bytes(receipt())), "finished": finished}).encode()
    with pytest.raises(TamperedError, match="is before 1970 or after 9998"):
        publisher.open_receipt(seal(RECEIPT_WORD, payload, key="receipt", sign=key.sign), subscriber="oslo")


@pytest.mark.parametrize("pem", [b"", b"no key", OF_UNKNOWN_CURVE])
def test_what_is_no_ed25519_key_is_not_kept(publisher: Publisher, pem: bytes) -> None:
    with pytest.raises(TamperedError, match="isn't an Ed25519 public key"):
        publisher.keep_subscriber_key("bergen", pem)
    assert publisher.subscriber_key("bergen") is None


def test_a_private_key_under_a_passphrase_is_refused(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    path = tmp_path / "online.pem"
    path.touch(0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(TrustError, match="isn't a private key"):
        load_private_key(path)


def test_a_public_key_is_read_as_it_was_written(key: Ed25519PrivateKey) -> None:
    assert parse_public_pem(public_pem(key), what="it") == key.public_key()
