"""A site of one Subscriber on this machine that can be put back to its beginning; its commands are typed, in processes of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.orchestrator.server_address import ServerAddress

SLUICE = Path(sys.executable).with_name("sluice")
SITE = """\
kind: Distributor
name: hq
working_directory: {home}/hq
refresh: never
---
kind: Subscriber
name: near
address: local:{home}/near
platform: debian-12
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
    program: Path = SLUICE

    def sluice(
        self, *words: str, wrapped: tuple[str, ...] = (), cwd: Path | None = None, **changed: str
    ) -> subprocess.CompletedProcess[str]:
        """Type a command; a variable that is changed to nothing is unset."""
        environment = {name: value for name, value in (self.environment | changed).items() if value}
        return subprocess.run(
            [*wrapped, str(self.program), *words],
            env=environment,
            cwd=cwd or self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def begin(self) -> None:
        for name in ("hq", "near"):
            shutil.rmtree(self.home / name, ignore_errors=True)
            shutil.copytree(self.home / "kept" / name, self.home / name, symlinks=True)

    def distributed(self) -> dict[str, str]:
        """Everything that was distributed, by its path: the revision's files, and the tree with modes and times."""
        found = {}
        revision = self.home / "hq/store/distributions/zone/revisions/1.1"
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
