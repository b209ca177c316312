"""Look at the files of keys and the client configurations that a site names.

What can't be right is an error, what another machine may have is advice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from infra.transports.ssh_certificates import load_certificate
from infra.transports.ssh_config_file import SIZE_MAX, read_file
from infra.transports.ssh_identity_files import identity_fault
from infra.transports.ssh_way import way_problems
from sluice.blueprint.check.advice import Advice
from sluice.errors import BlueprintError
from sluice.model.site import Site, Subscriber

_ELSEWHERE = "unless this isn't the Distributor's machine"


def login_files(site: Site) -> tuple[list[BlueprintError], list[Advice]]:
    """Find faults of private keys, certificates, known_hosts files and client configurations.

    Each file is told once, where the first Subscriber names it.
    """
    errors: dict[tuple[str, str], BlueprintError] = {}
    advised: dict[tuple[str, str], Advice] = {}
    for _, subscriber in sorted(site.subscribers.items()):
        for key, path, what, remedy in _faults(site, subscriber):
            origin = subscriber.origins[key].source.removeprefix("defaults ")
            file, _, line = origin.rpartition(":")
            if os.access(path, os.R_OK):
                errors.setdefault((key, str(path)), BlueprintError(what, file=file, line=int(line), path=key, remedy=remedy))
            else:
                advised.setdefault((key, str(path)), Advice(file, int(line), key, what, f"{remedy} ({_ELSEWHERE})"))
    return [*errors.values(), *way_problems(site)], list(advised.values())


def _faults(site: Site, subscriber: Subscriber) -> Iterator[tuple[str, Path, str, str]]:
    if subscriber.identity and "identity" in subscriber.origins:
        path = Path(site.directory) / subscriber.identity
        if fault := identity_fault(path, agent=bool(subscriber.ssh.agent)):
            yield "identity", path, f"{path} {fault[0]}", fault[1]
    port = f"-p {subscriber.address.port} " if subscriber.address.port else ""
    others = {
        "host_keys": (
            subscriber.host_keys,
            f"make it with ssh-keyscan {port}{subscriber.address.host}, and compare the key with the host's own",
        ),
        "ssh.config": (subscriber.ssh.config, "write it as ssh_config(5) describes, or correct config:"),
        "ssh.certificate": (subscriber.ssh.certificate, "make it with ssh-keygen -s, or correct certificate:"),
    }
    for key, (named, remedy) in others.items():
        path = Path(site.directory) / named
        if named and key in subscriber.origins and not os.path.isfile(path):
            what = "isn't a file" if os.path.exists(path) else "doesn't exist"
            yield key, path, f"{path} {what}", remedy
        elif named and key == "ssh.certificate" and os.access(path, os.R_OK) and load_certificate(read_file(path, SIZE_MAX)) is None:
            yield key, path, f"{path} isn't a certificate", remedy
