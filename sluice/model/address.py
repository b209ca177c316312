"""Where a Subscriber is, and how SSH reaches it: parts of a site's objects (``site.py``)."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a Subscriber.

    ``ssh://user@host:port`` has all three; ``local:/directory`` has ``path``: its agent runs on the Distributor's own machine.
    """

    scheme: str
    host: str = ""
    port: int = 22
    """0 if it is left to an OpenSSH client configuration; ``user`` is empty then."""
    user: str = ""
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "local":
            return f"local:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = re.sub("[%:/\\s]", lambda sign: f"%{ord(sign[0]):02X}", self.user)
        return f"{self.scheme}://" + (f"{user}@" if user else "") + host + (f":{self.port}" if self.port else "")


@dataclass(frozen=True, slots=True)
class Ssh:
    """How SSH reaches a Subscriber, besides its address, host key and identity. Paths are absolute."""

    config: str = ""
    """An OpenSSH client configuration; whatever the blueprint says itself wins over it."""
    jump: tuple[Address, ...] | None = None
    """Jump hosts in the order in which they are passed; None leaves them to ``config``."""
    agent: bool | None = None
    """Whether the keys of the ssh-agent are offered; None leaves it to ``config``."""
    certificate: str = ""
    passphrase: str = ""
    """Name of the secret that opens the identity."""
    become: str = ""
    """``sudo``: everything there is done as root, by it; empty: as the login's account."""
    become_password: str = ""
    """Name of the secret that sudo asks for."""


DIRECT = Ssh()
"""Straight to the host, with the identity alone."""
