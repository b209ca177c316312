"""Resolve a Subscriber to the hosts that SSH passes on the way to it, and for each what is offered there and which host key is believed.

The blueprint's own keys win over its client configuration (``ssh_config.py``); nothing else is read. A jump host is looked up in
the client configuration as any host; an identity that it has there is its own, else it gets the Subscriber's. Of several jump hosts
only the first one's own ProxyJump counts, as with ``ssh -J``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from infra.transports.ssh_config import HostConfig, resolve
from infra.transports.ssh_known_hosts import HostKeys, known_keys, parse_key
from sluice.errors import BlueprintError, HostKeyError
from sluice.model.site import Address, Site, Subscriber

HOPS_MAX = 9


@dataclass(frozen=True, slots=True)
class Hop:
    """One host on the way; the last is the Subscriber."""

    peer: str
    """As errors name it."""
    address: Address
    """Its real name, port and user."""
    known: HostKeys
    pin: str
    """Where its host key is pinned, for a remedy."""
    files: str
    """The known_hosts files, if it is pinned there."""
    identities: tuple[Path, ...]
    certificates: tuple[Path, ...]
    agent: str | None
    """Path of the ssh-agent's socket; empty: the one of SSH_AUTH_SOCK; None: no agent."""
    only_named: bool
    """Whether the agent offers the keys of ``identities`` alone."""
    required: frozenset[Path]
    """Those of them that the blueprint names, which must be usable. One of a client configuration is passed over, as with ssh."""
    passphrase: str
    family: int
    connect_timeout: float | None
    alive_interval: float
    alive_count: int

    @property
    def name(self) -> str:
        """Return user, host and port."""
        return str(self.address).removeprefix("ssh://")


@dataclass(frozen=True, slots=True)
class Way:
    """The way to one Subscriber."""

    hops: tuple[Hop, ...]
    problems: tuple[BlueprintError, ...]
    """Everything that keeps it from being taken."""


def find_way(subscriber: Subscriber, site: Path) -> Way:
    """Resolve a Subscriber; reads the files that its blueprint names, and calls nobody."""
    finder = _WayFinder(subscriber, site)
    hops = finder.hops(subscriber.address, subscriber.ssh.jump, ())
    return Way(tuple(hops), tuple(sorted(finder.problems.values(), key=_place)))


def way_problems(site: Site) -> list[BlueprintError]:
    """List the settings of client configurations that a site's Subscribers would need and that can't be honoured, each once.

    One that isn't here is passed over: another machine may have it.
    """
    found: dict[str, BlueprintError] = {}
    for subscriber in site.subscribers.values():
        if os.path.isfile(subscriber.ssh.config):
            found |= {str(each): each for each in find_way(subscriber, Path(site.directory)).problems}
    return sorted(found.values(), key=_place)


def _place(problem: BlueprintError) -> tuple[str, int]:
    return problem.file, problem.line


class _WayFinder:
    def __init__(self, subscriber: Subscriber, site: Path) -> None:
        self.subscriber, self.site, self.ssh = subscriber, site, subscriber.ssh
        self.problems: dict[str, BlueprintError] = {}

    def hops(self, address: Address, jumps: tuple[Address, ...] | None, behind: tuple[Address, ...]) -> list[Hop]:
        """Return the way to a host; ``behind`` are the hosts that it leads to, the Subscriber first."""
        config = self._config(address)
        real = Address("ssh", config.hostname, config.port or 22, config.user)
        if not real.user:
            self._problem(f"gives no user for {address.host}", "write User and a name for it there, or user@ in the blueprint")
        if real in behind or len(behind) >= HOPS_MAX:
            self._problem(f"leads to {real.host} through {behind[-1].host} and back", "write ProxyJump none for it before the other lines")
            return []
        found: list[Hop] = []
        for index, jump in enumerate(config.jumps if jumps is None else jumps):
            found += self.hops(jump, None if index == 0 else (), (*behind, real))
        return [*found, self._hop(real, config, is_jump=bool(behind))]

    def _config(self, address: Address) -> HostConfig:
        if not self.ssh.config:
            return HostConfig(address.host, address.port, address.user)
        found = resolve(Path(self.ssh.config), address.host, site=self.site, user=address.user, port=address.port)
        self.problems |= {str(each): each for each in found.problems}
        return found

    def _problem(self, message: str, remedy: str) -> None:
        found = BlueprintError(message, file=self.ssh.config or self.subscriber.name, line=0, remedy=remedy)
        self.problems.setdefault(str(found), found)

    def _hop(self, real: Address, config: HostConfig, *, is_jump: bool) -> Hop:
        subscriber, ssh = self.subscriber, self.ssh
        peer = f"Subscriber {subscriber.name} ({subscriber.address})"
        peer = f"jump host {str(real).removeprefix('ssh://')} of {peer}" if is_jump else peer
        bare = real.host.lower()
        names = (config.host_key_alias,) if config.host_key_alias else (bare,) if real.port == 22 else (f"[{bare}]:{real.port}", bare)
        if subscriber.host_key and not is_jump:
            key = parse_key(*(*subscriber.host_key.split(), "", "")[:2])
            if key is None:
                raise HostKeyError(f"{peer}: its host_key isn't an SSH key", remedy="write it as in known_hosts: type and base64")
            known, files, pin = HostKeys(names, (key,)), "", f"host_key: in {subscriber.name}'s document"
        else:
            paths: tuple[Path, ...] = (self.site / subscriber.host_keys,) if subscriber.host_keys else ()
            paths += config.known_hosts if is_jump or not paths else ()
            whose = f"host_keys: of {subscriber.name}" if subscriber.host_keys else f"UserKnownHostsFile in {ssh.config}"
            files = f"{', '.join(map(str, paths))} ({whose})" if paths else ""
            known, pin = known_keys(paths, names), f"its line in {files}"
        named = "" if is_jump and config.identities else subscriber.identity
        identities = (self.site / named,) if named else config.identities
        agent = config.agent if ssh.agent is None else (config.agent or "") if ssh.agent else None
        if ssh.config and not identities and agent is None:
            self._problem(f"names no identity for {real.host}", "write IdentityFile for it there, or identity: in the blueprint")
        if ssh.config and not files and not known.keys:
            self._problem(f"names no known_hosts file for {real.host}", "write UserKnownHostsFile there, or host_keys: in the blueprint")
        certificates = (Path(ssh.certificate),) if ssh.certificate and named == subscriber.identity else config.certificates
        required = {self.site / named for named in (named, ssh.certificate) if named}
        return Hop(
            peer,
            real,
            known,
            pin,
            files,
            identities,
            certificates,
            agent,
            bool(named) or config.identities_only,
            frozenset(required & {*identities, *certificates}),
            ssh.passphrase,
            config.family,
            config.connect_timeout,
            config.alive_interval,
            config.alive_count,
        )
