"""The whole way as a user types it, on the site that ``sluice init`` writes: real agents on this machine, a real Prefect server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli import main
from demo.screen import Terminal
from infra.orchestrator.server_address import ServerAddress
from tests.cli.conftest import Result, Sluice
from tests.system.warm import Warm

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, bundle_directory: Path) -> Path:
    """With the agent bundle, which takes seconds to pack."""
    made = tmp_path_factory.mktemp("state")
    (made / "agent-bundles").symlink_to(bundle_directory)
    return made


class Shell:
    """The command in processes of its own, somewhere that isn't the site."""

    def __init__(self, directory: Path, state: Path, warm: Warm | None = None, **environment: str) -> None:
        """``warm``: where its commands begin; None: each with all of its imports, as a person's does."""
        self.directory, self.site, self._warm = directory, directory / "site", warm
        self._environment = {**os.environ, "SLUICE_SITE": str(self.site), "SLUICE_STATE": str(state), **environment}

    def __call__(self, *words: str) -> Result:
        if self._warm is not None:
            with self._warm.start(*words, environment=self._environment, cwd=self.directory, apart=True) as process:
                out, err = process.communicate(timeout=240)
            return Result(process.wait(), out, err)
        command = [sys.executable, "-m", "cli.main", *words]
        environment = self._environment | {"PYTHONPATH": str(PROJECT)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.directory, env=environment, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def typed(self, *words: str, columns: int, rows: int) -> Terminal:
        """Begin a command in a terminal."""
        environment = self._environment | {"PYTHONPATH": str(PROJECT), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        environment.pop("CI", None)
        return Terminal([sys.executable, "-m", "cli.main", *words], columns=columns, rows=rows, environment=environment)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory,
            env=self._environment | {"PYTHONPATH": str(PROJECT)},
            # What a shell starts in the background ignores Ctrl-C, and so would all that is started from there.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, state: Path) -> Path:
    """A new site whose Subscribers are bootstrapped, kept as it is in ``kept`` beside the one that tests change."""
    directory = tmp_path_factory.mktemp("typed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_SITE", str(directory / "site"))
        patch.setenv("SLUICE_STATE", str(state))
        for words in (("init", str(directory / "site")), ("validate",), ("subscriber", "bootstrap", "--all")):
            assert main.run(words) == 0
    (directory / "site").rename(directory / "kept")
    return directory


@pytest.fixture
def shell(kept: Path, state: Path, server: ServerAddress, warm: Warm, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The new site, put back to its beginning."""
    shell = Shell(kept, state, warm, PREFECT_API_URL=server.api_url)
    shutil.rmtree(shell.site, ignore_errors=True)
    shutil.copytree(kept / "kept", shell.site, symlinks=True)
    monkeypatch.setenv("SLUICE_SITE", str(shell.site))
    monkeypatch.setenv("SLUICE_STATE", str(state))
    return shell


def rows(result: Result) -> dict[str, dict[str, Any]]:
    return {row["subscriber"]: row for row in json.loads(result.out)["rows"]}


def test_init_bootstrap_distribute_change_distribute(shell: Shell, sluice: Sluice) -> None:
    payload, arrived = shell.site / "files/greeting", [shell.site / f"var/{name}/greeting" for name in ("office-1", "office-2")]

    first = shell("distribute", "greeting", "--json")
    assert first.code == 0, first.err
    assert {name: (row["extracted"], row["state"]) for name, row in rows(first).items()} == {
        "office-1": ("1.1", "installed"),
        "office-2": ("1.1", "installed"),
        "web-1": (None, "inactive"),
    }
    assert rows(first)["office-1"]["bytes"] > 0
    assert "office-1 ← greeting 1.1: installed" in first.err
    assert [(path / "welcome.txt").read_bytes() for path in arrived] == [(payload / "welcome.txt").read_bytes()] * 2
    assert sluice("why", "office-1", "greeting").out.startswith("office-1 has 1.1 of greeting: 1.1 is installed, read back ")

    (payload / "welcome.txt").write_text("changed\n")
    assert sluice("build", "greeting", "--dry-run").out.startswith("would build greeting 1.2: 1 file, 8 B; 0 added, ")
    assert [revision["revision"] for revision in sluice("revisions", "greeting", "--json").json["revisions"]] == ["1.1"]
    second = shell("distribute", "greeting")
    assert second.code == 0, second.err
    assert second.out.splitlines()[1].split() == ["SUBSCRIBER", "REVISION", "STATE", "SENT", "TIME", "REASON"]
    assert [(path / "welcome.txt").read_text() for path in arrived] == ["changed\n"] * 2

    kept = sluice("revisions", "greeting", "--json").json
    assert [(r["revision"], r["files"], r["bytes"], r["signed"]) for r in kept["revisions"]] == [
        ("1.1", 1, len("Sluice put this file here.\n"), True),
        ("1.2", 1, len("changed\n"), True),
    ]
    whole = next(ted for ted in kept["revisions"][0]["teds"] if ted["base"] is None)
    shown = sluice("ted", "show", whole["path"], "--verify", "--json").json
    assert (shown["distribution"], shown["revision"], shown["base"], shown["plain"]) == ("greeting", "1.1", None, 27)
    assert (shown["index_sha256"], shown["bytes"], shown["verified"]) == (whole["index_sha256"], whole["bytes"], True)

    status = {row["subscriber"]: row for row in sluice("status", "greeting", "--json").json["rows"]}
    assert {name: row["held"] for name, row in status.items()} == {"office-1": "1.2", "office-2": "1.2", "web-1": None}
    assert [send["bytes"] for send in sluice("distribute", "greeting", "--dry-run", "--json").json["send"]] == [None] * 3
    rehearsed = sluice("send", "greeting", "--dry-run", "--json").json["send"]
    assert {target["subscriber"]: target["state"] for target in rehearsed} == {
        "office-1": "installed",
        "office-2": "installed",
        "web-1": "inactive",
    }


def test_a_failed_subscriber_gives_its_error_as_exit_code_and_the_others_have_it(shell: Shell, sluice: Sluice) -> None:
    (shell.site / "var/office-1/sluice/agent").rename(shell.site / "var/office-1/sluice/gone")
    result = shell("distribute", "greeting", "--json")
    assert result.code == 7, result.err
    found = rows(result)
    assert (found["office-1"]["state"], found["office-1"]["error"]) == ("failed", "AgentMissingError")
    assert (found["office-2"]["state"], found["office-2"]["error"]) == ("installed", None)
    assert "sluice subscriber bootstrap office-1" in sluice("why", "office-1", "greeting").out
    assert "Traceback" not in result.err
    # People are told once, where it happens; the summary and the table name it.
    result = shell("send", "greeting")
    assert (result.code, (result.err + result.out).count("sluice subscriber bootstrap office-1")) == (7, 1)
    assert "sluice subscriber bootstrap office-1" in result.err
    assert result.out.splitlines()[0].endswith("; not done: office-1")
    assert result.out.splitlines()[2].split()[:3] == ["office-1", "1.1", "failed"]


def test_a_run_in_a_terminal_leaves_the_table_alone(shell: Shell) -> None:
    (shell.site / "var/office-1/sluice/agent").rename(shell.site / "var/office-1/sluice/gone")
    terminal = shell.typed("distribute", "greeting", columns=80, rows=24)
    assert terminal.end() == 7
    told = "".join(terminal.screen.text.split())  # the terminal breaks lines anywhere
    assert told.count("sluicesubscriberbootstrapoffice-1") == 1
    assert "done," not in told
    words = [line.split()[0] for line in terminal.screen.lines if line]
    assert words[words.index("SUBSCRIBER") + 1] == "office-1"
    assert b"\x1b[1A\x1b[2K" in terminal.written, "nothing was rewritten"


def test_plan_apply_and_detach(shell: Shell) -> None:
    assert shell("build", "greeting").code == 0
    planned = shell("plan", "--json")
    assert planned.code == 0, planned.err
    before = json.loads(planned.out)
    assert set(before) == {"create", "update", "adopt", "keep", "delete", "digest", "send", "links", "refresh"}
    (made,) = [each for each in before["create"] if each["name"] == "build/greeting"]
    assert made["differs"]["parameters"] == {"found": None, "wanted": {"distribution": "greeting"}}
    assert [(send["subscriber"], send["distribution"], send["revision"]) for send in before["send"]] == [
        ("office-1", "greeting", "1.1"),
        ("office-2", "greeting", "1.1"),
    ]
    assert all(send["bytes"] > 0 for send in before["send"])
    applied = shell("apply", "--refresh", "--json")
    assert applied.code == 0, applied.err
    assert "renewed" in applied.err
    after = json.loads(shell("plan", "--json").out)
    assert (after["create"], after["update"], after["delete"]) == ([], [], [])
    assert [(send["subscriber"], send["revision"], send["exact"]) for send in after["send"]] == [
        ("office-1", "1.1", True),
        ("office-2", "1.1", True),
    ]
    assert [(link["link"], link["sends"]) for link in after["links"]] == [("this machine", 2)]
    assert after["links"][0]["bytes"] == sum(send["bytes"] for send in after["send"])
    shown = shell("plan").out
    assert "Prefect is in line with the site\n\nsends that are due:\n" in shown
    assert shown.count(" BOTH WAYS ") == 2, "of the sends and of the links"
    detached = shell("distribute", "greeting", "--detach", "--json")
    assert detached.code == 0, detached.err
    assert [started["deployment"] for started in json.loads(detached.out)["detached"]] == ["distribute/greeting"]


def test_what_a_flow_fails_with_is_the_commands_error(shell: Shell) -> None:
    (shell.site / "files/greeting/welcome.txt").unlink()
    (shell.site / "files/greeting").rmdir()
    result = shell("build", "greeting", "--json")
    assert (result.code, json.loads(result.out)["error"]["code"]) == (6, "SourceMissingError")
    assert "Traceback" not in result.err


def test_a_server_that_doesnt_answer_is_an_orchestrator_error(shell: Shell, state: Path) -> None:
    away = Shell(shell.directory, state, PREFECT_API_URL="http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES="0")
    assert away("plan").code == 11
    assert away("build", "greeting").code == 11


def test_ctrl_c_ends_a_command_that_waits_for_a_retry(shell: Shell) -> None:
    launcher = shell.site / "var/office-1/sluice/agent/sluice-agent"
    launcher.write_text("#!/bin/sh\nexit 3\n")
    process = shell.start("distribute", "greeting")
    assert process.stderr is not None
    said = ""
    while "retry 1 of" not in said:
        said = process.stderr.readline()
        assert said, "it ended without waiting for a retry"
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "sluice: interrupted; every step may be repeated" in rest
    assert "Traceback" not in rest


def test_ctrl_c_ends_a_run_whose_host_is_mute(shell: Shell) -> None:
    launcher, called = shell.site / "var/office-1/sluice/agent/sluice-agent", shell.directory / "called"
    launcher.write_text(f"#!/bin/sh\n: >{called}\nexec sleep 3600\n")
    process = shell.start("distribute", "greeting")
    while not called.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=180)  # the connection's own limit is 300 s
    assert process.returncode == 130, said
    assert "Traceback" not in said


def test_a_placed_file_changed_by_hand_is_not_vouched_for_and_repaired_on_demand(shell: Shell, sluice: Sluice) -> None:
    assert shell("distribute", "greeting").code == 0
    placed, sound = shell.site / "var/office-1/greeting/welcome.txt", (shell.site / "files/greeting/welcome.txt").read_text()

    placed.write_text("edited by hand\n")
    plain = shell("distribute", "greeting", "--json")
    assert plain.code == 0, plain.err
    assert rows(plain)["office-1"]["reason"].endswith("; not looked at now")
    assert (placed.read_text(), "verified" in plain.out) == ("edited by hand\n", False)

    mended = shell("distribute", "greeting", "--verify", "--json")
    assert mended.code == 0, mended.err
    assert placed.read_text() == sound
    assert "office-1 ← greeting 1.1: installed" in mended.err
    assert {name: row["reason"].partition(" (")[0] for name, row in rows(mended).items() if row["extracted"]} == {
        "office-1": "1.1 is installed, 1 file written anew, read back just now",  # its only file
        "office-2": "1.1 is installed, read back just now",
    }

    placed.unlink()
    assert sluice("verify", "office-1", "--dry-run").out.splitlines()[0] == "office-1 would verify greeting 1.1"
    assert not placed.exists()
    verified = shell("verify", "office-1", "--distribution", "greeting", "--json")
    assert verified.code == 0, verified.err
    assert (placed.read_text(), list(rows(verified))) == (sound, ["office-1"])

    before = placed.stat().st_ino
    with placed.open():  # so that its inode isn't given again
        forced = shell("extract", "office-1", "--force")
        assert forced.code == 0, forced.err
        assert placed.stat().st_ino != before


def test_verify_added_to_a_blueprint_after_the_build_reads_and_repairs(shell: Shell, sluice: Sluice) -> None:
    assert shell("distribute", "greeting").code == 0
    site = shell.site / "distributions.yaml"
    site.write_text(site.read_text().replace("type: file\n", "type: file\nverify: true\n", 1))
    assert sluice("validate").code == 0
    placed = shell.site / "var/office-1/greeting/welcome.txt"
    sound = placed.read_text()
    placed.write_text(sound.upper())
    done = shell("extract", "office-1")
    assert done.code == 0, done.err
    assert (placed.read_text(), "verified: 1 file read back, 1 written anew" in done.err) == (sound, True)


def test_a_host_that_lost_what_it_had_or_is_set_up_anew_is_told_and_due(shell: Shell, sluice: Sluice) -> None:
    assert shell("distribute", "greeting").code == 0
    (shell.site / "var/office-1/sluice/distributors/hq/distributions/greeting/status.json").unlink()
    assert sluice("status", "--subscriber", "office-1", "--json").json["rows"][0]["state"] == "installed"

    checked = sluice("subscriber", "check", "office-1", "--json")
    (item,) = [each for each in checked.json["subscribers"][0]["items"] if each["item"] == "state for hq"]
    said = "its agent had nothing extracted, although 1.1 had been read back"
    assert (checked.code, item["ok"], said in item["detail"]) == (1, False, True)
    assert item["remedy"].endswith("run: sluice distribute greeting --to office-1")
    (row,) = sluice("status", "--subscriber", "office-1", "--json").json["rows"]
    assert (row["state"], row["extracted"], said in row["doubt"], said in row["reason"]) == ("waiting", None, True, True)
    assert said in sluice("why", "office-1", "greeting").out
    (found,) = [each for each in sluice("doctor", "--no-subscribers", "--json").json["findings"] if each["object"] == "office-1"]
    assert (found["health"], said in found["sentence"]) == ("warning", True)
    assert [each["state"] for each in sluice("send", "greeting", "--to", "office-1", "--dry-run", "--json").json["send"]] == [None]

    assert shell("distribute", "greeting", "--to", "office-1").code == 0
    assert sluice("subscriber", "check", "office-1").code == 0
    assert sluice("status", "--subscriber", "office-1", "--json").json["rows"][0]["doubt"] is None

    # A bootstrap that makes a new identity resets what is believed.
    shutil.rmtree(shell.site / "var/office-1/sluice")
    assert sluice("subscriber", "bootstrap", "office-1").code == 4, "another receipt key is known"
    assert sluice("status", "--subscriber", "office-1", "--json").json["rows"][0]["state"] == "installed"
    assert sluice("subscriber", "bootstrap", "office-1", "--replace-key", "--dry-run").code == 0
    assert sluice("status", "--subscriber", "office-1", "--json").json["rows"][0]["state"] == "installed"
    anew = sluice("subscriber", "bootstrap", "office-1", "--replace-key")
    assert (anew.code, " UTC it was bootstrapped with a new identity" in anew.err) == (0, True)
    (row,) = sluice("status", "--subscriber", "office-1", "--json").json["rows"]
    assert (row["state"], row["held"], row["extracted"]) == ("waiting", None, None)
    assert row["doubt"].endswith(" UTC it was bootstrapped with a new identity")
    again = shell("distribute", "greeting")
    assert again.code == 0, again.err
    assert sluice("subscriber", "check", "office-1").code == 0
