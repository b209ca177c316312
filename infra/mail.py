"""Mail by SMTP (C7). Adapter of ``sluice.ports.Mailer``; the only place that speaks it.

To a relay that takes mail from this machine without a login: there are no credentials to keep. STARTTLS is used where the server offers it,
as mail servers do among themselves: against listeners, without asking who the server is. Every wait is bounded.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import format_datetime

from sluice.errors import MailError, NoMailServerError
from sluice.model.site import Mail
from sluice.ports import Letter
from sluice.rules.wording import output_text

TIMEOUT = 30.0
"""Seconds a server may take for each answer."""
LOCAL_NAME = "localhost"
"""What we call ourselves in EHLO: asking the resolver for our own name may take minutes."""


class SmtpMailer:
    """Implements ``sluice.ports.Mailer``."""

    def __init__(self, mail: Mail, *, timeout: float = TIMEOUT) -> None:
        self._mail, self._timeout = mail, timeout

    def send(self, letter: Letter) -> Sequence[str]:
        """See ``sluice.ports.Mailer``."""
        where = f"{self._mail.host}:{self._mail.port}"
        try:
            message = _message(letter, self._mail.sender)
            with smtplib.SMTP(self._mail.host, self._mail.port, local_hostname=LOCAL_NAME, timeout=self._timeout) as server:
                server.ehlo()
                if server.has_extn("starttls"):
                    server.starttls(context=_context())
                    server.ehlo()
                refused = sorted(server.send_message(message, self._mail.sender, list(letter.to)))
                with suppress(smtplib.SMTPServerDisconnected):  # it was taken: how the server says goodbye changes nothing
                    server.quit()
                return refused
        except smtplib.SMTPRecipientsRefused as error:
            said = "; ".join(f"{who}: {code} {_text(text)}" for who, (code, text) in sorted(error.recipients.items()))
            raise MailError(f"mail server {where} refuses every recipient: {said}", remedy="correct `notify: {to: ...}`") from error
        except smtplib.SMTPResponseException as error:
            raise MailError(
                f"mail server {where} refuses: {error.smtp_code} {_text(error.smtp_error)}",
                remedy="correct `mail:` of the Distributor, or the server",
            ) from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            kind = NoMailServerError if _is_nobody(error) else MailError
            raise kind(f"mail server {where}: {error}", remedy="see that it runs and can be reached from here") from error


def _message(letter: Letter, sender: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(letter.to)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(letter.at)
    message["Message-ID"] = f"<{letter.id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message


def _is_nobody(error: Exception) -> bool:
    """Whether the answer was at once that there is no server: neither silence nor a resolver that asks to try again."""
    unknown = isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
    return unknown or isinstance(error, ConnectionRefusedError)


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _text(said: bytes | str) -> str:
    """What a server said, for a message of ours."""
    return output_text(said if isinstance(said, bytes) else said.encode())[:300]
