"""The surroundings of the ``sluice`` command change nothing of what is distributed: revision and tree are the same bytes under each.

The site, the command in a process of its own, the agent and Prefect's server are real; between two cases everything that a distribution
made is put back to what it was before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.orchestrator.server_address import ServerAddress

pytestmark = [pytest.mark.real, pytest.mark.timeout(280)]
SLUICE = Path(sys.executable).with_name("sluice")
NOWHERE = "http://127.0.0.1:9"
"""Nobody answers there: what goes there is lost."""
SITE = """\
kind: Distributor
name: hq
working_directory: {home}/hq
refresh: never
---
kind: Subscriber
name: near
address: local:{home}/near
working_directory: {home}/near/sluice
variables: {{DEST: "{home}/near/out"}}
---
kind: Channel
name: all
send: never
subscribers: [near]
---
kind: Distribution
name: zone
distributor: hq
type: file
platforms: [linux]
channels: [all]
build: never
files:
  - {{source: {home}/source, destination: "{{{{ DEST }}}}/zone"}}
"""
PLACED = {"PATH": os.defpath, "HOME": "/root", "DO_NOT_TRACK": "1"}
"""An ordinary environment; each case changes it."""


@dataclass(frozen=True)
class Bench:
    """A bootstrapped site that can be put back to its beginning."""

    home: Path
    environment: dict[str, str]

    def sluice(
        self, *words: str, wrapped: tuple[str, ...] = (), cwd: Path | None = None, **changed: str
    ) -> subprocess.CompletedProcess[str]:
        """Type a command; a variable that is changed to nothing is unset."""
        environment = {name: value for name, value in (self.environment | changed).items() if value}
        return subprocess.run(
            [*wrapped, str(SLUICE), *words], env=environment, cwd=cwd or self.home, capture_output=True, text=True, check=False, timeout=240
        )

    def begin(self) -> None:
        for name in ("hq", "near"):
            shutil.rmtree(self.home / name, ignore_errors=True)
            shutil.copytree(self.home / "kept" / name, self.home / name, symlinks=True)

    def distributed(self) -> dict[str, str]:
        """Everything that was distributed, by its path: the revision's files, and the tree with modes and times."""
        found = {}
        revision = self.home / "hq/store/zone/revisions/1.1"
        for path in [*(p for p in revision.rglob("*") if p.is_file()), *(self.home / "near/out").rglob("*")]:
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            is_tree = path.is_relative_to(self.home / "near")
            mode = f"{stat.S_IMODE(status.st_mode):o} {status.st_mtime_ns}" if is_tree and not path.is_symlink() else ""
            found[str(path.relative_to(self.home))] = f"{content} {mode}"
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, server: ServerAddress, bundle_directory: Path) -> Bench:
    home = tmp_path_factory.mktemp("around")
    (home / "state").mkdir(mode=0o700)
    (home / "state/agent-bundles").symlink_to(bundle_directory)
    (home / "site").mkdir()
    (home / "site/site.yaml").write_text(SITE.format(home=home))
    source = home / "source"
    for name in ("İstanbul/ığü.txt", "ä ö €", "b", "B", "Straße", "i", "I"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"{name}\n", encoding="utf-8")
    (source / "b").chmod(0o751)
    (source / "B").chmod(0o600)
    (source / "link").symlink_to("İstanbul/ığü.txt")
    for path in sorted(source.rglob("*"), reverse=True):
        os.utime(path, ns=(0, 1_234_567_890_123_456_789), follow_symlinks=False)
    os.utime(source, ns=(0, 1_234_567_890_123_456_789))
    environment = PLACED | {
        "PREFECT_API_URL": server.api_url,
        "PREFECT_HOME": str(home / "prefect"),
        "SLUICE_SITE": str(home / "site"),
        "SLUICE_STATE": str(home / "state"),
    }
    made = Bench(home, environment)
    for words in (("trust", "init", "hq"), ("subscriber", "bootstrap", "near")):
        done = made.sluice(*words)
        assert done.returncode == 0, done.stderr
    for name in ("hq", "near"):
        shutil.copytree(home / name, home / "kept" / name, symlinks=True)
    return made


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
