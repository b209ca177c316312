"""The production set-up with real parts: PostgreSQL, Redis, Prefect's server and services as two processes, a Distributor's two workers.

Most of it runs as compose.yaml says; the last test has the server as its systemd unit says, in the place of the other.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.conftest import missing
from tests.system.lab import until
from tests.system.production import BIN, DEPLOY, START_SECONDS, Compose, Network, Unit, environment_file, network, postgres
from tests.system.warm import Warm

pytestmark = pytest.mark.timeout(600)  # the first test starts nine processes

SITE = """\
kind: Distributor
name: hq
working_directory: {hq}
refresh: never
---
kind: Subscriber
name: near
address: local:{near}
working_directory: {near}/sluice
platform: debian-12
---
kind: Channel
name: all
send: never
subscribers: [near]
---
kind: Distribution
name: zone
distributor: hq
type: file
channels: [all]
build: never
files:
  - {{source: {source}, destination: {near}/out}}
"""


Findings = Sequence[Mapping[str, str]]


@dataclass
class Stack:
    """The services of compose.yaml, running."""

    inside: Network
    compose: Compose
    directory: Path
    auth: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    warm: Path | None = None
    """The ``sluice`` program that is forked; None: the installed one is started, with all of its imports."""
    before: Findings = ()
    """What doctor found before there were workers."""

    def environment(self, service: str) -> dict[str, str]:
        """As the container has it, with paths of this machine where something is mounted."""
        private = self.directory / "private" / service
        private.mkdir(parents=True, exist_ok=True)
        paths = {**self.compose.mounted(service), "/tmp": str(private)}
        found = {"PATH": f"{BIN}:{DEPLOY}:{os.defpath}", "CREDENTIALS_DIRECTORY": str(self.secrets(service))}
        if self.warm and service == "sluice":
            found["PATH"] = f"{self.warm.parent}:{found['PATH']}"
        return found | {name: _moved(value, paths) for name, value in self.compose.environment(service).items()}

    def command(self, service: str) -> list[str]:
        """As the container runs it."""
        return [_moved(word, {"/run/secrets": str(self.secrets(service))}) for word in self.compose.command(service)]

    def secrets(self, service: str) -> Path:
        """What is mounted as /run/secrets."""
        return self.directory / "secrets" / Path(self.compose.mounted(service)["/run/secrets"]).name

    def start(self, service: str) -> None:
        """Start one service."""
        self.processes[service] = self.inside.start(service, self.command(service), self.environment(service))

    def sluice(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm sluice WORDS`."""
        entrypoint = self.compose.services["sluice"]["entrypoint"]
        return self.inside.run([*entrypoint, *words], self.environment("sluice"))

    def doctor(self, **changed: str) -> Findings:
        """What doctor finds of Prefect, ledger and trust, with some settings changed."""
        command = [*self.compose.services["sluice"]["entrypoint"], "doctor", "--no-subscribers", "--json"]
        done = self.inside.run(command, self.environment("sluice") | changed)
        assert done.stdout, done.stderr
        return [finding for finding in json.loads(done.stdout)["findings"] if finding["area"] in ("prefect", "ledger", "trust")]


def _moved(value: str, paths: Mapping[str, str]) -> str:
    for target, source in paths.items():
        if value == target or value.startswith(f"{target}/"):
            return source + value.removeprefix(target)
    return value


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, real_part: Callable[[str], Path]) -> Iterator[Stack]:
    if os.geteuid() != 0:
        missing("root, for a network namespace")
    directory = tmp_path_factory.mktemp("compose")
    (directory / "site").mkdir()
    (directory / "source").mkdir()
    (directory / "source" / "a.txt").write_text("a\n")
    text = SITE.format(hq=directory / "work" / "hq", near=directory / "near", source=directory / "source")
    (directory / "site" / "site.yaml").write_text(text)
    subprocess.run([DEPLOY / "make-secrets", directory / "secrets", "redis"], check=True)
    compose = Compose(
        {
            "SLUICE_DISTRIBUTOR": "hq",
            "SLUICE_SITE_DIRECTORY": str(directory / "site"),
            "SLUICE_WORKING_DIRECTORY": str(directory / "work"),
            "SLUICE_SOURCES": str(directory / "source"),
        }
    )
    real_part("redis-server")
    logs = directory / "logs"
    logs.mkdir()
    with ExitStack() as held:
        inside = held.enter_context(network(logs, ["postgres", "redis", "server"], real_part))
        held.enter_context(postgres(inside, real_part, directory / "secrets"))
        made = Stack(inside, compose, directory, (directory / "secrets/worker/PREFECT_API_AUTH_STRING").read_text())
        made.start("redis")
        warm = held.enter_context(closing(Warm(*inside.within(["with-secrets"]), environment=made.environment("sluice"))))
        upgraded = inside.run(made.command("migrations"), made.environment("migrations"))
        assert upgraded.returncode == 0, upgraded.stderr
        made.start("server")
        made.start("services")
        until(lambda: inside.api("/health")[0] == 200, f"the server answers: {inside.log('server')}", seconds=START_SECONDS)
        for words in (["trust", "init", "hq"], ["apply"]):
            done = made.sluice(*words)
            assert done.returncode == 0, done.stderr
        made.warm = warm.program
        made.before = made.doctor()
        made.start("worker-build")
        made.start("worker-send")
        yield made
        inside.stop(*reversed(made.processes.values()))


def test_without_the_auth_string_every_request_is_refused(stack: Stack) -> None:
    assert stack.inside.api("/admin/version")[0] == 401
    assert stack.inside.api("/admin/version", auth="sluice:wrong")[0] == 401
    assert stack.inside.api("/deployments/filter", {})[0] == 403, "it isn't even asked for the password: the token of CSRF is missing"
    status, found = stack.inside.api("/deployments/filter", {}, auth=stack.auth)
    assert (status, {each["name"] for each in found}) == (200, {"zone", "all", "hq"})


def test_workers_are_online_and_build_a_distribution_whose_events_travelled_over_redis(stack: Stack) -> None:
    done = stack.sluice("build", "zone", "--detach")
    assert done.returncode == 0, done.stderr

    def ended() -> list[str]:
        _, found = stack.inside.api("/flow_runs/filter", {}, auth=stack.auth)
        return [f"{run['state_type']}: {run['state']['message']}" for run in found if run["end_time"]]

    (end,) = until(ended, "the worker's run ended")
    assert end.startswith("COMPLETED"), f"{end}\n{stack.inside.log('worker-build')}"
    # The server runs no service: what it tells of events the other process wrote down, and Redis alone is between them.
    query = {"filter": {"event": {"name": ["prefect.flow-run.Completed"]}}}
    until(lambda: stack.inside.api("/events/filter", query, auth=stack.auth)[1]["total"] == 1, "the event of the end arrived")
    for pool in ("hq.build", "hq.send"):
        _, workers = stack.inside.api(f"/work_pools/{pool}/workers/filter", {}, auth=stack.auth)
        assert [worker["status"] for worker in workers] == ["ONLINE"]


def test_the_ledger_is_in_postgresql(stack: Stack) -> None:
    told = stack.sluice("status", "zone", "--json")
    assert [row["latest"] for row in json.loads(told.stdout)["rows"]] == ["1.1"], told.stderr
    assert not list((stack.directory / "work").rglob("ledger.db*"))


def test_doctor_misses_workers_first_and_nothing_at_last(stack: Stack) -> None:
    def failed(findings: Findings) -> list[tuple[str, str]]:
        return [(finding["object"], finding["sentence"]) for finding in findings if finding["health"] != "ok"]

    assert failed(stack.before) == [("pool hq.build", "it never had a worker"), ("pool hq.send", "it never had a worker")]
    found = stack.doctor()
    assert failed(found) == []
    told = {(finding["area"], finding["object"]): finding["sentence"] for finding in found}
    assert told["prefect", "database"] == "PostgreSQL"
    assert told["prefect", "deployments"] == "in line with the site"
    assert {key[1] for key in told if key[0] == "ledger"} == {"postgresql://postgres:5432/sluice"}


def test_doctor_tells_a_wrong_auth_string(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "PREFECT_API_AUTH_STRING").write_text("sluice:wrong")
    (tmp_path / "PGPASSWORD").write_text("wrong")

    found = stack.doctor(CREDENTIALS_DIRECTORY=str(tmp_path))

    told = {finding["area"]: finding for finding in found if finding["health"] == "failed"}
    assert set(told) == {"prefect", "ledger"}
    assert (told["prefect"]["object"], told["prefect"]["remedy"]) == ("server", "check PREFECT_API_AUTH_STRING")
    assert "password authentication failed" in told["ledger"]["sentence"]


def test_telemetry_is_off_and_nothing_of_a_secret_is_in_an_argument(stack: Stack) -> None:
    status, settings = stack.inside.api("/admin/settings", auth=stack.auth)
    assert (status, settings["server"]["analytics_enabled"]) == (200, False)
    for service in ("server", "services", "worker-build", "worker-send", "sluice", "migrations"):
        environment = stack.compose.environment(service)
        assert (environment["PREFECT_SERVER_ANALYTICS_ENABLED"], environment["DO_NOT_TRACK"]) == ("false", "1")
    secrets = {word for file in (stack.directory / "secrets").glob("*/*") for word in re.findall(r"[0-9a-f]{48}", file.read_text())}
    assert len(secrets) == 5
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            lines.append(path.read_bytes())
    assert not [secret for secret in secrets if any(secret.encode() in line for line in lines)]


def test_only_loopback_of_the_host_reaches_what_is_published() -> None:
    services = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {"server": ["127.0.0.1:4200:4200"]}


def test_images_are_pinned_and_hold_and_are_told_no_secret() -> None:
    text = (DEPLOY / "compose/compose.yaml").read_text()
    for service in yaml.safe_load(text)["services"].values():
        assert re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?(-[a-z]+)?", service["image"])
        assert not [name for name in service.get("environment", {}) if re.search(r"PASSWORD$|AUTH_STRING|TOKEN|SECRET", name)]
    assert re.fullmatch(r"FROM python:\d+\.\d+\.\d+-slim-\w+", re.findall("FROM.*", (DEPLOY / "compose/Dockerfile").read_text())[0])
    ignored = (DEPLOY.parent / ".dockerignore").read_text().split()
    assert {"deploy/compose/secrets", "deploy/compose/.env"} <= set(ignored)


def test_every_setting_of_prefect_is_one_that_prefect_has() -> None:
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_valid_setting_names

    known = _get_valid_setting_names(Settings)
    for file in ("server.env", "worker.env"):
        wanted = {name for name in environment_file(DEPLOY / "settings" / file) if name.startswith("PREFECT_")}
        assert wanted - known - {"PREFECT_HOME"} == set()


def test_the_units_server_listens_on_loopback_only_and_asks_for_the_auth_string(stack: Stack, tmp_path: Path) -> None:
    unit = Unit("sluice-server.service")
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), **environment_file(DEPLOY / "settings/server.env")}
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect"), "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    (tmp_path / "credentials").mkdir()
    for name, path in unit.credentials().items():
        (tmp_path / "credentials" / name).write_bytes((stack.directory / path.removeprefix("/etc/sluice/")).read_bytes())
    # Only there the name of the other machine differs, and it is the same Redis.
    for name in ("PREFECT_REDIS_MESSAGING_URL", "PREFECT_SERVER_DOCKET_URL"):
        assert "@redis:6379/" in (tmp_path / "credentials" / name).read_text()
    stack.inside.stop(stack.processes.pop("server"))

    for line in unit.all("ExecStartPre"):
        done = stack.inside.run(line.split(), environment)
        assert done.returncode == 0, done.stderr
    (line,) = unit.all("ExecStart")
    stack.processes["unit"] = stack.inside.start("unit", line.split(), environment)
    until(lambda: stack.inside.api("/health")[0] == 200, f"the server answers: {stack.inside.log('unit')}", seconds=START_SECONDS)

    assert [address for address in stack.inside.listeners() if address.endswith(":4200")] == ["127.0.0.1:4200"]
    assert stack.inside.api("/admin/version")[0] == 401
    assert stack.inside.api("/admin/version", auth=stack.auth)[0] == 200
    # What ran before is there: it is the same database.
    _, found = stack.inside.api("/deployments/filter", {}, auth=stack.auth)
    assert {each["name"] for each in found} == {"zone", "all", "hq"}
