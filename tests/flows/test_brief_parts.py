"""What a command's own server leaves out (ADR 0032), and what of Prefect and uvicorn that relies on."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import inspect
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import prefect.server
import pytest
import uvicorn
from prefect.server.api import background_workers
from prefect.server.api.server import API_ROUTERS, create_api_app
from prefect.server.services import perpetual_services
from prefect.settings import Settings

from infra.orchestrator.brief_server import ASKED, DOCKET, Server
from infra.orchestrator.environment import CERTIFICATES, NOBODY, addressed, worker_environment

OF_PREFECT = "503b0aa29e45d684"
OF_UVICORN = "f5aab7b3ffb70d3c"
PROGRAM = """
import gc, sys
gc.disable()
from infra.orchestrator.brief_server import leave_out
leave_out()
from prefect.server.api.server import create_app
app = create_app(ephemeral=True)
gc.freeze()
print(*sorted(name for name in ("docket.worker", "redis", "beartype", "key_value") if name in sys.modules), app.title)
"""


def digest(*relied_on: Any) -> str:
    return hashlib.sha256("".join(map(inspect.getsource, relied_on)).encode()).hexdigest()[:16]


def test_prefect_leaves_to_docket_what_it_did_when_docket_was_left_out() -> None:
    """After an upgrade read these and ADR 0032, then change the values here."""
    pinned = (background_workers.background_worker, perpetual_services.register_and_schedule_perpetual_services, create_api_app)
    assert digest(*pinned, Settings.hash_key) == OF_PREFECT
    services = {each.function.__name__ for each in perpetual_services.get_perpetual_services(ephemeral=True)}
    assert services == {"send_telemetry_heartbeat", "schedule_event_vacuum_tasks", "evaluate_proactive_triggers_periodic"}


def test_every_name_that_prefects_server_imports_of_docket_is_there() -> None:
    imported = defaultdict[str, set[str]](set)
    texts = (path.read_bytes() for path in Path(prefect.server.__path__[0]).rglob("*.py"))
    for text in filter(lambda text: b"docket" in text, texts):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "docket":
                imported[str(node.module)] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                assert all(alias.name.partition(".")[0] != "docket" for alias in node.names)
    assert imported == {module: set(names) for module, names in DOCKET.items()}


def test_a_server_without_docket_is_made_and_imports_nothing_of_it() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    found = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "Prefect Server\n"


def test_the_routers_that_come_first_answer_no_path_of_another_router() -> None:
    begins: dict[bool, set[str]] = {True: set(), False: set()}
    for router in API_ROUTERS:
        begins[router.prefix in ASKED] |= {str(getattr(route, "path", "")).split("/")[1] for route in router.routes}
    assert begins[True] == {prefix.split("/")[1] for prefix in ASKED}
    assert "work_pools" in begins[False]
    assert not any(part in begins[True] or "{" in part for part in begins[False])


def test_uvicorn_ends_as_it_did_when_its_end_was_replaced() -> None:
    """After an upgrade read these, then change the value here."""
    theirs = uvicorn.Server
    replaced = (theirs.main_loop, theirs.shutdown, theirs._wait_tasks_to_complete)
    assert digest(theirs._serve, *replaced, theirs.on_tick, theirs.handle_exit) == OF_UVICORN


def test_a_server_that_is_ended_answers_the_request_that_it_has_and_sleeps_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    sleep = asyncio.sleep

    async def sleep_on(seconds: float, result: Any = None) -> Any:
        if seconds >= 0.1:
            await sleep(60)
            happened.append("slept")
        return await sleep(seconds, result)

    async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] == "lifespan":
            for part in ("startup", "shutdown"):
                await receive()
                happened.append(part)
                await send({"type": f"lifespan.{part}.complete"})
            return
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(10):
            await sleep(0)
        happened.append("answer")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    def ask() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{listening.getsockname()[1]}/", timeout=60) as answer:
            answers.append(answer.read())

    answers: list[bytes] = []
    before = signal.signal(signal.SIGTERM, lambda *_: happened.append("signal"))
    try:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            asking = threading.Thread(target=ask)
            asking.start()
            monkeypatch.setattr(asyncio, "sleep", sleep_on)
            Server(uvicorn.Config(app, log_config=None)).run(sockets=[listening])
            asking.join()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert answers == [b"whole"]
    assert happened == ["startup", "answer", "shutdown", "signal"]


def test_a_server_of_this_machine_is_reached_with_one_authority_that_vouches_for_nobody(tmp_path: Path) -> None:
    assert ssl.create_default_context(cafile=NOBODY).cert_store_stats()["x509"] == 1
    for url, file in (("http://127.0.0.1:4200/api", str(NOBODY)), ("http://prefect.example:4200/api", "")):
        assert worker_environment(tmp_path, url, tmp_path)[CERTIFICATES] == file
        with addressed(url):
            assert os.environ[CERTIFICATES] == file
            assert prefect.settings.get_current_settings().api.ssl_cert_file == file
