"""Secrets of logins: from the environment by name (``secret:NAME`` is ``SLUICE_SECRET_NAME``), else asked once in a process on a terminal.

A secret is kept in memory alone; nothing here puts one into a message.
"""

from __future__ import annotations

import getpass
import os
import sys
from threading import Lock

from sluice.errors import AuthenticationError

VARIABLE = "SLUICE_SECRET_"
_asked: dict[str, str] = {}
_lock = Lock()


def secret(name: str, what: str, peer: str) -> str:
    """Return a secret by its name. Raises AuthenticationError: this process has none of that name."""
    found = os.environ.get(VARIABLE + name, "")
    if not found:
        raise AuthenticationError(
            f"{peer}: {what} is secret:{name}, which this process doesn't have",
            remedy=f"set {VARIABLE}{name} in the environment of this command, or of the workers (docs/ssh.md)",
        )
    return found


def asked(prompt: str) -> str | None:
    """Return what was typed on this prompt, once for all threads; None without a terminal."""
    with _lock:
        if prompt not in _asked:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                return None
            _asked[prompt] = getpass.getpass(prompt, stream=sys.stderr)
        return _asked[prompt]
