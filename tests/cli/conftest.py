"""A small site on disk, and the command called in this process: its exit code, what it printed, and nothing of a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli import main

SITE = """\
kind: Distributor
name: hq
working_directory: var/hq
refresh: {every: 1 day}
---
kind: Subscriber
name: near
address: local:var/near
working_directory: var/near/sluice
platform: debian-12
variables: {DEST: "{{ LOCAL_DIRECTORY }}/out"}
---
kind: Subscriber
name: far
address: local:var/far
working_directory: var/far/sluice
platform: debian-12
variables: {DEST: "{{ LOCAL_DIRECTORY }}/out"}
---
kind: Channel
name: daily
send: {daily: {at: "22:00"}, timezone: UTC}
subscribers: [near, far]
---
kind: Distribution
name: zone
distributor: hq
type: file
channels: [daily]
build: {every: 1 hour}
files:
  - {source: payload, destination: "{{ DEST }}"}
---
kind: Distribution
name: unlisted
distributor: hq
type: file
files:
  - {source: payload, destination: "{{ DEST }}/unlisted"}
"""
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Result:
    """One call of the command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Sluice = Callable[..., Result]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A valid site, apart from the current directory; SLUICE_SITE names it."""
    directory = tmp_path / "site"
    (directory / "payload").mkdir(parents=True)
    (directory / "payload" / "a.txt").write_text("a\n")
    (directory / "site.yaml").write_text(SITE)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("SLUICE_SITE", str(directory))
    monkeypatch.setenv("SLUICE_STATE", str(tmp_path / "state"))
    return directory


@pytest.fixture
def sluice(capsys: pytest.CaptureFixture[str]) -> Sluice:
    """Call the command with its words."""

    def call(*words: str | Path) -> Result:
        capsys.readouterr()
        code = main.run([str(word) for word in words])
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return call


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """The commands that read take this time for now."""
    for module in ("status", "show", "plan"):
        monkeypatch.setattr(f"cli.{module}.now", lambda: NOW)
    return NOW
