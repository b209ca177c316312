"""What holds for every test: nothing leaves this machine, nothing of the user's is touched, real parts are found or missed aloud.

The environment is set on import, before any test module can import Prefect, which reads it once.
"""

import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from infra.orchestrator.server_address import ServerAddress
    from tests.system.postgres import Cluster
    from tests.system.warm import Warm

_PREFECT_HOME = tempfile.mkdtemp(prefix="sluice-tests-prefect-")

# A test must neither reach the server or database that its user works with, nor change that user's profile or site.
for _name in [name for name in os.environ if name.startswith(("PREFECT_", "SLUICE_", "PG"))]:
    del os.environ[_name]
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


def some(number: int) -> int:
    """How many examples of a law or pieces of damage to try: all, or few with Hypothesis's profile ``fast`` (`make test-fast`)."""
    return max(FAST_EXAMPLES, number // 10) if hypothesis.settings().max_examples == FAST_EXAMPLES else number


# Daemons live in sbin, which a user's PATH may lack, and Debian keeps PostgreSQL's programs by version.
_POSTGRES = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda place: float(Path(place).parent.name), reverse=True)
PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", *_POSTGRES])


# --- two processes ----------------------------------------------------------------------------------------------------
# `make test` runs with pytest-xdist: a worker takes a group, and has its fixtures to itself. A group is a file, unless its tests use
# what is made once for several files.

SHARED = {"server": "prefect", "postgres": "postgresql"}
"""Fixtures that are made once for all tests, and the group of the tests that use one."""
REAL = {*SHARED, "real_part", "bundle_directory"}
"""Fixtures of tests with parts that aren't ours, or as large: they are marked ``real``, and `make test-fast` leaves them out."""
LONGEST_FIRST = ("prefect", "tests/system/test_deploy_production.py", "tests/soak", "tests/attacks", "tests/system", "tests/end_to_end")
"""Groups, or how their files' paths begin: so that at the end no worker waits for the other's last group."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark by its fixtures which group a test is in, and whether it uses real parts."""
    fixtures = set(getattr(item, "fixturenames", ()))
    for name in fixtures & SHARED.keys():
        item.add_marker(pytest.mark.xdist_group(SHARED[name]))
    if fixtures & REAL:
        item.add_marker(pytest.mark.real)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where there are several processes, begin with the longest groups."""

    def rank(item: pytest.Item) -> int:
        mark = item.get_closest_marker("xdist_group")
        group = mark.args[0] if mark else item.nodeid
        return next((number for number, name in enumerate(LONGEST_FIRST) if group.startswith(name)), len(LONGEST_FIRST))

    if hasattr(config, "workerinput"):
        items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of the tests outside of groups, those of one file go to one worker: they share its fixtures."""
    from xdist.scheduler import LoadGroupScheduling

    class ByFile(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return super()._split_scope(nodeid).partition("::")[0]

    return ByFile(config, log)


def pytest_unconfigure() -> None:
    shutil.rmtree(_PREFECT_HOME, ignore_errors=True)


def missing(what: str) -> None:
    """End the running test because a real part isn't here: an error in CI, a skip with the reason elsewhere.

    For what isn't a program too: ``missing("root, for network namespaces")``.
    """
    if IN_CI:
        pytest.fail(f"missing in CI: {what}", pytrace=False)
    pytest.skip(f"missing: {what}")


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
    """A real Prefect server on a free port, with a database of its own, once for all tests; who needs another starts one."""
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
    """Where agent bundles are made: once for all tests of all processes; a bundle gets its name when it is whole."""
    if not hasattr(request.config, "workerinput"):
        return tmp_path_factory.mktemp("bundles")
    shared = tmp_path_factory.getbasetemp().parent / "bundles"
    shared.mkdir(mode=0o700, exist_ok=True)
    return shared
