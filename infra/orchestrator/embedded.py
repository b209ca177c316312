"""Run the embedded Prefect server of a site: on loopback, with SQLite, without telemetry.

``up`` runs one in the foreground with a worker for each pool. ``reached`` is for a command that runs a flow: it uses the server
that runs, or else starts one for as long as the command takes, on the same database. So a run is always seen in Prefect, at once
if ``sluice up`` runs and otherwise as soon as it does. Nothing is restarted here: if a child dies, ``up`` ends with an error, and
the person or systemd that started it decides.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path

import psutil

from infra.orchestrator.changes import Changes
from infra.orchestrator.children import POLL_SECONDS, Child, check, end, end_leftovers, fork_child, start_child
from infra.orchestrator.embedded_server import SHARED, serve
from infra.orchestrator.environment import addressed, brief_settings, server_environment, worker_environment
from infra.orchestrator.server_address import (
    LOOPBACK,
    ServerAddress,
    forget_address,
    is_healthy,
    make_state,
    prefect_home,
    read_address,
    running_server,
    state_directory,
    write_address,
)
from infra.orchestrator.server_schema import create_database, is_migrated
from sluice.distributor.plan.deployments import pools
from sluice.durable import locked
from sluice.errors import OrchestratorError, StoreLockedError
from sluice.model.site import Site
from sluice.rules.wording import counted

DEFAULT_PORT = 4200
SERVER = ("-m", "infra.orchestrator.embedded_server")
"""What Python is to run."""
START_SECONDS = 180.0
"""Limit of a start on a busy machine; also of one that has to migrate the database to a newer Prefect."""
STALLED_SECONDS = 120.0
"""Time in which the server of ``sluice up`` must answer a command: SQLite lets a writer wait a minute for another."""
FLUSH_SECONDS = 6.0
"""Most time for the last events and logs of a command to be sent; the server that ends with it then stores them."""

FOLLOW_SECONDS = 2.0
"""Between two looks at the flow runs."""
LOOK_SECONDS = 10.0
"""Limit of one: Ctrl-C waits for it."""

Say = Callable[[str], None]


def up(
    site: Site, *, port: int = DEFAULT_PORT, state: Path | None = None, say: Say = print, tell: Say = print
) -> None:  # pragma: no cover - blocks
    """Run server and workers until SIGINT or SIGTERM. Call it from the main thread.

    Args:
        tell: Gets a line for each flow run that begins or ends.
    Raises:
        OrchestratorError: It runs already, the port is taken, the server didn't start, or a child ended.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    state = state or state_directory(Path(site.directory))
    with running(site, port=port, state=state, say=say) as children:
        say("Press Ctrl-C to end it.")
        with addressed(f"http://{LOOPBACK}:{port}/api", own=state):
            asyncio.run(_attend(children, stop, tell))
        say("ending")


async def _attend(children: Sequence[Child], stop: threading.Event, tell: Say) -> None:
    """Wait for ``stop``, and tell of runs meanwhile. Raises OrchestratorError if a child ends."""
    from prefect.client.orchestration import get_client

    from infra.orchestrator.follow import Follower

    async with get_client() as client:
        follower, looked = Follower(client, tell, since=datetime.now(UTC)), 0.0
        while not stop.is_set():
            check(children)
            if time.monotonic() - looked >= FOLLOW_SECONDS:
                with suppress(Exception):  # a server that is busy is looked at again; one that ended is told by `check`
                    await asyncio.wait_for(follower.look(), LOOK_SECONDS)
                looked = time.monotonic()
            await asyncio.sleep(POLL_SECONDS)


@contextmanager
def running(site: Site, *, port: int = DEFAULT_PORT, state: Path | None = None, say: Say = print) -> Iterator[list[Child]]:
    """Run server and workers of a site with everything applied while the context lasts; otherwise like ``up``."""
    state = state or state_directory(Path(site.directory))
    make_state(state / "logs")
    make_state(state / "tmp")
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(state / "up.lock", what="the embedded server"))
        except StoreLockedError:
            found = read_address(state)
            address = f" at {found.ui_url}" if found else ""
            raise OrchestratorError(f"`sluice up` runs already for this site{address}", remedy="use that one, or end it first") from None
        yield from _running(site, port, state, say)


def _running(site: Site, port: int, state: Path, say: Say) -> Iterator[list[Child]]:
    if killed := read_address(state):  # of an `up` that couldn't end its children
        end_leftovers(killed.pids, marked={"PREFECT_HOME": str(prefect_home(state))})
    children: list[Child] = []
    try:
        say(f"starting Prefect on port {port}; its database is in {prefect_home(state)}")
        address = _start_server(state, _listening(port), children)
        _await_answer(address, children)
        with addressed(address.api_url, own=state):
            _apply(site, say)
        for pool in pools(site):
            command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool.name, "--type", "process"]
            environment = worker_environment(state, address.api_url, Path(site.directory))
            children.append(start_child(f"worker of pool {pool.name}", command, environment, state / "logs" / f"{pool.name}.log"))
        write_address(state, ServerAddress(address.api_url, tuple(child.process.pid for child in children)))
        check(children)
        say(f"Prefect: {address.ui_url}")
        yield children
    finally:
        forget_address(state)
        end(children)


def _apply(site: Site, say: Say) -> None:
    """Bring Prefect in line with the site, but leave deletions to `sluice apply`: nobody may be here to be asked."""
    from infra.orchestrator.apply import apply

    gone: list[str] = []

    def decide(changes: Changes) -> Changes:
        gone.extend(f"{change.kind} {change.name}" for change in changes.deletions)
        return changes.without_deletions()

    changes = asyncio.run(apply(site, decide=decide, say=say))
    say(f"applied {counted(len(changes.changes), 'change')}")
    if changes.adopted:
        say(f"from before sites had ids, and taken for this site's by their names: {', '.join(changes.adopted)}")
    if gone:
        say(f"left the site and stay in Prefect until `sluice apply` deletes them: {', '.join(gone)}")


@contextmanager
def reached(
    site_directory: Path, *, say: Say = print, meanwhile: Callable[[], object] = lambda: None, forks: bool = False
) -> Iterator[ServerAddress]:
    """Provide a Prefect server to run a flow against: Prefect in this process talks to it, imported before or within the context.

    It is the configured server, else that of ``sluice up``, which is waited for while its process lives, else a new one that ends
    with the context, or with this process if that is killed.

    Args:
        meanwhile: Called within the context, while a new server starts: Prefect can be imported.
        forks: This process, which has one thread, imports what it shares with a new server and forks it.
    Raises:
        OrchestratorError: None answers and none could be started, or that of ``sluice up`` lives and doesn't answer.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    state = state_directory(site_directory)
    found = running_server(site_directory) or _wait_for_up(state, say)
    if found is not None:
        with addressed(found.api_url, own=state if found.pids else None):
            meanwhile()
            yield found
        return
    make_state(state / "logs")
    say("no Prefect server runs; starting one for this command (`sluice up` keeps one)")
    children: list[Child] = []
    listening = _listening(0)
    try:
        with addressed(_address(listening).api_url, own=state):
            try:
                address = _start_server(state, listening, children, is_brief=True, forks=forks)
                meanwhile()
                _await_answer(address, children)
                yield address
            finally:
                _flush()  # also after Ctrl-C: at the interpreter's end Prefect would call the ended server for half a minute
    finally:
        listening.close()
        end(children)


def _wait_for_up(state: Path, say: Say) -> ServerAddress | None:
    """Return the server of ``sluice up`` once it answers; None if none runs. Two servers mustn't share one SQLite database."""
    deadline = time.monotonic() + STALLED_SECONDS
    announced = False
    while (address := read_address(state)) is not None and address.pids and _is_server(address.pids[0], prefect_home(state)):
        if is_healthy(address.api_url):
            return address
        if time.monotonic() > deadline:
            raise OrchestratorError(
                f"the Prefect server of `sluice up` (pid {address.pids[0]}) didn't answer within {STALLED_SECONDS:.0f} s",
                remedy=f"read {state / 'logs' / 'server.log'}; if it doesn't recover, end `sluice up` and start it again",
            )
        if not announced:
            say(f"the Prefect server of `sluice up` (pid {address.pids[0]}) doesn't answer yet; waiting")
            announced = True
        time.sleep(POLL_SECONDS)
    return None


def _is_server(pid: int, home: Path) -> bool:
    """Whether this process lives and was started with this PREFECT_HOME: the server's pid may be another process's by now."""
    try:
        return psutil.Process(pid).environ().get("PREFECT_HOME") == str(home)
    except psutil.Error:
        return False


def _start_server(
    state: Path, listening: socket.socket, children: list[Child], *, is_brief: bool = False, forks: bool = False, **settings: str
) -> ServerAddress:
    """Start a server on a socket that listens already: a question before it is ready waits in the socket for its answer."""
    database = prefect_home(state) / "prefect.db"
    create_database(database)
    brief = brief_settings(is_migrated(database)) if is_brief else {}
    environment = server_environment(state, listening.getsockname()[1]) | brief | settings
    name, fd, log = "the Prefect server", listening.fileno(), state / "logs" / "server.log"
    with listening:
        if forks:
            for module in SHARED:
                import_module(module)
            children.append(fork_child(name, partial(serve, fd, is_brief=is_brief), environment, log, inherits=[fd]))
        else:
            command = [sys.executable, *SERVER, str(fd), *(["--while-stdin"] if is_brief else [])]
            children.append(start_child(name, command, environment, log, inherits=[fd], watches=is_brief))
        return _address(listening)


def _await_answer(address: ServerAddress, children: Sequence[Child]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_healthy(address.api_url):
        check(children)
        if time.monotonic() > deadline:
            raise OrchestratorError(
                f"the Prefect server didn't answer within {START_SECONDS:.0f} s", remedy=f"read its log, {children[-1].log}"
            )
        time.sleep(POLL_SECONDS)  # only after a probe that failed: one that the socket holds back is answered as soon as can be


def _listening(port: int) -> socket.socket:
    """Listen on a port of loopback; 0: on a free one."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((LOOPBACK, port))
        found.listen()
    except OSError as error:
        found.close()
        raise OrchestratorError(
            f"port {port} is taken by another program", remedy="end that program, or choose another port with --port"
        ) from error
    return found


def _address(listening: socket.socket) -> ServerAddress:
    return ServerAddress(f"http://{LOOPBACK}:{listening.getsockname()[1]}/api")


def _flush() -> None:
    """Have Prefect's client send its queued events and logs: task runs travel as events, behind the run."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=FLUSH_SECONDS)
    APILogWorker.drain_all(timeout=FLUSH_SECONDS)
