"""The demo's Subscribers: real SSH servers on loopback, each with its own port, host key and home.

OpenSSH where it is installed and lets this user in, else the embedded server; either runs the real agent.
"""

from __future__ import annotations

import base64
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from demo.leftovers import Started

START_SECONDS = 15.0
"""A server has that long to answer; a second is usual."""
# A host of its own has a crontab of its own: bootstrap must not write into that of who runs the demo.
CRONTAB = """\
#!/bin/sh
if [ "$1" = -l ]; then cat "$HOME/crontab" 2>/dev/null; else cat >"$HOME/crontab"; fi
"""
_SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def make_key(path: Path) -> None:
    """A new Ed25519 key at ``path``, its public one at ``path.pub``; not by ssh-keygen, which may be missing."""
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.with_name(path.name + ".pub").write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")


def free_port() -> int:
    """A port of loopback nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server of ours could listen on that port of loopback."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def openssh() -> Path | None:
    """OpenSSH's server, if it is installed."""
    found = shutil.which("sshd", path=_SBIN)
    return Path(found).resolve() if found else None


@dataclass
class Host:
    """One SSH server. ``program`` None is the embedded one."""

    name: str
    directory: Path
    identity: Path
    program: Path | None
    noted: Started
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """What a person reads of it."""
        return "OpenSSH sshd" if self.program else "embedded SSH server"

    @property
    def host_key(self) -> str:
        """As a blueprint pins it."""
        return (self.directory / "host_key.pub").read_text().strip()

    @property
    def path(self) -> str:
        """PATH of its commands; last this very Python's directory, so that there is one the agent bundle fits."""
        own_python = Path(sys.executable).resolve().parent
        return os.pathsep.join([str(self.directory / "bin"), "/usr/local/bin", "/usr/bin", "/bin", str(own_python)])

    def prepare(self) -> None:
        """Keys, home and settings."""
        (self.directory / "home").mkdir(parents=True, exist_ok=True)
        (self.directory / "bin").mkdir(exist_ok=True)
        (self.directory / "bin" / "crontab").write_text(CRONTAB)
        (self.directory / "bin" / "crontab").chmod(0o755)
        if not (self.directory / "host_key").exists():
            make_key(self.directory / "host_key")
        shutil.copy(self.identity.with_name(self.identity.name + ".pub"), self.directory / "authorized_keys")
        lines = (
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.directory / 'host_key'}",
            f"PidFile {self.directory / 'pid'}",
            f"AuthorizedKeysFile {self.directory / 'authorized_keys'}",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "PrintMotd no",
            f"SetEnv HOME={self.directory / 'home'} PATH={self.path}",
        )
        (self.directory / "sshd_config").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Run it as our child; returns when it lets us in. Raises RuntimeError where it doesn't."""
        with open(self.directory / "log", "ab") as log:
            # Its own session: Ctrl-C is the demo's, which ends everything in order.
            self.process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=Path(__file__).parents[1],
                env=dict(os.environ) | ({} if self.program else {"PATH": self.path}),
            )
        self.noted.note(f"{self.kind} {self.name}", self.process.pid)
        deadline = time.monotonic() + START_SECONDS
        while not self._lets_in():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.kind} {self.name} on port {self.port} lets nobody in; it said: {self._said()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server and its sessions, as if the host was switched off; may be called twice."""
        if self.process is None:
            return
        end_tree(self.process)
        self.process = None

    def _command(self) -> list[str]:
        own = self.directory
        if self.program:
            if os.geteuid() == 0:
                # Where sshd separates privileges; a package's service makes it at boot.
                Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
            return [str(self.program), "-D", "-e", "-f", str(own / "sshd_config")]
        places = [str(own / "host_key"), str(own / "authorized_keys"), str(own / "home")]
        return [sys.executable, "-m", "demo.embedded_sshd", str(self.port), *places]

    def _lets_in(self) -> bool:
        """A whole login with a command: an account can be locked, or have no shell, where a port answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as sock, paramiko.Transport(sock) as transport:
                kind, encoded = self.host_key.split()[:2]
                shown = paramiko.PKey.from_type_string(kind, base64.b64decode(encoded))
                transport.connect(shown, getpass.getuser(), pkey=paramiko.PKey.from_path(self.identity))
                channel = transport.open_session(timeout=5)
                channel.settimeout(5)
                channel.exec_command("exit 7")
                return channel.recv_exit_status() == 7
        except (OSError, EOFError, paramiko.SSHException):
            return False

    def _said(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-500:].strip() or "nothing"


def end_tree(process: subprocess.Popen[bytes] | subprocess.Popen[str], *, patience: float = 5.0) -> None:
    """Terminate a child of ours and wait; then kill what it started and left behind, and the child where it didn't obey."""
    started: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    for each in started:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.kill()
    process.wait()


def start_hosts(names: tuple[str, ...], directory: Path, identity: Path, noted: Started) -> dict[str, Host]:
    """All of them, started. Falls back to the embedded server where OpenSSH's is missing or refuses this user."""
    program = openssh()
    hosts: dict[str, Host] = {}
    for name in names:
        host = hosts[name] = Host(name, directory / name, identity, program, noted)
        host.prepare()
        try:
            host.start()
        except RuntimeError:
            if host.program is None:
                stop_hosts(hosts)
                raise
            program = host.program = None
            host.start()
    return hosts


def stop_hosts(hosts: dict[str, Host]) -> None:
    """All of them."""
    for host in hosts.values():
        host.stop()
