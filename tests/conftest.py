"""What holds for every test: nothing leaves this machine, nothing of the user's is touched, real parts are found or missed aloud.

The environment is set on import, before any test module can import Prefect, which reads it once.
"""

import gc
import glob
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psutil
import pytest

if TYPE_CHECKING:
    from infra.orchestrator.server_address import ServerAddress
    from tests.system.postgres import Cluster
    from tests.system.warm import Warm

MEMORY, MEMORY_LEAST = Path("/dev/shm"), 6 << 30


def are_in_memory() -> bool:
    """Whether temporary files go to memory: on a disk these tests mostly wait for fsync, and none cuts the power of that disk.

    Not if somebody chose another place, nor without room; and programs must run there, which a container may forbid.
    """
    is_chosen = any(name in os.environ for name in ("TMPDIR", "PYTEST_DEBUG_TEMPROOT"))
    if is_chosen or not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return False
    return min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > MEMORY_LEAST


if are_in_memory():
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

_PREFECT_HOME = tempfile.mkdtemp(prefix="sluice-tests-prefect-")

# A test must neither reach the server or database that its user works with, nor change that user's profile or site.
# Nor is what it sees made for whoever started it: pytest-xdist sets COLUMNS, and a shell has its background jobs ignore Ctrl-C.
for _name in [name for name in os.environ if name.startswith(("PREFECT_", "SLUICE_", "PG")) or name in {"COLUMNS", "LINES"}]:
    del os.environ[_name]
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_HOME": _PREFECT_HOME,
}

FAST_EXAMPLES = 5
"""Of a law, in `make test-fast`."""

# Deadlines measure the machine, not the code. In CI a law must not fail for one run in a hundred: the examples are fixed there.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=3000)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=FAST_EXAMPLES)
IN_CI = os.environ.get("CI") == "true"
hypothesis.settings.load_profile("ci" if IN_CI else "here")


def is_fast() -> bool:
    """Whether this is `make test-fast`, by its profile of Hypothesis."""
    return hypothesis.settings().max_examples == FAST_EXAMPLES


def some(number: int) -> int:
    """How many examples of a law or pieces of damage to try: all, or few in `make test-fast`."""
    return max(FAST_EXAMPLES, number // 10) if is_fast() else number


# Daemons live in sbin, which a user's PATH may lack, and Debian keeps PostgreSQL's programs by version.
_POSTGRES = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda place: float(Path(place).parent.name), reverse=True)
PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", *_POSTGRES])


# --- several processes ------------------------------------------------------------------------------------------------
# `make test` runs with pytest-xdist: each process takes a file after the other. What is made once for many files, such as a server, is
# made once in each process: that costs seconds, while to have all its tests in one process would leave the others without work.

REAL = {"server", "postgres", "real_part", "bundle_directory"}
"""Fixtures of tests with parts that aren't ours, or as large: they are marked ``real``, and `make test-fast` leaves them out."""
WHOLE = ("attacks", "bench", "end_to_end", "soak", "system", "trees")
"""Directories of tests that belong to no room, but to all of it."""
LONGEST_FIRST = (
    *("soak/", "system/test_kills", "system/test_deploy_production", "system/test_damage", "system/test_two_workers", "system/test_pauses"),
    *("flows/test_send_flow", "system/test_whole_path", "cli/test_end_to_end", "system/", "flows/", "attacks/", "trees/", "bench/"),
    *("ports/test_ledger", "cli/test_release", "agents/", "subscriber/test_actions"),
)
"""How the paths of the longest files begin: at the end no process waits for another's last file."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Not even import what `make test-fast` would leave out anyway."""
    return True if is_fast() and collection_path.name in WHOLE and collection_path.parent == Path(__file__).parent else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by its fixtures."""
    if not REAL.isdisjoint(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.real)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where there are several processes, begin with the longest files."""

    def rank(item: pytest.Item) -> int:
        path = item.nodeid.removeprefix("tests/")
        return next((number for number, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))

    if hasattr(config, "workerinput"):
        items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import and collect without looking for garbage, an eighth of that time, and leave all that came of it out of every later look."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    shutil.rmtree(_PREFECT_HOME, ignore_errors=True)


def missing(what: str) -> None:
    """End the running test because a real part isn't here: an error in CI, a skip with the reason elsewhere.

    For what isn't a program too: ``missing("root, for network namespaces")``.
    """
    if IN_CI:
        pytest.fail(f"missing in CI: {what}", pytrace=False)
    pytest.skip(f"missing: {what}")


@pytest.fixture
def as_root() -> None:
    """End the test as ``missing`` does if it isn't run by root."""
    if os.geteuid() != 0:
        missing("root, for files, devices and mounts of other accounts")


@pytest.fixture(scope="session")
def real_part() -> Callable[[str], Path]:
    """Find a real program, or end the test as ``missing`` does.

    A test calls it by the program's name: ``real_part("sshd")``. A program used here belongs into tests/install-system-packages.
    """

    def find(name: str) -> Path:
        found = shutil.which(name, path=PLACES)
        if found is None:
            missing(f"{name} (tests/install-system-packages installs it as root)")
        return Path(str(found))

    return find


@pytest.fixture(scope="session")
def postgres(real_part: Callable[[str], Path]) -> Iterator["Cluster"]:
    """A real PostgreSQL server, once for all tests; each takes a database of its own. It is fast, not durable."""
    from tests.system.postgres import cluster

    with cluster(real_part) as made:
        yield made


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ServerAddress"]:
    """A real Prefect server on a free port, with a database of its own, once for all tests of this process."""
    from infra.orchestrator.embedded import reached

    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_STATE", str(state))
        with reached(state, say=lambda _: None) as address:
            yield address


@pytest.fixture(autouse=True)
def _no_server_by_chance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that doesn't ask for the server finds none, whatever ran before it in its process."""
    if "server" not in request.fixturenames:
        monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.fixture(scope="session")
def warm() -> Iterator["Warm"]:
    """Processes of the ``sluice`` command without the time of its imports; tests of a server share one."""
    from tests.system.warm import Warm

    made = Warm()
    yield made
    made.close()


@pytest.fixture(scope="session")
def bundle_directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the agent bundle of this machine lies: packed once for all tests of all processes, which takes seconds."""
    from infra.hosts.agent_bundle import build_from_installed
    from sluice.durable import locked

    shared = tmp_path_factory.getbasetemp()
    shared = (shared.parent if hasattr(request.config, "workerinput") else shared) / "bundles"
    shared.mkdir(mode=0o700, exist_ok=True)
    with locked(shared.with_name("bundles.lock"), what="packing", wait=240):
        build_from_installed(shared)
    return shared
