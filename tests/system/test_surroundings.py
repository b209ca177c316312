"""The surroundings of the ``sluice`` command change nothing of what is distributed: revision and tree are the same bytes under each.

The site, the command in a process of its own, the agent and Prefect's server are real; between two cases everything that a distribution
made is put back to what it was before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.orchestrator.environment import server_environment, worker_environment
from infra.orchestrator.server_address import reached_directly
from tests.system.production import DEPLOY
from tests.system.typed import PLACED, Bench, bench

__all__ = ["bench"]

pytestmark = [pytest.mark.real, pytest.mark.timeout(480)]
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
    "proxies that nobody answers at": lambda _: {
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
TOGETHER = {
    (
        "ASCII names in the POSIX locale",
        "no home, no directory for temporary files",
    ): 'umask 000; mkdir gone; cd gone; rmdir ../gone; exec "$@"',
    ("Turkish, far east, a narrow and a dumb terminal", "proxies that nobody answers at"): 'umask 077; ulimit -S -n 40; exec "$@"',
    ("variables of Python", "HOME unset"): "trap '' PIPE HUP; exec \"$@\" <&-",
    (): 'umask 777; exec "$@" <&- >&- 2>&-',
}
"""Cases that have nothing to do with each other, and what the process inherits beside them: each start takes seconds."""


@pytest.mark.parametrize("cases", TOGETHER, ids=" + ".join)
def test_variables_and_what_a_process_inherits_change_nothing_of_what_is_distributed(
    bench: Bench, ordinary: dict[str, str], cases: tuple[str, ...]
) -> None:
    bench.begin()
    changed = {name: value for case in cases for name, value in CASES[case](bench.home).items()}
    done = bench.sluice("distribute", "zone", "--json", wrapped=("/bin/sh", "-c", TOGETHER[cases], "sh"), **changed)
    assert done.returncode == 0, done.stdout + done.stderr
    if cases:
        assert json.loads(done.stdout)["rows"][0]["state"] == "installed"
    assert bench.distributed() == ordinary


PROFILE = """\
active = "mine"
[profiles.mine]
PREFECT_SERVER_DATABASE_CONNECTION_URL = "sqlite+aiosqlite:///{users}"
PREFECT_SERVER_API_BASE_PATH = "/mine"
PREFECT_CLIENT_CUSTOM_HEADERS = '{{"X-Mine": "1"}}'
"""


def test_a_server_of_its_own_is_reached_through_everything_at_once_and_nothing_of_the_users_prefect_is_touched(
    bench: Bench, ordinary: dict[str, str]
) -> None:
    """Server, flow run and agent, from a shell that has it all; and the database that the user's Prefect would use isn't even made."""
    bench.begin()
    home, users = bench.home / "users-home", bench.home / "users.db"
    (home / ".prefect").mkdir(parents=True)
    (home / ".prefect/profiles.toml").write_text(PROFILE.format(users=users))
    changed = {"SLUICE_STATE": "", "PREFECT_API_URL": "", "PREFECT_HOME": "", "HOME": str(home)}
    for case in (
        "ASCII names in the POSIX locale",
        "variables of Python",
        "proxies that nobody answers at",
    ):
        changed |= CASES[case](bench.home)
    changed |= {"PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{users}", "PREFECT_API_KEY": "pnu_x", "TMPDIR": "/nowhere"}
    changed |= {"PREFECT_SERVER_API_PORT": "1", "PREFECT_API_SSL_CERT_FILE": "/nowhere", "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true"}
    (home / ".env").write_text("PREFECT_LOGGING_LEVEL=nonsense\n")
    (home / "prefect.toml").write_text("[api]\nrequest_timeout = 'nonsense'\n")
    shell = 'umask 777; ulimit -S -n 40; exec "$@" <&-'

    done = bench.sluice("distribute", "zone", "--json", wrapped=("/bin/sh", "-c", shell, "sh"), cwd=home, **changed)

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["rows"][0]["state"] == "installed"
    assert bench.distributed() == ordinary
    assert not users.exists()
    assert [path.name for path in (home / ".prefect").iterdir()] == ["profiles.toml"]


def test_a_remote_server_keeps_the_users_proxies_and_one_on_loopback_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = {"http_proxy": NOWHERE, "HTTPS_PROXY": NOWHERE, "ALL_PROXY": "socks5://127.0.0.1:9", "no_proxy": "x", "SSL_CERT_FILE": "/ca"}
    monkeypatch.setenv("SSL_CERT_DIR", "/etc")
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    for url in (
        "https://prefect.example.org/api",
        "http://10.0.0.1:4200/api",
        "http://127.example.org/api",
        "http://localhost.example/api",
    ):
        with reached_directly(url):
            assert {name: os.environ[name] for name in proxies} == proxies, url
    for url in ("http://127.0.0.1:4200/api", "http://127.8.8.8/api", "http://[::1]:4200/api", "http://localhost:4200/api"):
        with reached_directly(url):
            assert not proxies.keys() & os.environ.keys(), url
            assert os.environ["SSL_CERT_DIR"] == "/etc", "certificates that are there serve other clients: of mail, say"
        assert {name: os.environ[name] for name in proxies} == proxies, url


def test_server_and_workers_of_a_site_are_given_neither_proxies_nor_settings_of_the_users_prefect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hidden = {"all_proxy": NOWHERE, "NO_PROXY": "x", "PREFECT_PROFILE": "mine", "PREFECT_API_KEY": "x", "PREFECT_SERVER_DATABASE_NAME": "x"}
    kept = {"PREFECT_SERVER_API_AUTH_STRING": "a:b", "PREFECT_LOGGING_LEVEL": "DEBUG", "LANG": "tr_TR", "MINE": "1"}
    for name, value in (hidden | kept).items():
        monkeypatch.setenv(name, value)
    for environment in (server_environment(tmp_path, 4200), worker_environment(tmp_path, "http://127.0.0.1:4200/api", tmp_path)):
        assert not hidden.keys() & environment.keys()
        assert kept.items() <= environment.items()


def test_a_worker_that_would_read_names_in_another_encoding_refuses() -> None:
    """One that wasn't started by `sluice up`: deploy/settings/worker.env has what the remedy says."""
    environment = {**PLACED, **CASES["ASCII names in the POSIX locale"](Path()), "SLUICE_SITE": "/"}
    code = "from infra.workplace import environment_site; environment_site()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert "SourceError: this worker reads names of files as ascii, because of its locale" in done.stderr
    assert "start the worker with PYTHONUTF8=1" in done.stderr
    assert "PYTHONUTF8=1\n" in (DEPLOY / "settings/worker.env").read_text()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"HOME": "/proc/nobody", "SLUICE_STATE": ""}, "/proc/nobody/.local/state/sluice/site-"),
        ({"SLUICE_STATE": "/proc/nobody"}, "/proc/nobody/logs"),
        ({"XDG_STATE_HOME": "/dev/null", "SLUICE_STATE": ""}, "/dev/null/sluice/site-"),
    ],
)
def test_a_place_where_no_state_can_be_kept_is_named_with_the_setting_that_moves_it(
    bench: Bench, changed: dict[str, str], told: str
) -> None:
    done = bench.sluice("plan", **changed, PREFECT_API_URL="", PREFECT_HOME="")
    assert done.returncode == 11, done.stderr
    assert told in done.stderr
    assert "set SLUICE_STATE to a directory in which this account may write" in done.stderr
