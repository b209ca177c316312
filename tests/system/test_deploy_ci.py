"""The script that a site's CI runs, against a real Prefect server, and the workflow that calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from infra.orchestrator.server_address import ServerAddress, is_healthy, read_address, state_directory
from tests.system.production import DEPLOY
from tests.system.sshd import free_port
from tests.system.typed import SLUICE
from tests.system.warm import Warm

SCRIPT = DEPLOY / "ci" / "site"
SITE = """\
kind: Distributor
name: ci-hq
working_directory: {work}
refresh: never
---
kind: Channel
name: ci-all
send: never
subscribers: []
---
kind: Distribution
name: ci-zone
distributor: ci-hq
type: file
channels: [ci-all]
build: never
files:
  - {{source: {source}, destination: /srv/zone}}
"""


class Checkout:
    """A checkout of a site's repository, where CI has it."""

    def __init__(self, directory: Path, api_url: str, warm: Warm) -> None:
        self.site, self.live, self.summary = directory / "blueprints", directory / "live", directory / "summary.md"
        self.site.mkdir()
        (self.site / "site.yaml").write_text(SITE.format(work=directory / "work", source=directory / "source"))
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(directory),
            "PREFECT_HOME": str(directory / "prefect"),
            "PREFECT_API_URL": api_url,
            "SLUICE": str(warm.program),
            "SLUICE_STATE": str(directory / "state"),
            "SLUICE_LIVE_SITE": str(self.live),
            "GITHUB_STEP_SUMMARY": str(self.summary),
        }
        self._directory = directory

    def run(self, *words: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """One job."""
        return subprocess.run(
            [SCRIPT, *words], cwd=self._directory, env=self.environment | changed, capture_output=True, text=True, check=False, timeout=240
        )

    def sluice(self, *words: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command of a person on the machine of the live site."""
        environment = self.environment | {"SLUICE_SITE": str(site or self.live)}
        command = [self.environment["SLUICE"], *words]
        return subprocess.run(command, cwd=self._directory, env=environment, capture_output=True, text=True, check=False, timeout=240)

    def edit(self, old: str, new: str) -> None:
        """A change of the blueprints."""
        text = (self.site / "site.yaml").read_text()
        assert old in text
        (self.site / "site.yaml").write_text(text.replace(old, new))


@pytest.fixture
def checkout(tmp_path: Path, server: ServerAddress, warm: Warm) -> Checkout:
    return Checkout(tmp_path, server.api_url, warm)


def test_a_change_is_planned_and_applied_once_and_an_invalid_one_not_at_all(checkout: Checkout) -> None:
    applied = checkout.run("apply")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert "create deployment build/ci-zone" in applied.stdout
    first = checkout.live.resolve()
    assert (first / "site.yaml").read_text() == (checkout.site / "site.yaml").read_text()

    checkout.edit("build: never", "build: {every: 1 hour}")
    planned = checkout.run("plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "update deployment build/ci-zone\n    schedule: every 1 h (UTC)\n" in planned.stdout
    assert "### plan: changes\n\n~~~~text\n" + planned.stdout.partition("\n")[2] in checkout.summary.read_text()
    assert checkout.live.resolve() == first

    again = checkout.run("apply")
    assert again.stdout.count("update deployment build/ci-zone\n") == 2, "a plan changes nothing, so it was still to be done"
    assert "nothing to change in Prefect" in checkout.run("apply").stdout

    checkout.edit("type: file", "type: fiel")
    live = checkout.live.resolve()
    invalid = checkout.run("apply")
    assert invalid.returncode == 3
    assert "site.yaml:14: type: " in invalid.stdout
    assert "validate: failed (3)" in checkout.summary.read_text()
    assert checkout.live.resolve() == live

    checkout.edit("type: fiel", "type: file")
    checkout.edit("name: ci-zone", "name: ci-renamed")
    destroying = checkout.run("apply")
    assert destroying.returncode == 14, destroying.stdout + destroying.stderr
    assert "delete deployment build/ci-zone\n" in destroying.stdout
    assert "site apply --yes; nothing was changed" in checkout.summary.read_text()
    assert checkout.live.resolve() == live
    refused = checkout.sluice("apply", "--json", site=checkout.site)
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (14, "NotConfirmedError")
    assert "delete deployment distribute/ci-zone\n" in refused.stderr
    assert checkout.sluice("plan", "--exit-code", site=checkout.site).returncode == 13
    agreed = checkout.run("apply", "--yes")
    assert agreed.returncode == 0, agreed.stdout + agreed.stderr
    assert "in Prefect 2 created, 1 updated, 2 deleted" in agreed.stdout
    assert "ci-renamed" in (checkout.live / "site.yaml").read_text()
    assert checkout.sluice("plan", "--exit-code").returncode == 0


def test_without_a_server_named_it_refuses(checkout: Checkout) -> None:
    done = checkout.run("plan", PREFECT_API_URL="")
    assert (done.returncode, "PREFECT_API_URL" in done.stderr) == (2, True)


def test_a_server_that_doesnt_answer_is_exit_code_11(checkout: Checkout) -> None:
    assert checkout.run("plan", PREFECT_API_URL="http://127.0.0.1:9/api").returncode == 11


@pytest.mark.parametrize("words", [(), ("destroy",), ("plan", "--refresh"), ("apply", "--force"), ("distribute",), ("distribute", "--all")])
def test_other_words_are_a_usage_error(checkout: Checkout, words: tuple[str, ...]) -> None:
    assert checkout.run(*words).returncode == 2


def test_a_live_site_that_is_somebodys_directory_is_left_alone(checkout: Checkout) -> None:
    checkout.live.mkdir()
    (checkout.live / "mine.yaml").write_text("")

    assert checkout.run("apply").returncode == 5
    assert [path.name for path in checkout.live.iterdir()] == ["mine.yaml"]


def test_the_workflow_calls_the_script_with_least_rights_and_one_apply_at_a_time() -> None:
    workflow = yaml.safe_load((DEPLOY / "ci/github.yml").read_text())
    plan, apply = workflow["jobs"]["plan"], workflow["jobs"]["apply"]

    assert workflow["permissions"] == {"contents": "read"}
    assert apply["concurrency"] == {"group": "sluice-apply", "cancel-in-progress": False}
    assert "head.repo.full_name == github.repository" in plan["if"]
    assert "refs/heads/main" in apply["if"]
    for job, words in ((plan, "plan"), (apply, "apply")):
        checkout_step, script, *others = job["steps"]
        assert checkout_step["uses"].startswith("actions/checkout@v")
        assert script["run"].split()[:2] == ["/usr/local/lib/sluice/deploy/ci/site", words]
        # Only the step that needs them is given them.
        assert {name for name, value in script["env"].items() if "secrets." in value} == {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING"}
        assert "secrets." not in str(workflow["env"])
        for other in others:
            assert "${{" not in other["run"], "somebody's input is no shell text"
            assert other["run"].split()[:2] == ["/usr/local/lib/sluice/deploy/ci/site", "distribute"]


SECOND = """\
---
kind: Distribution
name: ci-tools
distributor: ci-hq
type: file
channels: [ci-all]
build: never
files:
  - {{source: {source}, destination: /srv/tools}}
"""


def run_by_a_worker(checkout: Checkout, *words: str) -> str:
    """Leave a flow run to a worker of `sluice up`, and return the message of its end."""
    started = checkout.sluice(*words, "--detach", "--json")
    assert started.returncode == 0, started.stdout + started.stderr
    run = json.loads(started.stdout)["detached"][0]["url"].rpartition("/")[2]
    while True:
        with urllib.request.urlopen(f"{checkout.environment['PREFECT_API_URL']}/flow_runs/{run}", timeout=60) as answer:
            state = json.load(answer)["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return f"{state['type']}: {state['message']}"
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_workers_of_up_on_the_live_link_follow_each_release_and_a_refresh_withdraws_nothing_of_it(tmp_path: Path, warm: Warm) -> None:
    port = free_port()
    checkout = Checkout(tmp_path, f"http://127.0.0.1:{port}/api", warm)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a").write_text("a")
    del checkout.environment["SLUICE_STATE"]  # the place of the database shall be the one that the live link gives
    checkout.environment["XDG_STATE_HOME"] = str(tmp_path / "states")
    assert checkout.run("apply").returncode == 11
    assert not checkout.live.exists(), "nothing could be planned"
    assert checkout.run("apply", "--yes").returncode == 11, "no server yet, but the site is placed"
    first = checkout.live.resolve()
    assert checkout.sluice("trust", "init", "ci-hq").returncode == 0

    without_url = {k: v for k, v in checkout.environment.items() if k != "PREFECT_API_URL"} | {"SLUICE_SITE": str(checkout.live)}
    with (tmp_path / "up.log").open("w") as log:
        up = subprocess.Popen([SLUICE, "up", "--port", str(port)], cwd=tmp_path, env=without_url, stderr=log)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
            patch.delenv("SLUICE_STATE", raising=False)  # of the server that other tests share
            state = state_directory(checkout.live)
        assert first.name not in str(state)
        while not ((address := read_address(state)) and is_healthy(address.api_url)):
            assert up.poll() is None, (tmp_path / "up.log").read_text()
            time.sleep(0.2)
        assert [path.name for path in (tmp_path / "states/sluice").iterdir()] == [state.name]

        with (checkout.site / "site.yaml").open("a") as file:
            file.write(SECOND.format(source=tmp_path / "source"))
        applied = checkout.run("apply")
        assert "create deployment build/ci-tools" in applied.stdout, applied.stdout + applied.stderr
        assert checkout.live.resolve() != first

        assert run_by_a_worker(checkout, "build", "ci-tools") == "COMPLETED: built ci-tools 1.1"
        distributed = checkout.run("distribute", "ci-tools")
        assert distributed.returncode == 0, distributed.stdout + distributed.stderr
        assert "### distribute ci-tools\n" in checkout.summary.read_text()
        assert "0 objects withdrawn" in run_by_a_worker(checkout, "refresh", "ci-hq")
        assert "nothing to change in Prefect" in checkout.run("apply").stdout, "nothing that was deployed was withdrawn"
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
