"""The demo's Subscribers: real SSH servers on loopback, each with its own port, host key and home.

Each is OpenSSH if it is installed and lets this user log in, else the embedded server; both run the real agent.
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

from demo.leftovers import StartedProcesses

START_SECONDS = 15.0
"""Seconds that a server has to answer; one is usual."""
# A real host has a crontab of its own: bootstrap must not write into that of the demo's user.
CRONTAB = """\
#!/bin/sh
if [ "$1" = -l ]; then cat "$HOME/crontab" 2>/dev/null; else cat >"$HOME/crontab"; fi
"""
_SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def make_key(path: Path) -> None:
    """Make an Ed25519 key at ``path``, its public one at ``path.pub``; not with ssh-keygen, which may be missing."""
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.with_name(path.name + ".pub").write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")


def free_port() -> int:
    """Find a port of loopback that no server uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of loopback."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass
class Host:
    """One SSH server; the embedded one if ``program`` is None."""

    name: str
    directory: Path
    identity: Path
    program: Path | None
    processes: StartedProcesses
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """Name its kind for people."""
        return "OpenSSH sshd" if self.program else "embedded SSH server"

    @property
    def host_key(self) -> str:
        """Return the host key in the form of blueprints."""
        return (self.directory / "host_key.pub").read_text().strip()

    @property
    def path(self) -> str:
        """Return PATH of its commands; last comes this Python's directory, so that one Python fits the agent bundle."""
        own_python = Path(sys.executable).resolve().parent
        return os.pathsep.join([str(self.directory / "bin"), "/usr/local/bin", "/usr/bin", "/bin", str(own_python)])

    def prepare(self) -> None:
        """Write keys, home and settings."""
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
        """Start it as a child process; return when a login succeeds. Raises RuntimeError if none does."""
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
        self.processes.note(f"{self.kind} {self.name}", self.process.pid)
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts_login():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.kind} {self.name} on port {self.port} accepts no login; its log ends: {self._log_end()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server and its sessions, as if the host was switched off; may be called twice."""
        if self.process is not None:
            end_tree(self.process)
            self.process = None

    def _command(self) -> list[str]:
        own = self.directory
        if self.program:
            if os.geteuid() == 0:
                # sshd needs it to separate privileges; the package's service makes it at boot.
                Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
            return [str(self.program), "-D", "-e", "-f", str(own / "sshd_config")]
        paths = [str(own / "host_key"), str(own / "authorized_keys"), str(own / "home")]
        return [sys.executable, "-m", "demo.embedded_sshd", str(self.port), *paths]

    def _accepts_login(self) -> bool:
        """Whether a login with a command succeeds: a port may answer although the account is locked or has no shell."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as sock, paramiko.Transport(sock) as transport:
                kind, encoded = self.host_key.split()[:2]
                host_key = paramiko.PKey.from_type_string(kind, base64.b64decode(encoded))
                transport.connect(host_key, getpass.getuser(), pkey=paramiko.PKey.from_path(self.identity))
                channel = transport.open_session(timeout=5)
                channel.settimeout(5)
                channel.exec_command("exit 7")
                return channel.recv_exit_status() == 7
        except (OSError, EOFError, paramiko.SSHException):
            return False

    def _log_end(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-500:].strip() or "nothing"


def end_tree(process: subprocess.Popen[bytes] | subprocess.Popen[str], *, patience: float = 5.0) -> None:
    """Terminate a child process and wait; then kill its remaining children, and the child itself if it did not end."""
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


def start_hosts(names: tuple[str, ...], directory: Path, identity: Path, processes: StartedProcesses) -> dict[str, Host]:
    """Start all hosts. Falls back to the embedded server if OpenSSH's is missing or refuses this user."""
    found = shutil.which("sshd", path=_SBIN)
    program = Path(found).resolve() if found else None
    hosts: dict[str, Host] = {}
    for name in names:
        host = hosts[name] = Host(name, directory / name, identity, program, processes)
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
    """Stop all hosts."""
    for host in hosts.values():
        host.stop()
