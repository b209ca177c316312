"""The surroundings of the ``sluice`` command change nothing of what is distributed: revision and tree are the same bytes under each.

The site, the command in a process of its own, the agent and Prefect's server are real; between two cases everything that a distribution
made is put back to what it was before.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.typed import Bench, bench

__all__ = ["bench"]

pytestmark = [pytest.mark.real, pytest.mark.timeout(280)]
NOWHERE = "http://127.0.0.1:9"
"""Nobody answers there: what goes there is lost."""


@pytest.fixture(scope="module")
def ordinary(bench: Bench) -> dict[str, str]:
    """The revision and tree of the ordinary surroundings."""
    bench.begin()
    done = bench.sluice("distribute", "zone", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = bench.distributed()
    assert "near/out/zone/İstanbul/ığü.txt" in found
    assert any(name.endswith(".ted") for name in found)
    return found


def shadowing(home: Path) -> Path:
    """A directory of modules that have the names of others and end whatever imports them."""
    directory = home / "shadows"
    directory.mkdir(exist_ok=True)
    for name in ("queue", "yaml", "click", "sluice", "infra", "prefect", "sitecustomize_not", "flows", "agents"):
        (directory / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    (directory / "start.py").write_text("raise SystemExit('started')\n")
    return directory


Around = Callable[[Path], dict[str, str]]
CASES: dict[str, Around] = {
    "ASCII names in the POSIX locale": lambda _: {"LC_ALL": "POSIX", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "Turkish, far east, a narrow and a dumb terminal": lambda _: {
        "LC_ALL": "tr_TR.ISO-8859-9",
        "LANGUAGE": "tr",
        "TZ": "Pacific/Kiritimati",
        "TERM": "dumb",
        "COLUMNS": "1",
        "LINES": "0",
    },
    "variables of Python": lambda home: {
        "PYTHONPATH": str(shadowing(home)),
        "PYTHONSTARTUP": str(shadowing(home) / "start.py"),
        "PYTHONOPTIMIZE": "2",
        "PYTHONIOENCODING": "ascii:strict",
        "PYTHONWARNINGS": "error",
        "PYTHONNOUSERSITE": "1",
    },
    "proxies that nobody answers at, and one of a kind that isn't known": lambda _: {
        "http_proxy": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "ALL_PROXY": "socks5://127.0.0.1:9",
        "all_proxy": "gopher://127.0.0.1:9",
        "NO_PROXY": "example.org",
        "no_proxy": "",
        "SSL_CERT_FILE": "/nowhere/ca.pem",
        "SSL_CERT_DIR": "/nowhere",
    },
    "no home, no directory for temporary files": lambda _: {"HOME": "/proc/nobody", "TMPDIR": "/nowhere", "XDG_STATE_HOME": "/proc/state"},
    "HOME unset": lambda _: {"HOME": "", "GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/nowhere", "CDPATH": "/", "IFS": "x", "ENV": "/nowhere"},
}
SHELLS = {
    "everything masked": 'umask 777; exec "$@"',
    "nothing masked": 'umask 000; exec "$@"',
    "no rights for others": 'umask 077; exec "$@"',
    "stdin closed": 'exec "$@" <&-',
    "everything closed": 'exec "$@" <&- >&- 2>&-',
    "few files": 'ulimit -S -n 40; exec "$@"',
    "the current directory removed": 'mkdir gone; cd gone; rmdir ../gone; exec "$@"',
    "signals that pipes break are ignored": "trap '' PIPE HUP; exec \"$@\"",
}


@pytest.mark.parametrize("case", CASES)
def test_variables_change_nothing_of_what_is_distributed(bench: Bench, ordinary: dict[str, str], case: str) -> None:
    bench.begin()
    done = bench.sluice("distribute", "zone", "--json", **CASES[case](bench.home))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["rows"][0]["state"] == "installed"
    assert bench.distributed() == ordinary


@pytest.mark.parametrize("case", SHELLS)
def test_what_a_process_inherits_changes_nothing_of_what_is_distributed(bench: Bench, ordinary: dict[str, str], case: str) -> None:
    bench.begin()
    done = bench.sluice("distribute", "zone", wrapped=("/bin/sh", "-c", SHELLS[case], "sh"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.distributed() == ordinary
