"""``sluice up`` as a user runs it: server and workers, a real agent on this machine, from blueprint to extracted file."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import arun_deployment

from agents.init import init, trust
from infra.orchestrator.embedded import START_SECONDS
from infra.orchestrator.environment import prefect_settings
from infra.orchestrator.server_address import ServerAddress, read_address, running_server
from infra.workplace import open_workplace
from tests.flows.blueprint import HOSTS, write_site

pytestmark = [pytest.mark.real, pytest.mark.timeout(2 * START_SECONDS)]  # a busy machine takes over a minute to start server and workers
PROJECT = Path(__file__).parents[2]
UP = "import sys; from pathlib import Path; from sluice.blueprint import load_site; from infra.orchestrator.embedded import up; "


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with keys, whose three Subscribers have the agent and trust its Distributor."""
    directory = write_site(tmp_path_factory.mktemp("up") / "site")
    with open_workplace(directory, "hq") as work:
        work.publisher.ensure_keys(datetime.now(UTC))
        for name in HOSTS:
            host = directory / "hosts" / name / "sluice"
            launcher = host / "agent" / "sluice-agent"
            launcher.parent.mkdir(parents=True)
            launcher.write_text(f'#!/bin/sh\ncd {PROJECT} && exec {sys.executable} -m agents.main "$@"\n', encoding="utf-8")
            launcher.chmod(0o700)
            host.chmod(0o700)
            work.publisher.keep_subscriber_key(name, init(host, name))
            trust(host, "hq", work.publisher.root())
    return directory


@pytest.fixture(scope="module")
def up(site: Path) -> Iterator[tuple[subprocess.Popen[bytes], ServerAddress]]:
    state, port = site.parent / "state", 20000 + os.getpid() % 20000
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_STATE", str(state))
        started = subprocess.Popen(
            [sys.executable, "-c", f"{UP}up(load_site(Path({str(site)!r})), port={port})"], cwd=PROJECT, stdout=subprocess.PIPE
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while (address := read_address(state)) is None:
                assert started.poll() is None, "up ended"
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield started, address
        finally:
            if started.poll() is None:
                started.terminate()
            started.communicate(timeout=180)


def run_deployment(address: ServerAddress, name: str) -> FlowRun:
    async def run() -> FlowRun:
        found = await arun_deployment(name, timeout=START_SECONDS, poll_interval=1, as_subflow=False)
        async with get_client() as client:
            return await client.read_flow_run(found.id)

    with prefect_settings(address.api_url):
        return asyncio.run(run())


def test_a_worker_takes_a_distribution_from_its_source_to_every_subscriber(
    up: tuple[subprocess.Popen[bytes], ServerAddress], site: Path
) -> None:
    _, address = up
    run = run_deployment(address, "distribute/zone")
    assert run.state is not None
    assert (run.state.type.value, run.state.message) == ("COMPLETED", "distribute zone: 3 of 3 Subscribers done")
    assert run.name == "distribute zone 1.1 → 3 Subscribers"
    assert {(site / "hosts" / name / "zone" / "Helsinki").read_text() for name in HOSTS} == {"UTC+2"}
    with open_workplace(site, "hq") as work:
        states = work.ledger.snapshot().states
        assert {str(states[name, "zone"].extracted) for name in HOSTS} == {"1.1"}
        assert all(work.ledger.receipt("hq", name, states[name, "zone"].sequence) for name in HOSTS)


def test_a_build_that_sends_immediately_has_a_worker_send_it_once(up: tuple[subprocess.Popen[bytes], ServerAddress], site: Path) -> None:
    _, address = up
    write_site(site, send="immediately", text="UTC+3")
    assert (run_deployment(address, "build/zone").state or State(type=StateType.PENDING)).message == "built zone 1.2"
    deadline = time.monotonic() + START_SECONDS
    with open_workplace(site, "hq") as work:
        while {str(work.ledger.state(name, "zone").extracted) for name in HOSTS} != {"1.2"}:
            assert time.monotonic() < deadline
            time.sleep(0.5)

    async def sends() -> list[FlowRun]:
        async with get_client() as client:
            return await client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["send"])))

    with prefect_settings(address.api_url):
        (run,) = [run for run in asyncio.run(sends()) if run.state and run.state.name != "Scheduled"]
    assert run.name == "send zone 1.2 → 3 Subscribers"
    assert run.idempotency_key == "send/night/zone/1.2"


def test_server_and_workers_listen_on_loopback_only_send_no_telemetry_and_are_found_by_commands(
    up: tuple[subprocess.Popen[bytes], ServerAddress], site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, address = up
    monkeypatch.delenv("PREFECT_API_URL", raising=False)  # the session's server
    assert running_server(site) == address
    children = [psutil.Process(pid) for pid in address.pids]
    assert len(children) == 3
    assert {child.ppid() for child in children} == {started.pid}
    listening = [c.laddr.ip for child in children for c in child.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN]
    assert set(listening) == {"127.0.0.1"}
    assert all(child.environ()["DO_NOT_TRACK"] == "1" for child in children)
    with urllib.request.urlopen(f"{address.ui_url}/ui-settings", timeout=60) as settings:
        assert json.load(settings)["api_url"] == address.api_url


def test_up_ends_its_children_and_forgets_its_address(up: tuple[subprocess.Popen[bytes], ServerAddress], site: Path) -> None:
    started, address = up
    children = psutil.Process(started.pid).children(recursive=True)
    started.send_signal(signal.SIGINT)
    said, _ = started.communicate(timeout=180)
    assert started.returncode == 0
    assert f"Prefect: {address.ui_url}" in said.decode()
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert read_address(site.parent / "state") is None


def test_up_ends_with_an_error_if_its_port_is_taken(site: Path) -> None:
    import socket

    from infra.orchestrator.embedded import running
    from sluice.blueprint import load_site
    from sluice.errors import OrchestratorError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(OrchestratorError, match=f"port {port} is taken"),
            running(load_site(site), port=port, state=site.parent / "other"),
        ):
            pass


def test_a_child_that_dies_ends_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    from infra.orchestrator.children import check, end, start_child
    from sluice.errors import OrchestratorError

    child = start_child("the worker", [sys.executable, "-c", "print('no such pool'); raise SystemExit(3)"], {}, tmp_path / "log")
    child.process.wait()
    with pytest.raises(OrchestratorError, match="the worker ended with exit code 3:\nno such pool"):
        check([child])
    end([child])


def test_children_of_a_killed_up_are_ended_and_nothing_else(tmp_path: Path) -> None:
    from infra.orchestrator.children import end, end_leftovers, start_child

    sleep = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]
    ours = start_child("ours", sleep, {"PREFECT_HOME": "/of/this/site"}, tmp_path / "ours")
    other = start_child("other", sleep, {"PREFECT_HOME": "/of/another"}, tmp_path / "other")
    try:
        while not (ours.log.read_bytes() and other.log.read_bytes()):
            time.sleep(0.05)
        end_leftovers([ours.process.pid, other.process.pid], marked={"PREFECT_HOME": "/of/this/site"})
        assert ours.ended
        assert not other.ended
    finally:
        end([ours, other])
