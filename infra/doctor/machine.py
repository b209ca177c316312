"""Examine this machine and a Distributor's things on it: working directory, keys, trust."""

from __future__ import annotations

import os
import stat
import sys
from datetime import datetime
from pathlib import Path

from infra.hosts.agent_bundle import Platform, bundles
from infra.transports.ssh_identity_files import identity_fault
from sluice.errors import SiteError, SluiceError
from sluice.model.site import Distributor, Site
from sluice.rules import diagnosis
from sluice.rules.diagnosis import Finding, Health
from sluice.rules.lifetimes import longest_send_interval
from sluice.rules.wording import counted
from sluice.trust.publish import Publisher, lifetime_of

ROOT_KEY, ONLINE_KEY = "root.pem", "online.pem"


def python() -> Finding:
    """Examine the Python that runs this."""
    return diagnosis.python_version(sys.version_info[:2])


def distributors_here(site: Site) -> list[Distributor]:
    """Return the Distributors whose private key is on this machine."""
    every = (found for _, found in sorted(site.distributors.items()))
    return [found for found in every if os.path.lexists(Path(found.working_directory) / "keys" / ONLINE_KEY)]


def elsewhere(site: Site) -> list[Finding]:
    """Examine the other Distributors: on another machine, without keys yet, or with lost keys."""
    here = {found.name for found in distributors_here(site)}
    others = [distributor for name, distributor in sorted(site.distributors.items()) if name not in here]
    return [_without_keys(distributor, Health.WARNING if here else Health.FAILED) for distributor in others]


def _without_keys(distributor: Distributor, health: Health) -> Finding:
    name, directory = distributor.name, Path(distributor.working_directory)
    if os.path.lexists(directory / "trust" / "repository"):  # it runs on this machine
        try:
            Publisher(directory, distributor=name).check_keys()
        except SluiceError as error:
            return _failed("trust", name, error)
    remedy = f"run `sluice trust init {name}`, unless it runs on another machine"
    return Finding(health, "trust", name, f"no keys in {directory}/keys", remedy)


def working_directory(distributor: Distributor) -> list[Finding]:
    """Examine its mode and its free space."""
    path = Path(distributor.working_directory)
    try:
        status, space = path.stat(), os.statvfs(path)
    except OSError as error:
        return [Finding(Health.FAILED, "machine", str(path), f"it can't be read: {error.strerror}", "see its owner and mode")]
    mode = stat.S_IMODE(status.st_mode)
    return [
        diagnosis.private_directory(str(path), mode=mode, ours=status.st_uid == os.geteuid()),
        diagnosis.free_space(str(path), free=space.f_bavail * space.f_frsize, kept=distributor.min_free),
    ]


def trust(site: Site, distributor: Distributor, now: datetime) -> list[Finding]:
    """Examine its keys, read as for signing, and how long its metadata last."""
    publisher = Publisher(Path(distributor.working_directory), distributor=distributor.name)
    found = []
    try:
        publisher.check_keys()
        found.append(Finding(Health.OK, "trust", f"{distributor.name}: keys", "present, readable by their account alone"))
        keys = Path(distributor.working_directory) / "keys"
        if (mode := stat.S_IMODE(keys.stat().st_mode)) & 0o077:
            found.append(Finding(Health.WARNING, "trust", str(keys), f"others can enter it: mode {mode:04o}", f"chmod 700 {keys}"))
        root_key = keys / ROOT_KEY
        if root_key.exists() and stat.S_IMODE(root_key.stat().st_mode) & 0o077:
            found.append(Finding(Health.FAILED, "trust", str(root_key), "others can read it", f"chmod 600 {root_key}"))
        expires = publisher.expires()
    except (SluiceError, OSError) as error:
        return [*found, _failed("trust", f"{distributor.name}: keys", error)]
    interval = longest_send_interval(site, distributor.name)
    found += [
        diagnosis.lifetime(role, expires=at, lasts=lifetime_of(role, interval), now=now, distributor=distributor.name)
        for role, at in sorted(expires.items())
    ]
    return found


def agent_bundle(directory: Path) -> Finding:
    """Examine the bundle that bootstrap installs on hosts of this platform."""
    here, name = Platform.current(), str(Platform.current())
    for bundle in bundles(directory):
        if bundle.platform == here and bundle.is_current:
            return Finding(Health.OK, "agent", name, f"bundle {bundle.digest[:12]} is current")
    return Finding(
        Health.WARNING, "agent", name, f"no current bundle in {directory}", "bootstrap makes it when it is needed, `sluice agent build` now"
    )


def identities(site: Site) -> list[Finding]:
    """Find identities of Subscribers, each once, that no login can use; missing ones are reported by the login."""
    named = {Path(site.directory) / each.identity: bool(each.ssh.agent) for each in site.subscribers.values() if each.identity}
    faults = {path: identity_fault(path, agent=agent) for path, agent in sorted(named.items()) if path.exists()}
    return [Finding(Health.FAILED, "machine", str(path), f"it {fault[0]}", fault[1]) for path, fault in faults.items() if fault]


def site_is_valid(site: Site, variable: str | None) -> Finding:
    """Return the finding for a site that was read, which has no errors: its size, and how it was found."""
    how = "named by SLUICE_SITE" if variable else "SLUICE_SITE isn't set: workers need it"
    number = f"{counted(len(site.distributions), 'Distribution')}, {counted(len(site.subscribers), 'Subscriber')}"
    return Finding(Health.OK, "site", str(site.directory), f"no errors, {number}; {how}")


def site_failed(directory: Path, error: SluiceError) -> list[Finding]:
    """Return a finding for each error of a site that can't be used."""
    if not isinstance(error, SiteError):
        return [_failed("site", str(directory), error)]
    return [
        Finding(
            Health.FAILED, "site", f"{each.file}:{each.line}", f"{each.path}: {each.message}" if each.path else each.message, each.remedy
        )
        for each in error.errors
    ]


def _failed(area: str, name: str, error: SluiceError | OSError) -> Finding:
    if isinstance(error, SluiceError):
        return Finding(Health.FAILED, area, name, error.message, error.remedy)
    return Finding(Health.FAILED, area, name, f"{error.filename}: {error.strerror}", "see its owner and mode")
