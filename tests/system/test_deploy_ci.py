"""The scripts that a site's CI runs, and the workflows that call them, against a real Prefect server and a bare Git repository."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.orchestrator.server_address import ServerAddress, is_healthy, read_address, state_directory
from tests.system.production import DEPLOY
from tests.system.sshd import free_port
from tests.system.typed import SLUICE
from tests.system.warm import Warm

SCRIPT = DEPLOY / "ci" / "site"
INSTALLED = "/usr/local/lib/sluice/deploy/ci"
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


def git(directory: Path, *words: str) -> str:
    """Run Git with nobody's settings, and return its output."""
    known = {"PATH": os.defpath, "HOME": str(directory), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = {f"GIT_{role}_{name}": f"{name}@example.org" for role in ("AUTHOR", "COMMITTER") for name in ("NAME", "EMAIL")}
    command = ["git", "-c", "init.defaultBranch=main", *words]
    return subprocess.run(command, cwd=directory, env=known | who, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


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
        git(directory, "init", "-q")
        self.commit()

    def commit(self) -> None:
        git(self._directory, "add", "blueprints")
        git(self._directory, "commit", "-q", "-m", "A change")

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
        """A commit that changes the blueprints."""
        text = (self.site / "site.yaml").read_text()
        assert old in text
        (self.site / "site.yaml").write_text(text.replace(old, new))
        self.commit()


@pytest.fixture
def checkout(tmp_path: Path, server: ServerAddress, warm: Warm) -> Checkout:
    return Checkout(tmp_path, server.api_url, warm)


def test_a_reviewed_change_is_applied_once_an_invalid_or_uncommitted_one_not_at_all_and_deletions_by_their_plan(checkout: Checkout) -> None:
    applied = checkout.run("apply", "--yes")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert "create deployment build/ci-zone" in applied.stdout
    first = checkout.live.resolve()
    assert (first / "site.yaml").read_text() == (checkout.site / "site.yaml").read_text()
    assert "nothing to change in Prefect" in checkout.run("apply").stdout, "where nothing changes there is nothing to review"

    checkout.edit("build: never", "build: {every: 1 hour}")
    planned = checkout.run("plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "update deployment build/ci-zone\n    schedule: every 1 h (UTC)\n" in planned.stdout
    assert "### Sluice: in Prefect 3 to update\n" in checkout.summary.read_text()
    assert "! update deployment build/ci-zone\n      schedule: every 1 h (UTC)\n" in checkout.summary.read_text()
    live = checkout.live.resolve()

    again = checkout.run("apply")
    assert again.stdout.count("update deployment build/ci-zone\n") == 2, "a plan changes nothing, so it was still to be done"
    assert live != checkout.live.resolve()
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
    (checkout.site / "more.yaml").write_text("")
    uncommitted = checkout.run("apply")
    assert (uncommitted.returncode, "?? blueprints/more.yaml\n" in uncommitted.stderr) == (5, True)
    (checkout.site / "more.yaml").unlink()
    unreviewed = checkout.run("apply")
    assert unreviewed.returncode == 15, unreviewed.stdout + unreviewed.stderr
    assert "delete deployment build/ci-zone\n" in unreviewed.stdout
    assert "no plan of this site was reviewed; nothing was changed" in checkout.summary.read_text()
    assert checkout.live.resolve() == live
    refused = checkout.sluice("apply", "--json", site=checkout.site)
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (14, "NotConfirmedError")
    assert "delete deployment distribute/ci-zone\n" in refused.stderr
    assert checkout.sluice("plan", "--exit-code", site=checkout.site).returncode == 13
    digest = unreviewed.stdout.rpartition("--plan ")[2].strip()
    agreed = checkout.run("apply", "--plan", digest)
    assert agreed.returncode == 0, agreed.stdout + agreed.stderr
    assert "in Prefect 2 created, 1 updated, 2 deleted" in agreed.stdout
    assert "ci-renamed" in (checkout.live / "site.yaml").read_text()
    assert checkout.sluice("plan", "--exit-code").returncode == 0


def test_without_a_server_named_it_refuses(checkout: Checkout) -> None:
    done = checkout.run("plan", PREFECT_API_URL="")
    assert (done.returncode, "PREFECT_API_URL" in done.stderr) == (2, True)


def test_a_server_that_doesnt_answer_is_exit_code_11(checkout: Checkout) -> None:
    assert checkout.run("plan", PREFECT_API_URL="http://127.0.0.1:9/api").returncode == 11


@pytest.mark.parametrize(
    "line",
    [
        *("", "destroy", "plan --refresh", "plan --plan ab", "apply --force", "apply ab", "apply --plan", "apply --plan ../x"),
        *("apply --plan ab --yes", "apply --distribute", "apply --distribute --all"),
    ],
)
def test_other_words_are_a_usage_error(checkout: Checkout, line: str) -> None:
    done = checkout.run(*line.split())
    assert (done.returncode, done.stderr[:11]) == (2, "usage: site")


def test_without_a_place_for_plans_it_refuses(checkout: Checkout) -> None:
    assert checkout.run("apply", SLUICE_LIVE_SITE="").returncode == 2


def test_a_live_site_that_is_somebodys_directory_is_left_alone(checkout: Checkout) -> None:
    checkout.live.mkdir()
    (checkout.live / "mine.yaml").write_text("")

    assert checkout.run("apply").returncode == 5
    assert [path.name for path in checkout.live.iterdir()] == ["mine.yaml"]


class Service:
    """A CI service: a bare repository, the jobs of a workflow in fresh checkouts of it, and an API that takes comments."""

    token = "t0ken-of-the-service"

    def __init__(self, name: str, directory: Path, given: Mapping[str, str]) -> None:
        self.name, self._directory, self._given = name, directory, given
        self.workflow = yaml.safe_load((DEPLOY / f"ci/{name}.yml").read_text())
        self.posts: list[tuple[str, Any, str]] = []
        """Path, headers and body of each comment."""
        self._api = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._api.serve_forever, daemon=True).start()
        git(directory, "init", "-q", "--bare", "site.git")
        git(directory, "clone", "-q", "site.git", "author")
        self.author = directory / "author"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                posts.append((self.path, self.headers, body["body"]))
                self.send_response(201)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def close(self) -> None:
        self._api.shutdown()
        self._api.server_close()

    def job(self, job: str, ref: str, **typed: str) -> tuple[int, str]:
        """Run a job on a commit; return its exit code, and all that its log shows."""
        checkout = self._directory / f"{job}-{time.monotonic_ns()}"
        git(self._directory, "clone", "-q", "site.git", checkout.name)
        git(checkout, "checkout", "-q", "--detach", git(self.author, "rev-parse", ref))
        log = ""
        for script, environment in (self._github if self.name == "github" else self._gitlab)(job, typed):
            command = ["bash", "-e", "-o", "pipefail", "-c", script.replace(INSTALLED, str(DEPLOY / "ci"))]
            done = subprocess.run(
                command, cwd=checkout, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=240
            )
            log += done.stdout.decode()
            if done.returncode:
                return done.returncode, log
        return 0, log

    def _github(self, job: str, typed: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
        given = self._given | {"SLUICE_LEDGER": ""}
        values = {f"{kind}.{name}": value for kind in ("vars", "secrets") for name, value in given.items()}
        values |= {"github.token": self.token, "github.event.pull_request.number": "7", "runner.temp": str(self._directory)}
        values |= {f"inputs.{name}": typed.get(name, "") for name in ("plan", "distribute")}
        values |= {f"inputs.{name} && 'yes' || ''": typed.get(name, "") for name in ("unreviewed", "refresh")}
        runner = self._base() | {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": f"http://127.0.0.1:{self._api.server_port}",
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_STEP_SUMMARY": str(self._directory / "summary.md"),
        }
        for step in self.workflow["jobs"][job]["steps"]:
            if "run" in step:
                assert "${{" not in step["run"], "somebody's input is no shell text"
                declared = self.workflow["env"] | step.get("env", {})
                yield step["run"], runner | {n: re.sub(r"\$\{\{ (.*?) \}\}", lambda e: values[e[1]], v) for n, v in declared.items()}

    def _gitlab(self, job: str, typed: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
        declared = self.workflow["variables"] | self.workflow[job].get("variables", {})
        runner = {
            "CI_API_V4_URL": f"http://127.0.0.1:{self._api.server_port}",
            "CI_PROJECT_ID": "5",
            "CI_MERGE_REQUEST_IID": "7",
            "SLUICE_GITLAB_TOKEN": self.token,
        }
        yield (
            "\n".join(self.workflow[job]["script"]),
            self._base() | runner | self._given | declared | {n.upper(): v for n, v in typed.items()},
        )

    def _base(self) -> dict[str, str]:
        return {name: self._given[name] for name in ("PATH", "HOME", "SLUICE", "SLUICE_STATE", "PREFECT_HOME")}


@pytest.fixture
def serve(tmp_path: Path, server: ServerAddress, warm: Warm) -> Iterator[Callable[[str], Service]]:
    opened: list[Service] = []

    def start(name: str) -> Service:
        given = {
            "PATH": os.defpath,
            "HOME": str(tmp_path),
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT_API_URL": server.api_url,
            "PREFECT_API_AUTH_STRING": "",
            "SLUICE": str(warm.program),
            "SLUICE_STATE": str(tmp_path / "state"),
            "SLUICE_LIVE_SITE": str(tmp_path / "live"),
        }
        opened.append(Service(name, tmp_path, given))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def push(author: Path, branch: str, text: str) -> None:
    """Commit a site on a branch, and push that."""
    (author / "blueprints").mkdir(exist_ok=True)
    (author / "blueprints/site.yaml").write_text(text)
    git(author, "checkout", "-q", "-B", branch)
    git(author, "add", "-A")
    git(author, "commit", "-q", "-m", "A change")
    git(author, "push", "-q", "-f", "origin", branch)


def merge(author: Path, branch: str) -> None:
    git(author, "checkout", "-q", "main")
    git(author, "merge", "-q", "--no-ff", "-m", "Merged", branch)
    git(author, "push", "-q", "origin", "main")


HOSTILE = "$(touch${IFS}pwned)"
"""A branch, and a file."""
DESCRIPTION = f"{'x' * 70} ::add-mask::a {'y' * 70} ``` </pre><script>"
"""In a plan its second line would be a command to GitHub's runner."""


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_a_proposal_is_planned_in_a_comment_merged_and_applied(name: str, serve: Callable[[str], Service], tmp_path: Path) -> None:
    service, live = serve(name), tmp_path / "live"
    site = SITE.format(work=tmp_path / "work", source=tmp_path / "source").replace("ci-", f"{name}-")
    push(service.author, "main", site)
    code, log = service.job("apply", "main")
    assert (code, live.exists()) == (15, False), log
    code, log = service.job("apply", "main", plan=log.rpartition("--plan ")[2][:64])
    assert code == 0, log
    before = live.resolve(strict=True)

    (tmp_path / "victim").write_text("whole")
    (service.author / "sluice-plan.md").symlink_to(tmp_path / "victim")
    (service.author / "blueprints").joinpath(f"{HOSTILE}\n::error::forged").write_text("")
    push(service.author, HOSTILE, site.replace("build: never", f"build: {{every: 1 hour}}\ndescription: '{DESCRIPTION}'"))
    code, log = service.job("plan", HOSTILE)
    assert code == 0, log
    assert live.resolve() == before
    assert (tmp_path / "victim").read_text() == "whole"
    assert not list(tmp_path.rglob("pwned"))
    assert service.token not in log
    if name == "github":
        begun = re.search(r"^::stop-commands::(\w{32})\n", log, re.MULTILINE)
        assert begun, log
        assert begun.end() < log.index("\n        ::add-mask::a\n") < log.index(f"\n::{begun[1]}::\n")
    ((path, headers, body),) = service.posts
    assert path == {"github": "/repos/o/r/issues/7/comments", "gitlab": "/projects/5/merge_requests/7/notes"}[name]
    assert {"github": headers["Authorization"], "gitlab": headers["PRIVATE-TOKEN"]}[name].split()[-1] == service.token
    comment = re.fullmatch(r"### Sluice: in Prefect \d to update\n\n(````)diff\n(.*)\n\1\n\nPlan `[0-9a-f]{64}`\n", body, re.DOTALL)
    assert comment, body
    assert f"! update deployment build/{name}-zone\n" in comment[2]
    assert "``` </pre><script>" in comment[2]

    merge(service.author, HOSTILE)
    code, log = service.job("apply", "main")
    assert code == 0, log
    assert f"update deployment build/{name}-zone\n" in log
    assert "1 hour" in (live / "site.yaml").read_text()


def test_a_plan_that_isnt_the_reviewed_one_is_refused_before_anything_is_placed(checkout: Checkout, tmp_path: Path) -> None:
    for text in checkout.site.iterdir():
        text.write_text(text.read_text().replace("ci-", "stale-"))
    checkout.commit()
    assert checkout.run("apply", "--yes").returncode == 0
    checkout.edit("build: never", "build: {every: 2 hours}")
    assert checkout.run("plan").returncode == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "site.yaml").write_text((checkout.site / "site.yaml").read_text().replace("2 hours", "3 hours"))
    assert checkout.sluice("apply", site=other).returncode == 0, "somebody changes Prefect meanwhile"
    live = checkout.live.resolve()
    refused = checkout.run("apply")
    assert (refused.returncode, checkout.live.resolve()) == (15, live), refused.stdout
    assert "    schedule: every 3 h (UTC) -> every 2 h (UTC)\n" in refused.stdout
    assert re.search(r"doesn't say what would be done now: .*update deployment build/stale-zone \([a-z, ]*schedules", refused.stdout)
    assert "this isn't the plan that was reviewed; nothing was changed" in checkout.summary.read_text()
    assert checkout.sluice("plan", "--exit-code", site=other).returncode == 0, "nothing was changed in Prefect either"


def test_without_a_token_the_plan_is_the_artifact(tmp_path: Path) -> None:
    environment = {"PATH": os.defpath, "CI_API_V4_URL": "http://127.0.0.1:9", "CI_PROJECT_ID": "5", "CI_MERGE_REQUEST_IID": "7"}
    command = [DEPLOY / "ci/comment", "plan.md"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "comment: no token, no comment: the plan is in plan.md\n"


def test_the_workflows_have_least_rights_and_one_apply_at_a_time() -> None:
    github = yaml.safe_load((DEPLOY / "ci/github.yml").read_text())
    plan, apply = github["jobs"]["plan"], github["jobs"]["apply"]
    assert github["permissions"] == {"contents": "read"}
    assert (plan["permissions"], "permissions" in apply) == ({"contents": "read", "pull-requests": "write"}, False)
    assert apply["concurrency"] == {"group": "sluice-apply", "cancel-in-progress": False}
    assert "head.repo.full_name == github.repository" in plan["if"]
    assert "refs/heads/main" in apply["if"]
    assert "secrets." not in str(github["env"])
    prefect = {"secrets.PREFECT_API_URL", "secrets.PREFECT_API_AUTH_STRING"}
    for job, expected in ((plan, [prefect, {"github.token"}]), (apply, [prefect])):
        checkout_step, *scripts = job["steps"]
        assert checkout_step["uses"].startswith("actions/checkout@v")
        # Only the step that needs them is given them.
        assert [set(re.findall(r"secrets\.\w+|github\.token", str(step["env"]))) for step in scripts] == expected

    gitlab = yaml.safe_load((DEPLOY / "ci/gitlab.yml").read_text())
    assert (gitlab["apply"]["resource_group"], gitlab["apply"]["interruptible"]) == ("sluice-apply", False)
    assert gitlab["plan"]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}]
    assert "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH" in gitlab["apply"]["rules"][0]["if"]
    assert gitlab["plan"]["artifacts"]["paths"] == [gitlab["plan"]["variables"]["SLUICE_COMMENT"]]


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
        checkout.commit()
        applied = checkout.run("apply", "--yes")
        assert "create deployment build/ci-tools" in applied.stdout, applied.stdout + applied.stderr
        assert checkout.live.resolve() != first

        assert run_by_a_worker(checkout, "build", "ci-tools") == "COMPLETED: built ci-tools 1.1"
        assert "0 objects withdrawn" in run_by_a_worker(checkout, "refresh", "ci-hq")
        distributed = checkout.run("apply", "--distribute", "ci-tools")
        assert distributed.returncode == 0, distributed.stdout + distributed.stderr
        assert "nothing to change in Prefect" in distributed.stdout, "nothing that was deployed was withdrawn"
        assert "### distribute\n" in checkout.summary.read_text()
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
