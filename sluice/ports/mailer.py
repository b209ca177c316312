"""The Mailer port: mail to people. Adapter: ``infra/mail.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail, plain text."""

    id: str
    """The part of Message-ID before its ``@``; the same for a repetition, so that mail systems drop that."""
    to: tuple[str, ...]
    subject: str
    text: str
    at: datetime
    """When its cause arose."""


class Mailer(Protocol):
    """Hands mail to a server."""

    def send(self, letter: Letter) -> Sequence[str]:
        """Hand a letter over; once this returns the server is responsible for it.

        Returns:
            Recipients that the server refused, while it accepted the letter for others.
        Raises:
            MailError: The server can't be reached, or refuses all.
        """
