"""Real OpenSSH servers on loopback: the lab every test with Subscribers over SSH uses.

One ``Sshd`` is one host: own port, host key, PidFile, authorized key and home directory; runs as whoever runs the tests, root or not.
``SshLab`` starts as many as asked and ends them by the pids it started. Take it from the fixture ``ssh_lab``.
"""

from __future__ import annotations

import getpass
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from sluice.model.site import Address, Subscriber

START_WAIT = 60.0
"""Seconds a server has to answer."""
# A host of its own has a crontab of its own: bootstrap must not write into that of who runs the tests.
CRONTAB = """\
#!/bin/sh
if [ "$1" = -l ]; then cat "$HOME/crontab" 2>/dev/null; else cat >"$HOME/crontab"; fi
"""


def make_key(path: Path, *, passphrase: str = "", kind: str = "ed25519") -> Path:
    """A new private key at ``path`` and its public one at ``path.pub``."""
    small = ("-b", "2048") if kind == "rsa" else ()  # made in a fifth of the time
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *small, "-N", passphrase, "-C", "", "-f", str(path)], check=True)
    return path


@dataclass
class Sshd:
    """One host. ``directory`` holds all that is its own."""

    name: str
    directory: Path
    program: Path
    identity: Path
    port: int
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def home(self) -> Path:
        """What ``$HOME`` is in its sessions."""
        return self.directory / "home"

    @property
    def path(self) -> str:
        """PATH of its commands; last this very Python's directory, so that there is one the agent bundle fits."""
        own_python = Path(sys.executable).resolve().parent
        return os.pathsep.join([str(self.directory / "bin"), "/usr/local/bin", "/usr/bin", "/bin", str(own_python)])

    @property
    def host_key(self) -> str:
        """As a blueprint pins it."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    @property
    def subscriber(self) -> Subscriber:
        """This host as a Subscriber whose working directory is ``home/sluice``."""
        return Subscriber(
            name=self.name,
            address=Address("ssh", "127.0.0.1", self.port, getpass.getuser()),
            working_directory=PurePosixPath(self.home / "sluice"),
            host_key=self.host_key,
            identity=str(self.identity),
        )

    def start(self) -> None:
        """Run it in the foreground as our child; returns when it answers."""
        self.process = subprocess.Popen([str(self.program), "-D", "-e", "-f", str(self._configure())], stderr=self._log())
        deadline = time.monotonic() + START_WAIT
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                if sock.recv(4) == b"SSH-":
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd {self.name} didn't start:\n{self.log()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server and every session it serves; may be called twice."""
        if self.process is None:
            return
        self.kill_sessions()
        self.process.terminate()
        self.process.wait(60)
        self.kill_sessions()
        self.process = None

    def session_pids(self) -> list[int]:
        """The server processes of its connections (not what runs in them)."""
        return children(self.process.pid) if self.process else []

    def kill_sessions(self, number: int = signal.SIGKILL) -> int:
        """Cut every connection, as if the host had lost them; returns how many processes were hit.

        What ran in them sees its stdin end, as with a real cut; it isn't killed.
        """
        hit = 0
        for pid in self.session_pids():
            # With privilege separation the connection is held by a child of the session's process.
            for each in (*children(pid, named="sshd"), pid):
                with suppress(ProcessLookupError):
                    os.kill(each, number)
                    hit += 1
        return hit

    def command_pids(self) -> list[int]:
        """What runs in its sessions: the remote commands."""
        found = []
        for session in self.session_pids():
            for pid in (session, *children(session, named="sshd")):
                found += [each for each in children(pid) if process_name(each) != "sshd"]
        return found

    def new_host_key(self) -> None:
        """Another key, as after a reinstallation; shown from the next ``start``."""
        for suffix in ("", ".pub"):
            (self.directory / f"host_key{suffix}").unlink(missing_ok=True)
        make_key(self.directory / "host_key")

    def log(self) -> str:
        """What it said."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _log(self) -> int:
        return os.open(self.directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _configure(self) -> Path:
        self.home.mkdir(parents=True, exist_ok=True)
        crontab = self.directory / "bin" / "crontab"
        crontab.parent.mkdir(exist_ok=True)
        crontab.write_text(CRONTAB)
        crontab.chmod(0o755)
        if not (self.directory / "host_key").exists():
            make_key(self.directory / "host_key")
        authorized = self.directory / "authorized_keys"
        authorized.write_text(self.identity.with_name(self.identity.name + ".pub").read_text())
        config = self.directory / "sshd_config"
        # A setting that is given stands for ours; a Match block reaches to the end.
        block = next((place for place, line in enumerate(self.options) if line.startswith("Match ")), len(self.options))
        given = {line.split()[0] for line in self.options[:block]}
        usual = (
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.directory / 'host_key'}",
            f"PidFile {self.directory / 'pid'}",
            f"AuthorizedKeysFile {authorized}",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "PrintMotd no",
            "MaxStartups 100:30:200",
            f"SetEnv HOME={self.home} PATH={self.path}",
            "Subsystem sftp internal-sftp",
        )
        lines = (*(line for line in usual if line.split()[0] not in given), *self.options)
        config.write_text("\n".join(lines) + "\n")
        return config


def children(pid: int, *, named: str = "") -> list[int]:
    """Pids of a process's children, from /proc."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += [int(each) for each in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    return [each for each in found if not named or process_name(each) == named]


def process_name(pid: int) -> str:
    """The short name of a process; empty where it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


class SshLab:
    """As many hosts as a test wants, one identity for all."""

    def __init__(self, directory: Path, program: Path) -> None:
        self._directory, self._program = directory, program
        self.identity = make_key(directory / "identity")
        self.hosts: dict[str, Sshd] = {}

    def host(self, name: str, *, start: bool = True, options: tuple[str, ...] = ()) -> Sshd:
        """A new host, answering."""
        directory = self._directory / name
        directory.mkdir()
        host = Sshd(name, directory, self._program, self.identity, free_port(), options)
        host._configure()
        self.hosts[name] = host
        if start:
            host.start()
        return host

    def stop(self) -> None:
        """All of them."""
        for host in self.hosts.values():
            host.stop()


def free_port() -> int:
    """Choose a port of loopback that nobody listens on, below those of connections and of servers that name none (ephemeral ports).

    A server binds it only later: until then no connection of another process of tests can take it.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def with_address(subscriber: Subscriber, *, host: str = "", port: int = 0) -> Subscriber:
    """The same Subscriber at another address."""
    address = subscriber.address
    return replace(subscriber, address=replace(address, host=host or address.host, port=port or address.port))


@contextmanager
def lab(directory: Path, real_part: Callable[[str], Path]) -> Iterator[SshLab]:
    """A lab in ``directory`` (it must be this test's own); everything is ended on leaving."""
    program = real_part("sshd")
    real_part("ssh-keygen")
    if os.geteuid() == 0:
        # Where sshd separates privileges; a package's service makes it at boot.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    made = SshLab(directory, program)
    try:
        yield made
    finally:
        made.stop()
