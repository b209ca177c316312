"""A command beside a ``sluice up`` whose server lives and doesn't answer."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.orchestrator import embedded, environment, heartbeat
from infra.orchestrator.server_address import ServerAddress, prefect_home, write_address
from sluice.distributor.plan.deployments import HEARTBEAT_SECONDS
from sluice.errors import OrchestratorError


class Stalled(BaseHTTPRequestHandler):
    """Fails the first ``failures`` health probes."""

    failures = 0

    def do_GET(self) -> None:
        """Answer a probe."""
        type(self).failures -= 1
        self.send_response(503 if type(self).failures >= 0 else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("SLUICE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(embedded, "_start_server", lambda *_, **__: pytest.fail("a second server"))
    return tmp_path / "state"


@pytest.fixture
def process(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in place of the server's."""
    environment = os.environ | {"PREFECT_HOME": str(prefect_home(state))}
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"], env=environment, stdout=-1) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started
        started.kill()


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stalled) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_a_command_waits_for_the_stalled_server_of_up(
    state: Path, process: subprocess.Popen[bytes], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stalled, "failures", 4)
    write_address(state, ServerAddress(url, (process.pid,)))
    said: list[str] = []
    with embedded.reached(state, say=said.append) as address:
        assert address.api_url == url
    assert said == [f"the Prefect server of `sluice up` (pid {process.pid}) doesn't answer yet; waiting"]


def test_a_server_that_stays_stalled_is_an_error_and_no_second_one_starts(
    state: Path, process: subprocess.Popen[bytes], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stalled, "failures", 1_000_000)
    monkeypatch.setattr(embedded, "STALLED_SECONDS", 0.5)
    write_address(state, ServerAddress(url, (process.pid,)))
    with pytest.raises(OrchestratorError, match=f"pid {process.pid}.*server.log"), embedded.reached(state, say=lambda _: None):
        pass


def test_nobody_waits_for_a_process_that_is_another_program_or_gone(state: Path, process: subprocess.Popen[bytes]) -> None:
    said: list[str] = []
    write_address(state, ServerAddress("http://127.0.0.1:9/api", (os.getpid(),)))
    assert embedded._wait_for_up(state, said.append) is None
    process.kill()
    process.wait()
    write_address(state, ServerAddress("http://127.0.0.1:9/api", (process.pid,)))
    assert embedded._wait_for_up(state, said.append) is None
    assert said == []


def test_a_stall_of_a_minute_crashes_no_live_run() -> None:
    stall = float(environment.server_environment(Path(), 1)["PREFECT_SERVER_DATABASE_TIMEOUT"])
    within = heartbeat.heartbeat_automation().trigger.within.total_seconds()  # type: ignore[union-attr]
    assert within >= stall + 3 * HEARTBEAT_SECONDS
