"""A real SMTP server in this process, on a free port of loopback; with a certificate it offers STARTTLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.system.sshd import free_port


@dataclass
class Received:
    """What came in."""

    sender: str
    to: list[str]
    message: Message
    over_tls: bool


@dataclass
class Inbox:
    """Takes mail; refuses whom it is told to."""

    refused: set[str] = field(default_factory=set)
    is_closed: bool = False
    """Nothing is taken: a temporary error."""
    goodbye: str = "221 Bye"
    """Its answer to QUIT."""
    received: list[Received] = field(default_factory=list)
    port: int = 0

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if address in self.refused:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.is_closed:
            return "451 try again later"
        data = message_from_bytes(envelope.content)
        self.received.append(Received(envelope.mail_from, list(envelope.rcpt_tos), data, session.ssl is not None))
        return "250 taken"

    async def handle_QUIT(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        return self.goodbye


@contextmanager
def smtp_server(certificate: Path | None = None) -> Iterator[Inbox]:
    """An inbox that listens at ``port``.

    Args:
        certificate: A directory for the key and certificate of a server that takes mail by STARTTLS only.
    """
    inbox, context = Inbox(), None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(certificate))
    inbox.port = free_port()
    controller = Controller(inbox, hostname="127.0.0.1", port=inbox.port, tls_context=context, require_starttls=context is not None)
    controller.start()
    try:
        yield inbox
    finally:
        controller.stop()


def _certificate(directory: Path) -> Path:
    """Signed by itself, as those of many mail servers are."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "smtp")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    signed = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    path = directory / "smtp.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path
