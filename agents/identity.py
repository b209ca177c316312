"""How an agent names itself in its ``hello``, beside its Subscriber's name: claims that a Distributor compares with earlier ones.

Cheap, and nothing is written: a thousand hosts say it at every contact.
"""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import suppress
from pathlib import Path

from agents.working_directory import WorkingDirectory

WORD = 32
"""Characters of a digest."""


def identity(directory: WorkingDirectory) -> dict[str, str]:
    """Return the digest of the public receipt key, the working directory, the machine's name and its instance."""
    path = os.fsencode(directory.path)
    return {
        "key": _digest(_read(directory.path / "identity" / "receipt.pub")),
        "directory": path.decode(errors="replace")[:1024],
        "host": "".join(c if c.isprintable() else "?" for c in socket.gethostname())[:64],
        "instance": _instance(directory.path),
    }


def _instance(directory: Path) -> str:
    """Return a word of this start of this machine, and of this very directory; empty if the system doesn't tell its starts apart.

    A machine-id is cloned with the machine; the kernel's boot id never comes back. Containers share it, but not the start of their first
    process. Two copies of a working directory on one machine are two files, of which the file system's own time says that they are two.
    """
    copy = (directory / "identity" / "subscriber.json").stat()
    boot = _read(Path("/proc/sys/kernel/random/boot_id"))
    first = _read(Path("/proc/1/stat")).rpartition(b")")[2].split()[19:20]  # field 22: its start
    return _digest(b"%s\n%s\n%d\n%d" % (boot, b"".join(first), copy.st_ino, copy.st_ctime_ns)) if boot else ""


def _read(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:WORD] if data else ""
