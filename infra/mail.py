"""Send mail by SMTP (C7). Adapter of ``sluice.ports.Mailer``; no other module speaks it.

Mail goes to a relay that takes it from this machine without a login: there are no credentials to keep. STARTTLS is used if the server
offers it, as between mail servers: against listeners, without a check of the server's name. Every wait is bounded.
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
"""Our name in EHLO: asking the resolver for the real one may take minutes."""


class SmtpMailer:
    """Implements ``sluice.ports.Mailer``."""

    def __init__(self, mail: Mail, *, timeout: float = TIMEOUT) -> None:
        self._mail, self._timeout = mail, timeout

    def send(self, letter: Letter) -> Sequence[str]:
        """See ``sluice.ports.Mailer``."""
        relay = f"{self._mail.host}:{self._mail.port}"
        try:
            message = _message(letter, self._mail.sender)
            with smtplib.SMTP(self._mail.host, self._mail.port, local_hostname=LOCAL_NAME, timeout=self._timeout) as server:
                server.ehlo()
                if server.has_extn("starttls"):
                    server.starttls(context=_context())
                    server.ehlo()
                refused = sorted(server.send_message(message, self._mail.sender, list(letter.to)))
                with suppress(smtplib.SMTPServerDisconnected):  # the mail was accepted: how the server ends the session changes nothing
                    server.quit()
                return refused
        except smtplib.SMTPRecipientsRefused as error:
            answers = "; ".join(f"{address}: {code} {_text(text)}" for address, (code, text) in sorted(error.recipients.items()))
            raise MailError(f"mail server {relay} refuses every recipient: {answers}", remedy="correct `notify: {to: ...}`") from error
        except smtplib.SMTPResponseException as error:
            raise MailError(
                f"mail server {relay} refuses: {error.smtp_code} {_text(error.smtp_error)}",
                remedy="correct `mail:` of the Distributor, or the server",
            ) from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            kind = NoMailServerError if _is_missing(error) else MailError
            raise kind(f"mail server {relay}: {error}", remedy="see that it runs and can be reached from here") from error


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


def _is_missing(error: Exception) -> bool:
    """Whether it is certain at once that there is no server: no time-out, and no resolver that asks to try again."""
    unknown = isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
    return unknown or isinstance(error, ConnectionRefusedError)


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _text(answer: bytes | str) -> str:
    """Return a server's answer, shortened for a message."""
    return output_text(answer if isinstance(answer, bytes) else answer.encode())[:300]
