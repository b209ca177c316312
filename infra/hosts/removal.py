"""Remove from a host what bootstrap and the agent put there (``host_removal.py`` runs there). Distributed files stay."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from infra.hosts.bootstrap import run_on_host
from infra.hosts.login import LoginTransport, host_program, logged_in, probe
from sluice.errors import ConnectionLostError
from sluice.model.site import Subscriber
from sluice.rules.wording import printable


@dataclass(frozen=True, slots=True)
class Removed:
    """Result of a removal: everything that was taken away, or with a dry run would be."""

    subscriber: str
    steps: tuple[str, ...]
    """Empty if nothing was there."""
    stay: tuple[str, ...] = ()
    """Destinations on the host whose files stay."""


def remove_from_host(subscriber: Subscriber, *, transport: LoginTransport, timeout: float, dry_run: bool) -> Removed:
    """Take everything of Sluice's away from a host.

    Raises:
        TransportError, NotFoundError: The host can't be reached, or has no Python.
        TrustError: Something is in the way, which the message names: foreign files, an agent at work, another Subscriber's directory.
    """
    directory = str(subscriber.working_directory)
    with logged_in(subscriber, transport, timeout) as login:
        python = next(iter(probe(login, subscriber).pythons.values()))
        command = [python, "-I", "-c", host_program(), "remove", directory, subscriber.name, "yes" if dry_run else "no"]
        found = _answer(subscriber, run_on_host(login, subscriber, command))
    steps = ["take its line out of the account's crontab"] if found["hook"] else []
    steps += [f"remove agent, identity, trust and revisions: {directory}"] if found["directory"] else []
    return Removed(subscriber.name, tuple(steps), tuple(printable(str(each)) for each in found["stay"]))


def _answer(subscriber: Subscriber, output: bytes) -> dict[str, Any]:
    try:
        found = json.loads(output.splitlines()[-1])
        return {"hook": bool(found["hook"]), "directory": bool(found["directory"]), "stay": list(found["stay"])}
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise ConnectionLostError(
            f"Subscriber {subscriber.name} ({subscriber.address}) answered the removal with nonsense",
            remedy="see what its shell and its python3 print, then repeat",
        ) from error
