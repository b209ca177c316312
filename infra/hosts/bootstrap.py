"""Bootstrap a Subscriber: agent, identity, key, trust root, recovery hook.

Everything is done through the administrator's own login at the Subscriber's address (SSH, or this machine for ``local:``), which is the
act of trusting: the host needs Python and nothing else. The steps are computed first, as data, from a probe of the host; a dry run shows
exactly those; every step may be repeated.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from infra.hosts.agent_bundle import Bundle, choose
from infra.hosts.host_program import NO_SPACE
from infra.hosts.login import Host, Login, LoginTransport, host_program, logged_in, probe
from sluice.errors import AgentMissingError, NoSpaceError, TrustError
from sluice.formats.agent_call import NOT_EXECUTABLE, NOT_FOUND, agent_command, agent_missing
from sluice.model.site import Site, Subscriber
from sluice.rules.wording import output_text
from sluice.trust.publish import Publisher

FOREIGN_DIRECTORY = "give it another working_directory, or log in as the account to which that one belongs"
_PIECE = 256 * 1024


class Act(StrEnum):
    """The kind of a step."""

    AGENT = "agent"
    IDENTITY = "identity"
    KEY = "key"
    TRUST = "trust"
    HOOK = "hook"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a bootstrap."""

    act: Act
    text: str
    """The change, for a person."""
    distributor: str = ""
    """For KEY and TRUST."""


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """Result of a bootstrap: the steps that it took, or with a dry run would take."""

    subscriber: str
    steps: tuple[Step, ...]
    """Empty if nothing was missing."""
    notes: tuple[str, ...]
    """Hints for a person: no cron, say."""
    distributors: tuple[str, ...] = ()
    """Those that send to it from this machine."""


def distributors_of(site: Site, subscriber: str) -> tuple[str, ...]:
    """Return the Distributors whose Distributions a Channel brings to a Subscriber; all of the site's if none does yet."""
    found = {d.distributor for d in site.distributions.values() if subscriber in site.subscribers_of_distribution(d.name)}
    return tuple(sorted(found or site.distributors))


def bootstrap(
    subscriber: Subscriber,
    publishers: Mapping[str, Publisher],
    *,
    transport: LoginTransport,
    bundles: Path,
    timeout: float,
    replace_key: bool = False,
    own_crontab: bool = False,
    dry_run: bool = False,
) -> Bootstrapped:
    """Make a host a Subscriber that these Distributors can send to.

    Args:
        publishers: By name, the Distributors on this machine that send to the Subscriber.
        bundles: Directory of agent bundles; the one for this machine's Python is made there if needed.
        timeout: Seconds without progress.
        replace_key: Accept another receipt key than the known one: after a host was set up anew.
        own_crontab: Add the recovery line of a ``local:`` Subscriber, too, to the crontab of the account that runs this.
    Raises:
        TransportError: The host can't be reached or used, or its working directory is mounted noexec.
        NotFoundError: It has no Python that fits, or there is no bundle for it; the message says which.
        NoSpaceError: Its disk has no room for the agent; the message has the bytes needed and free.
        TrustError: It shows another receipt key than the one known, or belongs to another Subscriber. Nothing was changed.
    """
    with logged_in(subscriber, transport, timeout) as login:
        host = probe(login, subscriber)
        bundle = choose(bundles, list(host.pythons), host=f"Subscriber {subscriber.name}")
        installation = Installation(subscriber, publishers, login, host, bundle, replace_key, own_crontab)
        steps, notes = installation.plan()
        if not dry_run:
            installation.run(steps)
    return Bootstrapped(subscriber.name, tuple(steps), tuple(notes), tuple(sorted(publishers)))


def push_trust(subscriber: Subscriber, publishers: Mapping[str, Publisher], *, transport: LoginTransport, timeout: float) -> None:
    """Install the trust roots alone (E2: TED "resolve certificates"). Needs an agent there."""
    with logged_in(subscriber, transport, timeout) as login:
        for distributor, publisher in sorted(publishers.items()):
            _install_root(login, subscriber, distributor, publisher)


@dataclass(frozen=True, slots=True)
class Installation:
    """A host that is to become a Subscriber, while its administrator is logged in."""

    subscriber: Subscriber
    publishers: Mapping[str, Publisher]
    login: Login
    host: Host
    bundle: Bundle
    replace_key: bool = False
    own_crontab: bool = False

    def plan(self) -> tuple[list[Step], list[str]]:
        """Compute the steps for what is missing on the host, and hints for a person. Changes nothing.

        Raises:
            TrustError, AgentMissingError: See ``bootstrap``.
        """
        subscriber, host, bundle = self.subscriber, self.host, self.bundle
        steps = []
        if host.noexec:
            raise noexec_error(subscriber, host)
        if host.directory is not None and not host.directory["ours"]:
            where = f"{subscriber.working_directory} on {subscriber.address}"
            raise TrustError(f"{where} isn't a directory of the account that bootstraps it", remedy=FOREIGN_DIRECTORY)
        if host.name and host.name != subscriber.name:
            raise TrustError(
                f"{subscriber.working_directory} on {subscriber.address} belongs to Subscriber {host.name}, not to {subscriber.name}",
                remedy=remedy_for(subscriber, host, self.publishers),
            )
        if host.digest != bundle.digest or host.directory is None or host.directory.get("mode") != 0o700:
            steps.append(Step(Act.AGENT, f"install agent {bundle.digest[:12]} ({bundle.platform}) in {subscriber.working_directory}/agent"))
        if not host.name or not host.receipt_pub:
            steps.append(Step(Act.IDENTITY, f"have the agent make the identity and receipt key of {subscriber.name}"))
        for distributor, publisher in sorted(self.publishers.items()):
            known = publisher.subscriber_key(subscriber.name)
            if known is None or known != host.receipt_pub:
                self._check_key(distributor, known, host.receipt_pub)
                what = "replace" if known is not None else "keep"
                steps.append(Step(Act.KEY, f"{what} its receipt key in the trust of Distributor {distributor}", distributor))
            if host.roots.get(distributor) != hashlib.sha256(publisher.root()).hexdigest():
                steps.append(Step(Act.TRUST, f"install the trust root of Distributor {distributor}", distributor))
        hint = f"have `{hook_command(subscriber)}` run when it starts; until then, the next contact recovers"
        if not host.crontab:
            return steps, [f"{subscriber.name} has no crontab: {hint}"]
        if not host.hook and subscriber.address.scheme == "local" and not self.own_crontab:
            return steps, [f"{subscriber.name} is on this machine, so your crontab stays as it is: repeat with --crontab, or {hint}"]
        if not host.hook:
            steps.append(Step(Act.HOOK, "add an @reboot line to the account's crontab, for recovery after a restart"))
        return steps, []

    def run(self, steps: Sequence[Step]) -> None:
        """Run the steps of ``plan``, in its order."""
        login, subscriber, bundle = self.login, self.subscriber, self.bundle
        program = [self.host.pythons[bundle.platform], "-I", "-c", host_program()]
        directory, key = str(subscriber.working_directory), self.host.receipt_pub
        for step in steps:
            match step.act:
                case Act.AGENT:
                    with zipfile.ZipFile(bundle.path) as archive:
                        needed = bundle.size + sum(info.file_size for info in archive.infolist())
                    command = [*program, "install", directory, bundle.digest, str(bundle.size), str(needed)]
                    run_on_host(login, subscriber, command, _pieces(bundle.path))
                case Act.IDENTITY:
                    key = run_on_host(login, subscriber, agent_command(subscriber.working_directory, "init", "--name", subscriber.name))
                case Act.KEY:
                    publisher = self.publishers[step.distributor]
                    self._check_key(step.distributor, publisher.subscriber_key(subscriber.name), key)
                    publisher.keep_subscriber_key(subscriber.name, key)
                case Act.TRUST:
                    _install_root(login, subscriber, step.distributor, self.publishers[step.distributor])
                case Act.HOOK:
                    run_on_host(login, subscriber, [*program, "hook", directory])

    def _check_key(self, distributor: str, known: bytes | None, shown: bytes) -> None:
        if known is not None and known != shown and not self.replace_key:
            what = "a receipt key other than" if shown else "no receipt key, instead of"
            raise TrustError(
                f"Subscriber {self.subscriber.name} has {what} the one that Distributor {distributor} knows",
                remedy="if the host was set up anew, repeat with --replace-key; else find out which machine answers there",
            )


def remedy_for(subscriber: Subscriber, host: Host, publishers: Mapping[str, Publisher]) -> str:
    """Return the remedy for whatever is missing on a host: a bootstrap, unless it would refuse this one."""
    command = f"run: sluice subscriber bootstrap {subscriber.name}"
    known = [publisher.subscriber_key(subscriber.name) for publisher in publishers.values()]
    if host.name and host.name != subscriber.name:
        return (
            f"give {subscriber.name} a working_directory of its own, or remove that one if {host.name} is gone "
            f"or has its own elsewhere, and {command}{' --replace-key' if any(known) else ''}"
        )
    if all(key in (None, host.receipt_pub) for key in known):
        return command
    return f"if the host was set up anew, {command} --replace-key; else find out which machine answers there"


def _install_root(login: Login, subscriber: Subscriber, distributor: str, publisher: Publisher) -> None:
    run_on_host(login, subscriber, agent_command(subscriber.working_directory, "trust", "--distributor", distributor), [publisher.root()])


def run_on_host(login: Login, subscriber: Subscriber, command: Sequence[str], stdin: Iterable[bytes] = ()) -> bytes:
    """Run a command on a host and return its output. Raises NoSpaceError, TrustError: it refused; the message is the host's."""
    peer = f"Subscriber {subscriber.name} ({subscriber.address})"
    status, output, stderr = login.run(command, stdin)
    if status in (NOT_FOUND, NOT_EXECUTABLE):
        raise agent_missing(peer, subscriber.name, output_text(stderr), is_there=status == NOT_EXECUTABLE)
    if status == NO_SPACE:
        raise NoSpaceError(
            f"{peer}: {output_text(stderr)}",
            remedy="make room there, or give it a working_directory on a larger disk; "
            f"then run: sluice subscriber bootstrap {subscriber.name}",
        )
    if status != 0:
        raise TrustError(f"{peer} refused: {output_text(stderr) or f'exit status {status}'}")
    return output


def noexec_error(subscriber: Subscriber, host: Host) -> AgentMissingError:
    """Return the error of a host from whose working directory nothing can be run."""
    return AgentMissingError(
        f"Subscriber {subscriber.name} ({subscriber.address}): no agent can be started from {subscriber.working_directory}: "
        f"{host.noexec} is mounted noexec",
        remedy=f"give {subscriber.name} a working_directory on a file system from which programs may be run, then repeat",
    )


def hook_command(subscriber: Subscriber) -> str:
    """Return the command that ends an interrupted extraction when the host starts."""
    return " ".join(agent_command(subscriber.working_directory, "run"))


def _pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while data := file.read(_PIECE):
            yield data
