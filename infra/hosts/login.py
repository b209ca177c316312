"""Log in to a host as its administrator, before or beside the agent: run commands there, and probe it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from infra.hosts import host_crontab, host_removal
from infra.hosts import host_program as program
from infra.hosts.agent_bundle import Platform
from sluice.errors import ConnectionLostError, NotFoundError
from sluice.model.site import Subscriber
from sluice.ports import Transport
from sluice.rules.wording import output_text, printable

PYTHONS = ("python3.13", "python3.12", "python3.11", "python3")
"""Names that are looked up on a host's PATH."""
_PROBE = 'for each in {pythons}; do if command -v "$each" >/dev/null 2>&1; then "$each" -I -B -c "$0" probe "$1"; fi; done'
"""-B: a Python whose library isn't compiled would write that down beside it."""


class Login(Protocol):
    """Runs commands on a host, as its account."""

    def run(self, command: Sequence[str], stdin: bytes | Iterable[bytes] = b"") -> tuple[int, bytes, bytes]:
        """Run a command: (exit status, output, end of stderr)."""
        ...

    def close(self) -> None:
        """End the login."""
        ...


class LoginTransport(Transport, Protocol):
    """A transport that can log in too."""

    def login(self, subscriber: Subscriber, *, timeout: float) -> Login:
        """Log in. Raises as ``connect``."""
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """Result of a probe."""

    pythons: Mapping[Platform, str]
    """Paths of its interpreters."""
    directory: Mapping[str, Any] | None
    digest: str
    """Digest of the bundle that the launcher starts."""
    name: str
    receipt_pub: bytes
    roots: Mapping[str, str]
    """SHA-256 of each installed trust root, by Distributor."""
    crontab: bool
    hook: bool
    time: float
    """Its clock, in seconds since 1970."""
    noexec: str
    """The mount point of the working directory if no agent can be started from there, because it is mounted noexec."""


@contextmanager
def logged_in(subscriber: Subscriber, transport: LoginTransport, timeout: float) -> Iterator[Login]:
    """Log in for as long as the context lasts."""
    login = transport.login(subscriber, timeout=timeout)
    try:
        yield login
    finally:
        login.close()


def probe(login: Login, subscriber: Subscriber) -> Host:
    """Probe a host; changes nothing."""
    peer = f"Subscriber {subscriber.name} ({subscriber.address})"
    script = _PROBE.format(pythons=" ".join(PYTHONS))
    _, output, stderr = login.run(["sh", "-c", script, host_program(), str(subscriber.working_directory)])
    answers = []
    for line in output.decode(errors="replace").splitlines():
        try:
            answers.append(_printable(json.loads(line)))
        except (ValueError, RecursionError):
            continue  # output of a login script
    if not answers:
        raise NotFoundError(
            f"{peer} has no python3 on its PATH" + (f": {output_text(stderr)}" if stderr else ""),
            remedy="install Python 3.11 or newer there" + (", on the secure_path of its sudoers" if subscriber.ssh.become else ""),
        )
    try:
        pythons: dict[Platform, str] = {}
        for each in answers:
            key = Platform((int(each["python"][0]), int(each["python"][1])), str(each["machine"]), str(each["libc"]))
            pythons.setdefault(key, str(each["executable"]))
        found = answers[0]
        return Host(
            pythons=pythons,
            directory=None if found["directory"] is None else _directory(found["directory"]),
            digest=str(found["digest"]),
            name=str(found["name"]),
            receipt_pub=str(found["receipt_pub"]).encode(),
            roots={str(name): str(digest) for name, digest in found["roots"].items()},
            crontab=bool(found["crontab"]),
            hook=bool(found["hook"]),
            time=float(found["time"]),
            noexec=str(found["noexec"]),
        )
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ConnectionLostError(
            f"{peer} answered the probe with nonsense",
            remedy="see what its shell and its python3 print",
        ) from error


def _directory(found: Any) -> dict[str, Any]:
    return {"mode": int(found["mode"]), "is_directory": bool(found["is_directory"]), "ours": bool(found["ours"])}


def _printable(value: Any) -> Any:
    """Make all texts of a host's answer printable, except for the newlines of a key."""
    if isinstance(value, str):
        return printable(value, keep="\n")
    if isinstance(value, list):
        return [_printable(each) for each in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    return value


def host_program() -> str:
    """Return the program that a host's own Python runs: its parts, one after the other, without their imports of each other."""
    text = "from __future__ import annotations\n"
    for part in (host_crontab, host_removal, program):
        lines = Path(str(part.__file__)).read_text().splitlines(keepends=True)
        text += "".join(line for line in lines if not line.startswith(("from __future__", "from infra.")))
    return text
