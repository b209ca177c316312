"""Examine files of identities as ssh does before it uses them: ``validate`` and each login say the same of them. No key is opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PUBLIC = ("ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-")
"""How the text of a public key begins."""
SIZE_MAX = 1024 * 1024


def identity_fault(path: Path, *, agent: bool = False) -> tuple[str, str] | None:
    """Find out why a file can't be used as identity.

    Args:
        agent: An ssh-agent may hold its private key, so that the public one is enough.
    Returns:
        What is wrong with it, and a remedy; None: nothing that is seen without opening the key.
    """
    make = f"make it with ssh-keygen -t ed25519 -f {path}, or correct identity:"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "isn't a file", "name the file of the private key"
        with path.open("rb") as opened:
            text = opened.read(SIZE_MAX).decode(errors="replace")
    except FileNotFoundError:
        return "doesn't exist", make
    except OSError as error:
        return f"can't be read: {error.strerror}", "let the account that runs Sluice own it, with mode 0600"
    if text.startswith(PUBLIC):
        private = path.with_suffix("") if path.suffix == ".pub" else path
        remedy = f"name the private key, such as {private}, or let an ssh-agent that has it log in: ssh: {{agent: true}}"
        return None if agent else ("is a public key, with which nobody can log in", remedy)
    if "PRIVATE KEY-----" not in text:
        return "can't be used: it isn't a private key of OpenSSH or in PEM", make
    if status.st_uid == os.geteuid() and (mode := stat.S_IMODE(status.st_mode)) & 0o077:
        return f"is open to others (mode {mode:04o}), so that they could log in with it; ssh refuses it too", f"chmod 600 {path}"
    return None
