"""A real daemon over real sshd: stopped before its files change and started after, by an agent out of its bundle."""

import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sluice.distributor.deliver.orders import Orders
from sluice.model.action import Action, Script, ScriptType, StartProcess, StopProcess
from sluice.model.order import Receipt
from sluice.model.recipe import RenderedRecipe
from tests.distributor.context import context_of
from tests.system.sshd import lab
from tests.system.test_send_over_ssh import Route

pytestmark = pytest.mark.timeout(360)
BOUND = 90.0

DAEMON = f"""#!{sys.executable}
import os, pathlib, socket, sys
page = pathlib.Path(sys.argv[1]).read_bytes()
server = socket.create_server(("127.0.0.1", 0))
mark = pathlib.Path(__file__ + ".new")
mark.write_text(f"{{os.getpid()}} {{server.getsockname()[1]}}")
mark.rename(__file__ + ".ready")
while True:
    with server.accept()[0] as peer:
        peer.sendall(page)
"""


class Daemon:
    """A server on the host that read its page when it started."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.path = route.host.home / f"sluice-web-{secrets.token_hex(6)}"
        self.path.write_text(DAEMON)
        self.path.chmod(0o755)
        self.seen: list[int] = []
        self.start = StartProcess(str(self.path), (str(route.destination / "page"),))
        self.stop = StopProcess(self.path.name, wait=True)

    def answers(self) -> tuple[int, bytes]:
        """PID and page of the one that started last."""
        ready, until = Path(f"{self.path}.ready"), time.monotonic() + BOUND
        while not ready.exists():
            assert time.monotonic() < until, "it never served"
            time.sleep(0.02)
        pid, port = map(int, ready.read_text().split())
        ready.unlink()
        self.seen.append(pid)
        with socket.create_connection(("127.0.0.1", port), BOUND) as peer:
            return pid, peer.recv(100)

    def end(self) -> None:
        for pid in self.seen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def route(tmp_path: Path, real_part: Callable[[str], Path], bundle_directory: Path) -> Iterator[Route]:
    with lab(tmp_path, real_part) as made:
        yield Route(tmp_path, made.host("helsinki"), bundle_directory)


@pytest.fixture
def daemon(route: Route) -> Iterator[Daemon]:
    made = Daemon(route)
    yield made
    made.end()


def extract(route: Route, revision: str, page: bytes, pre: tuple[Action, ...], post: tuple[Action, ...]) -> Receipt:
    number = route.build(revision, {"page": page})
    sending = route.sending(number)
    sending.call()
    sending.transfer()
    context = context_of(store=route.store, publisher=route.publisher, ledger=route.ledger)
    recipe = RenderedRecipe((str(route.destination),), pre, post)
    try:
        return Orders(context, sending.called, sending.assignment, recipe).give().receipt
    finally:
        sending.close()


def runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def test_a_server_is_stopped_before_its_page_changes_and_started_after(route: Route, daemon: Daemon) -> None:
    first = extract(route, "1.1", b"one", (daemon.stop,), (daemon.start,))
    assert first.failure is None, first.failure
    old, page = daemon.answers()
    assert page == b"one"
    route.host.kill_sessions()
    ignored = next(line for line in Path(f"/proc/{old}/status").read_text().splitlines() if line.startswith("SigIgn"))
    assert not int(ignored.split()[1], 16) & 1, "it was started with SIGHUP ignored"

    sending = route.sending(route.store.revisions("zone")[-1])
    sending.call()
    stop, again, never = sending.called.conversation.rehearse(
        "zone", RenderedRecipe((str(route.destination),), (daemon.stop,), (daemon.start, StopProcess("sshd")))
    )
    sending.close()
    assert (stop.pids, stop.problem, again.pids, again.problem) == ((old,), "", (old,), "")
    assert "the agent itself, a process it runs under" in never.problem

    second = extract(route, "1.2", b"two", (daemon.stop,), (daemon.start,))
    assert second.failure is None, second.failure
    assert second.actions[0].output == f"asked to end: PID {old}"
    new, page = daemon.answers()
    assert (page, runs(old), runs(new)) == (b"two", False, True)

    # The third fails after the start: what it started is ended, and the receipt says what stays stopped.
    failing = Script(ScriptType.SHELL, "none", run=f"while [ ! -e {daemon.path}.ready ]; do sleep 0.05; done; exit 1")
    third = extract(route, "1.3", b"three", (daemon.stop,), (daemon.start, failing))
    assert third.failure is not None
    assert (route.destination / "page").read_bytes() == b"two"
    started = int(Path(f"{daemon.path}.ready").read_text().split()[0])
    daemon.seen.append(started)
    assert (runs(new), runs(started)) == (False, False)
    assert third.actions[-1].output.startswith("stays stopped: ")
