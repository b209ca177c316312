"""The dry run of what has actions: hosts that answer say what these would meet, the others are named, and nothing fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.init import init, trust
from infra.workplace import workplace_in
from sluice.blueprint import load_site
from sluice.distributor.build.build import build
from sluice.model.event import Event, EventKind
from sluice.model.revision import RevisionNumber
from sluice.trust.publish import Publisher
from tests.cli.conftest import Sluice
from tests.subscriber.programs import Programs

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path / "programs")
    yield made
    made.end()


@pytest.fixture
def near(site: Path) -> Path:
    """The Subscriber ``near`` with an agent out of this checkout; ``far`` has none."""
    work = site / "var/near/sluice"
    work.mkdir(parents=True, mode=0o700)
    publisher = Publisher(site / "var/hq", distributor="hq")
    publisher.ensure_keys(datetime.now(UTC))
    publisher.keep_subscriber_key("near", init(work, "near"))
    trust(work, "hq", publisher.root())
    launcher = work / "agent/sluice-agent"
    launcher.parent.mkdir()
    code = "import sys; from agents.main import main; sys.exit(main())"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {sys.executable} -c "{code}" "$@"\n')
    launcher.chmod(0o700)
    return work


@pytest.mark.slow
def test_distribute_says_what_its_actions_would_meet(sluice: Sluice, site: Path, near: Path, programs: Programs) -> None:
    pid = programs.start_script(programs.script())
    path = site / "site.yaml"
    stop = f"pre_actions: [{{stop_process: {{name: {programs.name}, wait: true, undo: none}}}}]\n"
    start = f"post_actions: [{{start_process: {{path: {programs.directory}/missing}}}}]\n"
    path.write_text(path.read_text().replace("build: {every: 1 hour}\n", f"build: {{every: 1 hour}}\n{stop}{start}"))

    found = sluice("distribute", "zone", "--dry-run", "--json").json
    assert [(row["subscriber"], row["phase"], row["number"], row["pids"], row["count"]) for row in found["actions"]] == [
        ("near", "pre", 1, [pid], 1),
        ("near", "post", 1, [], 0),
    ]
    assert (found["actions"][0]["problem"], found["actions"][0]["action"]) == ("", f"stop process {programs.name}")
    assert "is no file on this Subscriber" in found["actions"][1]["problem"]
    assert [each["subscriber"] for each in found["unasked"]] == ["far"]

    result = sluice("distribute", "zone", "--dry-run")
    assert result.code == 1  # the one would fail an extraction, the other isn't reached
    lines = {tuple(line.split()[:4]): line for line in result.out.splitlines()}
    assert lines["near", "zone", "pre", "1"].endswith(f"would stop PID {pid}")
    assert "would fail: " in lines["near", "zone", "post", "1"]
    assert "far could not be asked what its actions would meet: " in result.out


def test_without_actions_nobody_is_asked_about_them(sluice: Sluice, site: Path) -> None:
    found = sluice("distribute", "zone", "--dry-run", "--json")
    assert found.json["actions"] == []
    assert [each["subscriber"] for each in found.json["unasked"]] == ["far", "near"]  # what it would change
    assert found.code == 7  # as in the run, no agent answers


@pytest.fixture
def stopping(site: Path, programs: Programs) -> str:
    """The site with a Distribution whose actions stop a program."""
    path = site / "site.yaml"
    stop = f"pre_actions: [{{stop_process: {{name: {programs.name}, wait: true, undo: none}}}}]\n"
    path.write_text(path.read_text().replace("build: {every: 1 hour}\n", f"build: {{every: 1 hour}}\n{stop}"))
    return programs.name


@pytest.mark.slow
def test_send_asks_those_that_would_extract_at_once(sluice: Sluice, site: Path, near: Path, stopping: str) -> None:
    with workplace_in(load_site(site), "hq") as work:
        build(work.site.distribution("zone"), store=work.store, source=work.source)
    found = sluice("send", "zone", "--to", "near", "--dry-run", "--json").json
    assert [(row["action"], row["count"]) for row in found["actions"]] == [(f"stop process {stopping}", 0)]
    assert "none runs" in sluice("send", "zone", "--to", "near", "--dry-run").out
    # Where extraction has a schedule of its own, nothing would run now.
    path = site / "site.yaml"
    path.write_text(path.read_text().replace("name: near\n", "name: near\nextract: never\n", 1))
    assert sluice("send", "zone", "--to", "near", "--dry-run", "--json").json["actions"] == []


@pytest.mark.slow
def test_what_a_host_says_it_does_not_hold_is_not_foretold_and_believed_no_more(
    sluice: Sluice, site: Path, near: Path, stopping: str
) -> None:
    at = datetime.now(UTC)
    with workplace_in(load_site(site), "hq") as work:
        revision = RevisionNumber(1, 1)
        event = Event(at, EventKind.SENT, "hq", "zone", revision, "near", "daily")
        work.ledger.record(event, lambda state: state.offer(revision, distributor="hq", channel="daily", at=at))
        work.ledger.record(event, lambda state: state.mark_received(revision, sent=1, resumed=0, at=at))

    found = sluice("extract", "--dry-run", "--json").json

    assert (found["extract"], found["actions"]) == ([], [])
    assert "its agent didn't hold 1.1, which had been received" in found["doubted"][0]
    again = sluice("extract", "near", "--dry-run").out
    assert again == f"no Subscriber holds a revision that it has not extracted\nwould not be extracted: {found['doubted'][0]}\n"
    assert "its agent didn't hold 1.1, which had been received" in sluice("why", "near", "zone").out


@pytest.mark.parametrize(
    "change", [("name: far\n", "name: far\nactive: false\n"), ("platform: debian-12\nvariables", "platform: alma-9\nvariables")]
)
def test_who_is_inactive_or_of_another_platform_is_not_asked(sluice: Sluice, site: Path, stopping: str, change: tuple[str, str]) -> None:
    path = site / "site.yaml"
    before, after = path.read_text().rsplit(change[0], 1)
    path.write_text((before + change[1] + after).replace("type: file\nchannels", "type: file\nplatforms: [debian]\nchannels"))
    found = sluice("distribute", "zone", "--dry-run", "--json").json
    assert [each["subscriber"] for each in found["unasked"]] == ["near"]
