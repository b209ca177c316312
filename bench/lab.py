"""Make the site to measure: a Distributor on one fresh file system, a Subscriber with a real sshd and a real installed agent on another.

Work before and after a run isn't timed: the host's file system is made anew and the bootstrapped agent copied back to it, so
that every run finds a Subscriber that holds nothing, with warm page cache and compiled modules, and no journal of an earlier run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.ground import Ground, sync
from bench.processes import Ended, clean_environment, run, watched_peak
from bench.site import write_site
from infra.hosts.bootstrap import bootstrap
from infra.workplace import open_workplace
from tests.system.sshd import Sshd, lab

_POSTGRES = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
_PROGRAM_PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", *_POSTGRES])


class Lab:
    """One Distributor ``hq``, one Subscriber ``host``, one Distribution for each source."""

    def __init__(self, directory: Path, sender: Ground, receiver: Ground, host: Sshd) -> None:
        self.directory, self.sender, self.receiver, self.host = directory, sender, receiver, host
        self.site = directory / "site"
        self._template = directory / "template"
        self._distributions: list[str] = []
        self._bootstrap()

    @property
    def working_directory(self) -> Path:
        """Return the Subscriber's working directory."""
        return self.receiver.mount / "sluice"

    def source(self, distribution: str) -> Path:
        """Return the directory that is distributed."""
        return self.sender.mount / "source" / distribution

    def destination(self, what: str) -> Path:
        """Return the destination."""
        return self.receiver.mount / what

    def add(self, distribution: str) -> None:
        """Build and sign a revision of its source."""
        self._distributions.append(distribution)
        self._write_site()
        self.build(distribution)
        sync(self.sender.mount)

    def build(self, distribution: str) -> Ended:
        """Build once, as a process of its own."""
        return self._drive("build", distribution)

    def send(self, distribution: str, *, extract: bool = True) -> tuple[Ended, int]:
        """Send once, as a process of its own; return it with the agent's peak memory in bytes."""
        with watched_peak(self.host.command_pids) as peak:
            ended = self._drive("send", distribution, *(["extract"] if extract else []))
        return ended, peak()

    def renew(self) -> None:
        """Restore the Subscriber as it was after bootstrap, on a fresh file system."""
        self.receiver.renew()
        subprocess.run(["cp", "-a", str(self._template), str(self.working_directory)], check=True)
        sync(self.receiver.mount)

    def keep_compiled(self) -> None:
        """Keep the modules that the agent's first run compiled: a Subscriber in use has them."""
        shutil.rmtree(self._template / "agent")
        subprocess.run(["cp", "-a", str(self.working_directory / "agent"), str(self._template)], check=True)

    def ssh(self, *options: str) -> str:
        """Return the command line of an OpenSSH client to the host, for peers."""
        return ssh(self.host, self.directory, *options)

    def _drive(self, *arguments: str) -> Ended:
        what, distribution, *more = arguments
        command = [sys.executable, "-m", "bench.drive", what, str(self.site), distribution, *more]
        return run(command, log=self.directory / "log", environment=clean_environment())

    def _bootstrap(self) -> None:
        self.receiver.renew()
        self._write_site()
        with open_workplace(self.site, "hq") as work:
            work.publisher.ensure_keys(datetime.now(UTC))
            subscriber = work.site.subscriber("host")
            bootstrap(subscriber, {"hq": work.publisher}, transport=work.transport, bundles=self.directory / "bundles", timeout=60)  # type: ignore[arg-type]
        subprocess.run(["cp", "-a", str(self.working_directory), str(self._template)], check=True)

    def _write_site(self) -> None:
        subscriber = self.host.subscriber
        host = {
            "name": "host",
            "address": str(subscriber.address),
            "host_key": subscriber.host_key,
            "identity": str(self.host.identity),
            "working_directory": str(self.working_directory),
            "variables": {"DEST": str(self.receiver.mount)},
            "extract": "never",
        }
        distributions = [
            {"name": name, "files": [{"source": str(self.source(name)), "destination": f"{{{{ DEST }}}}/{name}"}]}
            for name in self._distributions
        ]
        write_site(self.site, self.sender.mount / "hq", [host], distributions)


def ssh(host: Sshd, directory: Path, *options: str) -> str:
    """Return the command line of an OpenSSH client to the host; its list of known hosts is written to the directory."""
    known = directory / "known_hosts"
    known.write_text(f"[127.0.0.1]:{host.port} {host.host_key}\n")
    settings = ("-F", "none", "-i", str(host.identity), "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes")
    return shlex.join(["ssh", "-p", str(host.port), *settings, *options])


def program(name: str) -> Path:
    """Find a program. Raises SystemExit if it is missing."""
    found = shutil.which(name, path=_PROGRAM_PLACES)
    if found is None:
        raise SystemExit(f"bench: {name} is missing; as root, `make bench` installs it")
    return Path(found)


@contextmanager
def opened_lab(directory: Path, sizes: Sequence[int]) -> Iterator[Lab]:
    """Make a lab in ``directory``; everything is ended, unmounted and removed on leaving.

    Args:
        sizes: Bytes of the sender's and of the Subscriber's file system.
    """
    sender, receiver = Ground(directory, "sender", sizes[0]), Ground(directory, "receiver", sizes[1])
    try:
        sender.renew()
        (directory / "ssh").mkdir()
        with lab(directory / "ssh", program) as hosts:
            yield Lab(directory, sender, receiver, hosts.host("host"))
    finally:
        receiver.close()
        sender.close()
