"""What holds for every test: nothing leaves this machine, nothing of the user's is touched, real parts are found or missed aloud.

The environment is set on import, before any test module can import Prefect, which reads it once.
"""

import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.system.postgres import Cluster

_PREFECT_HOME = tempfile.mkdtemp(prefix="sluice-tests-prefect-")

# A test must neither reach the server or database that its user works with, nor change that user's profile or site.
for _name in [name for name in os.environ if name.startswith(("PREFECT_", "SLUICE_", "PG"))]:
    del os.environ[_name]
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_HOME": _PREFECT_HOME,
}

# Deadlines measure the machine, not the code. In CI a law must not fail for one run in a hundred: the examples are fixed there.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=3000)
IN_CI = os.environ.get("CI") == "true"
hypothesis.settings.load_profile("ci" if IN_CI else "here")

# Daemons live in sbin, which a user's PATH may lack, and Debian keeps PostgreSQL's programs by version.
_POSTGRES = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda place: float(Path(place).parent.name), reverse=True)
PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", *_POSTGRES])


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
