"""A host as its administrator's login sees it, before or beside the agent: run commands there, look what is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from infra.hosts import host_program as agent_host
from infra.hosts.agent_bundle import Platform
from sluice.errors import ConnectionLostError, NotFoundError
from sluice.model.site import Subscriber
from sluice.ports import Transport
from sluice.rules.wording import output_text, printable

PYTHONS = ("python3.13", "python3.12", "python3.11", "python3")
"""Looked for on a host's PATH."""
_PROBE = 'for each in {pythons}; do if command -v "$each" >/dev/null 2>&1; then "$each" -I -c "$0" probe "$1"; fi; done'


class Login(Protocol):
    """Commands on a host, as its account."""

    def run(self, command: Sequence[str], stdin: bytes | Iterable[bytes] = b"") -> tuple[int, bytes, bytes]:
        """(exit status, output, last of stderr)."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class LoginTransport(Transport, Protocol):
    """A transport that logs in as well."""

    def login(self, subscriber: Subscriber, *, timeout: float) -> Login:
        """Raises as ``connect``."""
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """What a probe found."""

    pythons: Mapping[Platform, str]
    """Paths of interpreters."""
    directory: Mapping[str, Any] | None
    digest: str
    """Of the bundle the launcher starts."""
    name: str
    receipt_pub: bytes
    roots: Mapping[str, str]
    """SHA-256 of installed trust roots by Distributor."""
    crontab: bool
    hook: bool
    time: float
    """Its clock, in seconds since 1970."""


@contextmanager
def logged_in(subscriber: Subscriber, transport: LoginTransport, timeout: float) -> Iterator[Login]:
    """A login for as long as the block lasts."""
    login = transport.login(subscriber, timeout=timeout)
    try:
        yield login
    finally:
        login.close()


def probe(login: Login, subscriber: Subscriber) -> Host:
    """Look at a host; changes nothing."""
    script = _PROBE.format(pythons=" ".join(PYTHONS))
    _, output, said = login.run(["sh", "-c", script, host_program(), str(subscriber.working_directory)])
    answers = []
    for line in output.decode(errors="replace").splitlines():
        try:
            answers.append(_plain(json.loads(line)))
        except (ValueError, RecursionError):
            continue  # what a login script prints
    if not answers:
        raise NotFoundError(
            f"Subscriber {subscriber.name} ({subscriber.address}) has no python3 on its PATH" + (f": {output_text(said)}" if said else ""),
            remedy="install Python 3.11 or newer there",
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
        )
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ConnectionLostError(f"Subscriber {subscriber.name} ({subscriber.address}) answered the probe with nonsense") from error


def _directory(found: Any) -> dict[str, Any]:
    return {"mode": int(found["mode"]), "is_directory": bool(found["is_directory"]), "ours": bool(found["ours"])}


def _plain(value: Any) -> Any:
    """What a host says, its texts without control characters but those of a key: they end up in terminals."""
    if isinstance(value, str):
        return printable(value, keep="\n")
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    return value


def host_program() -> str:
    """What a host's own Python is given to run."""
    return Path(agent_host.__file__).read_text()
