"""What deploy/ describes, without containers and without systemd: the same commands with the same environments, in a network of their own.

A network namespace has its own loopback and its own names (``ip netns exec`` puts /etc/netns/NAME/hosts over /etc/hosts), so that ports
and host names stay as they are in the files; nothing outside can reach it or is reached. In it run a real PostgreSQL and a real Redis.
What a container would mount elsewhere is named by its real path instead. Everything ends by the pids it started.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.system.lab import until

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
INSTALLED = "/usr/local/lib/sluice"
"""Where the units say that Sluice is."""
BIN = Path(sys.executable).parent
_CLONE_NEWNET = 0x40000000
"""From sched.h; Python has setns from 3.12 on."""
START_SECONDS = 240.0
STOP_SECONDS = 5.0
"""A server of which clients hold connections takes its time; what it has is thrown away anyway."""


class Network:
    """A network namespace with processes in it, each with a log."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory = name, directory
        self._running: list[subprocess.Popen[bytes]] = []
        self._requests = ThreadPoolExecutor(1, initializer=_enter, initargs=(name,))

    def start(self, what: str, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """A process that stays; its output is in ``what``.log."""
        with (self.directory / f"{what}.log").open("ab") as log:
            started = subprocess.Popen(
                self.within(command),
                env=dict(environment),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append(started)
        return started

    def run(self, command: Sequence[str], environment: Mapping[str, str], *, seconds: float = 240.0) -> subprocess.CompletedProcess[str]:
        """A process that ends."""
        return subprocess.run(
            self.within(command), env=dict(environment), cwd=self.directory, capture_output=True, text=True, check=False, timeout=seconds
        )

    def log(self, what: str) -> str:
        """What a process said so far."""
        return (self.directory / f"{what}.log").read_text(errors="replace")

    def api(self, path: str, body: object = None, *, auth: str = "", base: str = "http://127.0.0.1:4200/api") -> tuple[int, Any]:
        """One request to the Prefect API from inside: status and answer. A body makes it a POST, with the token that CSRF
        asks for. Status 0 where nothing answers."""
        return self._requests.submit(_request, path, body, auth, base).result()

    def listeners(self) -> list[str]:
        """Addresses with ports on which anything here listens for TCP."""
        shown = self.run(["ss", "-Hltn"], os.environ).stdout
        return [line.split()[3] for line in shown.splitlines()]

    def stop(self, *processes: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
        """As systemd with KillMode=mixed: they are asked, then their sessions are killed."""
        for process in processes:
            process.send_signal(number)
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running = [process for process in self._running if process not in processes]

    def stop_all(self) -> None:
        """Everything that was started here."""
        self.stop(*reversed(self._running))
        self._requests.shutdown()

    def within(self, command: Sequence[str]) -> list[str]:
        """A command that runs another one inside."""
        return ["ip", "netns", "exec", self.name, *command]


def _enter(network: str) -> None:
    """Have this thread open its sockets in a network namespace; others stay where they are."""
    with open(f"/run/netns/{network}", "rb") as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {network}")


def _request(path: str, body: object, auth: str, base: str) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    if auth:
        headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()

    def call(path: str, body: object = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(base + path, data, headers), timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")
        except OSError as error:
            return 0, str(error)

    if body is not None:
        status, token = call("/csrf-token?client=tests")
        if status == 200:
            headers |= {"Prefect-Csrf-Token": token["token"], "Prefect-Csrf-Client": "tests"}
    return call(path, body)


@contextmanager
def network(directory: Path, hosts: Sequence[str], real_part: Callable[[str], Path]) -> Iterator[Network]:
    """A network of its own, in which ``hosts`` are names of its loopback. Needs root."""
    ip = str(real_part("ip"))
    name = f"sluice-deploy-{os.getpid()}"
    names = Path("/etc/netns") / name
    names.mkdir(parents=True)
    (names / "hosts").write_text(f"127.0.0.1 localhost {' '.join(hosts)}\n")
    subprocess.run([ip, "netns", "add", name], check=True)
    made = Network(name, directory)
    try:
        subprocess.run([ip, "netns", "exec", name, ip, "link", "set", "lo", "up"], check=True)
        yield made
    finally:
        made.stop_all()
        subprocess.run([ip, "netns", "delete", name], check=True)
        shutil.rmtree(names)


@contextmanager
def postgres(inside: Network, real_part: Callable[[str], Path], secrets: Path) -> Iterator[None]:
    """A real server on port 5432, with the databases that make-databases makes. Passwords are asked for over TCP."""
    programs = real_part("initdb").resolve().parent
    directory = Path(tempfile.mkdtemp(prefix="sluice-tests-postgres-"))
    shutil.chown(directory, "postgres", "postgres")
    drop = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"]
    server = None
    try:
        initdb = [*drop, str(programs / "initdb"), "--pgdata", str(directory / "data"), "--auth-local=trust", "--auth-host=scram-sha-256"]
        subprocess.run([*initdb, "--no-sync", "--encoding=UTF8"], check=True, capture_output=True, cwd="/")
        options = ["-c", "listen_addresses=*", "-c", f"unix_socket_directories={directory}", "-c", "fsync=off"]
        server = inside.start(
            "postgres", [*drop, str(programs / "postgres"), "-D", str(directory / "data"), *options], {"PATH": os.defpath}
        )
        ready = [str(programs / "pg_isready"), "--quiet", "--host", str(directory)]
        until(lambda: inside.run(ready, {}).returncode == 0, "PostgreSQL answers", seconds=START_SECONDS)
        environment = {"PATH": f"{programs}:{os.defpath}", "PGHOST": str(directory)}
        environment |= {name: (secrets / "postgres" / name).read_text() for name in ("PREFECT_PASSWORD", "LEDGER_PASSWORD")}
        for _ in range(2):  # it may be repeated
            made = inside.run([str(DEPLOY / "make-databases")], environment)
            assert made.returncode == 0, made.stderr
        yield
    finally:
        if server is not None:
            # Fast: its clients, which are stopped with it at the latest, would hold up a smart one.
            inside.stop(server, number=signal.SIGINT)
        shutil.rmtree(directory, ignore_errors=True)


class Compose:
    """compose.yaml, read as `docker compose` reads it, as far as it is used there."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        text = (DEPLOY / "compose" / "compose.yaml").read_text()
        self.services: dict[str, dict[str, Any]] = yaml.safe_load(_interpolated(text, variables))["services"]

    def environment(self, service: str) -> dict[str, str]:
        """Its settings files, then its own."""
        found: dict[str, str] = {}
        for file in self.services[service].get("env_file", []):
            found |= environment_file(DEPLOY / "compose" / file)
        return found | {key: str(value) for key, value in self.services[service].get("environment", {}).items()}

    def command(self, service: str) -> list[str]:
        """Its entrypoint, which for our image is with-secrets, and its command."""
        described = self.services[service]
        entrypoint = described.get("entrypoint", ["with-secrets"] if described["image"].startswith("sluice:") else [])
        return [*entrypoint, *described["command"]]

    def mounted(self, service: str) -> dict[str, str]:
        """Paths of this machine by their paths in the container."""
        found = {}
        for volume in self.services[service].get("volumes", []):
            source, target, *_ = volume.split(":")
            found[target] = str((DEPLOY / "compose" / source).resolve()) if source.startswith(".") else source
        return found


def _interpolated(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        found = variables.get(name) or default
        assert found is not None, f"{name} has no value"
        return found

    return re.sub(r"\$\{(?P<name>\w+)(?:(?::\?[^}]*)|(?::-(?P<default>[^}]*)))?\}", value, text)


def environment_file(path: Path) -> dict[str, str]:
    """``NAME=value`` lines and comments, nothing else: what systemd, compose and a shell all read alike."""
    found = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            assert re.fullmatch(r"[A-Z_][A-Z0-9_]*", name), line
            assert re.fullmatch(r"[\w./:+@,-]+", value), line
            assert name not in found, f"{name} stands twice"
            found[name] = value
    return found


class Unit:
    """A systemd unit, read as far as a test needs it."""

    def __init__(self, name: str, *, instance: str = "") -> None:
        text = (DEPLOY / "systemd" / name).read_text().replace("%i", instance).replace(INSTALLED + "/.venv/bin", str(BIN))
        self._lines = [
            line.partition("=")[::2] for line in text.replace(INSTALLED, str(PROJECT)).splitlines() if "=" in line and line[0] != "#"
        ]

    def all(self, key: str) -> list[str]:
        """Every value of a key."""
        return [value for name, value in self._lines if name == key]

    def credentials(self) -> dict[str, str]:
        """Files by the names under which the process finds them."""
        return {name: path for name, _, path in (each.partition(":") for each in self.all("LoadCredential"))}
