"""The dry run of an extraction, as its user types it: a real agent answers, and the run does what was foretold."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from agents.features import features
from sluice.model.state import State
from tests.cli.conftest import Sluice
from tests.cli.real_site import RealSite, forked_site

D = """\
---
kind: Distribution
name: d
distributor: hq
type: file
channels: [web]
extract: immediately
files:
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealSite:
    return forked_site(tmp_path, monkeypatch, **{"a.conf": "ours", "sub__b": "ours"})


def entry(source: str, destination: str, **more: str) -> str:
    keys = {"source": source, "destination": f'"{{{{ LOCAL_DIRECTORY }}}}{destination}"', **more}
    return f"  - {{{', '.join(f'{key}: {value}' for key, value in keys.items())}}}\n"


def test_a_slash_puts_files_into_a_directory_that_stays_as_it_is(real: RealSite, sluice: Sluice) -> None:
    etc = real.host / "etc"
    etc.mkdir()
    etc.chmod(0o2775)
    (etc / "theirs").write_text("theirs")
    real.write(D + entry("src/a.conf", "/etc/") + entry("src/sub/b", "/etc/") + entry("src", "/tree/"))
    assert sluice("validate").code == 0

    found = sluice("distribute", "d", "--dry-run", "--json").json["changes"][0]
    assert (found["stops"], found["complete"]) == ([], True)
    new = {each["path"] for each in found["paths"] if each["kind"] == "new"}
    assert {str(etc / "a.conf"), str(etc / "b"), str(real.host / "tree/sub/b")} <= new
    assert real.distribute("d").state is State.INSTALLED

    assert sorted(os.listdir(etc)) == ["a.conf", "b", "theirs"]
    assert etc.stat().st_mode & 0o7777 == 0o2775
    assert (real.host / "tree/sub/b").read_text() == "ours"
    assert sluice("distribute", "d", "--dry-run", "--json").json["changes"] == [found | {"paths": [], "counts": {}}]


def test_a_directory_in_the_way_of_a_file_is_foretold_and_its_remedy_works(real: RealSite, sluice: Sluice) -> None:
    (real.host / "etc").mkdir()
    real.write(D + entry("src/a.conf", "/etc"))

    foretold = sluice("distribute", "d", "--dry-run")
    out = foretold.out
    done = real.distribute("d")

    message = f"{real.host}/etc is a directory, which this Distribution didn't place, but a file must go there"
    assert f"s1 would fail to extract d 1.1: {message}\n    end the destination with / if a file shall go into it, or move it away" in out
    assert done.error is not None
    assert message in done.error.message
    assert foretold.code == done.error.exit_code == 8
    assert list((real.host / "etc").iterdir()) == []
    real.write(D + entry("src/a.conf", "/etc/"))
    assert real.distribute("d").state is State.INSTALLED
    assert (real.host / "etc/a.conf").read_text() == "ours"


def test_a_foreign_file_is_named_before_it_gets_other_content_and_mode(real: RealSite, sluice: Sluice) -> None:
    tree = real.host / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a.conf").write_text("theirs!")
    (tree / "a.conf").chmod(0o600)
    (tree / "sub/theirs").write_text("x")
    real.write(D + entry("src", "/tree"))

    out = sluice("distribute", "d", "--dry-run").out
    assert real.distribute("d").state is State.INSTALLED

    assert "s1 would replace 1 path that it did not place, unless already equal, with d 1.1:" in out
    assert f"    {tree}/a.conf (a file, 7 bytes, mode 0600, owner " in out
    assert "s1 would place 1 path with d 1.1:" in out
    assert (tree / "a.conf").read_text() == "ours"
    assert (tree / "sub/theirs").read_text() == "x"


def test_what_would_be_read_back_is_read_by_the_dry_run_too_also_if_verify_came_after_the_build(real: RealSite, sluice: Sluice) -> None:
    real.write(D + entry("src", "/tree"))
    assert real.distribute("d").state is State.INSTALLED
    real.write(D.replace("extract: immediately", "extract: immediately\nverify: true") + entry("src", "/tree"))
    damaged = real.host / "tree/a.conf"
    before = damaged.stat()
    damaged.write_text("0urs")
    os.utime(damaged, ns=(before.st_atime_ns, before.st_mtime_ns))

    [row] = sluice("extract", "s1", "--dry-run", "--json").json["changes"]

    assert [(each["kind"], each["path"]) for each in row["paths"] if each["kind"] == "changed"] == [("changed", str(damaged))]


def test_the_revision_that_is_held_is_foretold_and_not_a_newer_one_that_is_built(real: RealSite, sluice: Sluice) -> None:
    real.write(D + entry("src", "/tree"))
    assert real.distribute("d").state is State.INSTALLED
    damaged = real.host / "tree/sub/b"
    damaged.write_text("theirs")
    (real.directory / "src/a.conf").write_text("newer")
    real.build("d")

    for command in (("verify",), ("extract", "--verify"), ("extract", "s1", "--force")):
        [row] = sluice(*command, "--dry-run", "--json").json["changes"]
        assert row["revision"] == "1.1"
        files = {each["path"] for each in row["paths"] if each["kind"] == "changed"}
        assert files == {str(damaged)} | ({str(real.host / "tree/a.conf")} if "--force" in command else set())


def test_a_revision_that_is_held_there_and_kept_here_no_more_is_said_to_be_unknown(real: RealSite, sluice: Sluice) -> None:
    real.write(D.replace("extract: immediately", "extract: immediately\nmax_revisions: 1") + entry("src", "/tree"))
    assert real.distribute("d").state is State.INSTALLED
    for text in ("newer", "newest", "last"):
        (real.directory / "src/a.conf").write_text(text)
        real.build("d")

    found = sluice("verify", "--dry-run", "--json")

    assert found.json["extract"][0]["revision"] == "1.1"
    assert (found.json["changes"], found.json["unasked"]) == ([], [{"subscriber": "s1", "error": "d 1.1 isn't kept here any more"}])
    assert found.code == 0


def test_a_host_that_a_backup_put_back_between_send_and_extract_is_foretold_to_extract_nothing(real: RealSite, sluice: Sluice) -> None:
    """The dry run's own question finds that out: what the ledger believed before it is no answer."""
    stop = "pre_actions: [{stop_process: {name: nobody-has-this, undo: none}}]\n"
    real.write(D.replace("files:", f"{stop}files:") + entry("src", "/tree"))
    backup = real.directory / "backup"
    shutil.copytree(real.host / "sluice", backup)
    assert real.distribute("d", extract=False).state is State.RECEIVED
    held = sluice("extract", "--dry-run", "--json").json
    assert [each["revision"] for each in (*held["extract"], *held["changes"])] == ["1.1", "1.1"]
    assert [each["action"] for each in held["actions"]] == ["stop process nobody-has-this"]
    shutil.rmtree(real.host / "sluice")
    backup.rename(real.host / "sluice")

    found = sluice("extract", "--dry-run", "--json").json

    assert (found["extract"], found["changes"], found["actions"]) == ([], [], [])
    assert "s1 (d): " in found["doubted"][0]
    assert "would not be extracted: s1 (d): " in sluice("extract", "--dry-run").out


@pytest.mark.parametrize(
    ("site", "distribution", "reason"),
    [
        ("subscribers: [s1]", "platforms: [linux]", "d is for linux, and the platform of s1 isn't known"),
        ("subscribers: [{name: s1, active: false}]", "priority: high", "inactive"),
        ("subscribers: [s1]\nactive: false", "priority: high", "inactive"),
    ],
)
def test_a_host_that_gets_nothing_is_not_foretold_to_get_it(
    real: RealSite, sluice: Sluice, site: str, distribution: str, reason: str
) -> None:
    real.write(D.replace("type: file", f"type: file\n{distribution}") + entry("src", "/tree"))
    path = real.directory / "site.yaml"
    path.write_text(path.read_text().replace("subscribers: [s1]", site))

    found = sluice("distribute", "d", "--dry-run", "--json").json

    assert (found["send_to"], found["changes"]) == ([], [])
    [row] = found["not_sent_to"]
    assert row["subscriber"] == "s1"
    assert reason in row["reason"]
    said = sluice("distribute", "d", "--dry-run").out
    assert f"would not send it to s1: {row['reason']}" in said
    assert "would send it" not in said


def test_mass_removal_stops_on_the_host_until_it_is_allowed(real: RealSite, sluice: Sluice) -> None:
    for number in range(30):
        (real.directory / f"src/f{number}").write_text("x")
    real.write(D + entry("src", "/tree", synchronize="true"))
    assert real.distribute("d").state is State.INSTALLED
    for number in range(30):
        (real.directory / f"src/f{number}").unlink()

    stopped = real.distribute("d")

    assert stopped.error is not None
    assert f"would remove 30 of 32 files from {real.host}/tree" in stopped.error.message
    assert stopped.error.remedy.endswith("run: sluice extract s1 --distribution d --allow-removals")
    assert (real.host / "tree/f29").exists()
    foretold = sluice("extract", "s1", "--dry-run", "--json")
    [row], [gone] = foretold.json["changes"], foretold.json["removals"]
    assert [(stop["message"], stop["code"]) for stop in row["stops"]] == [(stopped.error.message, stopped.error.code)]
    assert (gone["count"], set(gone["paths"])) == (30, {f"{real.host}/tree/f{number}" for number in range(30)})
    assert foretold.code == stopped.error.exit_code == 6
    said = sluice("extract", "s1", "--dry-run")
    assert said.code == 6
    assert f"s1 would remove 30 paths with d 1.2:\n    {real.host}/tree/f0\n" in said.out
    assert "    and 10 more\n" in said.out
    allowed = sluice("extract", "s1", "--distribution", "d", "--allow-removals", "--dry-run", "--json")
    [row] = allowed.json["changes"]
    assert (row["stops"], row["counts"]["removed"], allowed.code) == ([], 30, 0)
    assert real.distribute("d", allow_removals=True).state is State.INSTALLED
    assert not (real.host / "tree/f29").exists()


def test_an_older_agent_is_asked_for_removals_alone_and_that_is_said(
    real: RealSite, sluice: Sluice, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.write(D + entry("src", "/tree", synchronize="true"))
    assert real.distribute("d").state is State.INSTALLED
    (real.directory / "src/a.conf").unlink()
    (real.directory / "src/new").write_text("new")
    older = [each for each in features() if each not in ("dry run", "removals", "directory mode")]
    monkeypatch.setattr("agents.serve.features", lambda: older)

    result = sluice("distribute", "d", "--dry-run")
    found = sluice("distribute", "d", "--dry-run", "--json").json

    assert f"s1 would remove 1 path with d 1.2:\n    {real.host}/tree/a.conf" in result.out
    assert "s1: its agent is too old to say what else would change; run: sluice subscriber bootstrap s1" in result.out
    assert (found["changes"][0]["complete"], found["removals"][0]["paths"]) == (False, [f"{real.host}/tree/a.conf"])
