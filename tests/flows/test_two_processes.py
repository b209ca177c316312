"""D9 and D10 over two real flow runs, each in a process of its own, on one Prefect server and one ledger.

Everybody arrives while ten transfers of another run have all slots; then the transfers of each wave are let through by the test, so that
no clock decides what runs beside what. What ran is read from the ledger's events.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.init import init, trust
from cli.ledgers import site_snapshot
from infra.ledger.sql import SqlLedger
from infra.orchestrator.server_address import ServerAddress
from infra.workplace import open_workplace
from sluice.blueprint import load_site
from sluice.distributor.build.record import build_recorded, sign_recorded
from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.state import Record
from sluice.model.ticket import Phase, Started, Ticket
from sluice.rules.reasons import status_rows

PROJECT = Path(__file__).parents[2]
LIMIT = 10
COUNTS = {"high": 3, "medium": 6, "low": 20}
PLATFORMS = {"high": "debian-12", "medium": "debian-11", "low": "alma-9"}
PATIENCE = 180.0
PROCESS = """
import asyncio, sys, time
from pathlib import Path
from tasks import send_session
from flows.send import send
doors, channel = Path(sys.argv[1]), sys.argv[2]
transfer = send_session.Transfer.transfer
def at_the_door(self, *arguments):
    name = self.subscriber.name
    (doors / "arrived" / name).touch()
    deadline = time.monotonic() + 240
    while not (doors / "open" / name).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return transfer(self, *arguments)
send_session.Transfer.transfer = at_the_door
print(asyncio.run(send(channel=channel, return_state=True)).message, flush=True)
"""
"""A flow run whose transfers stop at a door of their own, which the test opens."""


def hosts(priority: str) -> list[str]:
    return [f"{priority}-{number}" for number in range(COUNTS[priority])]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three Distributions of the three priorities, each for one platform; every Subscriber in one of two Channels."""
    directory = tmp_path_factory.mktemp("two") / "site"
    (directory / "files").mkdir(parents=True)
    (directory / "files" / "a").write_text("alpha")
    everybody = [(name, priority) for priority in COUNTS for name in hosts(priority)]
    documents = [f"kind: Distributor\nname: hq\nworking_directory: hq\nmax_concurrent: {LIMIT}\n"]
    documents += [
        f"kind: Subscriber\nname: {name}\naddress: local:hosts/{name}\nworking_directory: hosts/{name}/sluice\nextract: never\n"
        f"platform: {PLATFORMS[priority]}\n"
        for name, priority in everybody
    ]
    for channel, part in (("even", everybody[::2]), ("odd", everybody[1::2])):
        documents.append(f"kind: Channel\nname: {channel}\nsend: never\nsubscribers: [{', '.join(name for name, _ in part)}]\n")
    for priority, platform in PLATFORMS.items():
        documents.append(
            f"kind: Distribution\nname: {priority}\ndistributor: hq\ntype: file\nchannels: [even, odd]\npriority: {priority}\n"
            f"platforms: [{platform}]\nfiles: [{{source: files, destination: {directory}/out}}]\n"
        )
    (directory / "site.yaml").write_text("---\n".join(documents))
    agent = directory.parent / "agent"
    agent.mkdir()
    (agent / "sluice-agent").write_text(f'#!/bin/sh\ncd {PROJECT} && exec {sys.executable} -m agents.main "$@"\n')
    (agent / "sluice-agent").chmod(0o700)
    with open_workplace(directory, "hq") as work:
        work.publisher.ensure_keys(datetime.now(UTC))
        for name, _ in everybody:
            host = directory / "hosts" / name / "sluice"
            host.mkdir(parents=True, mode=0o700)
            (host / "agent").symlink_to(agent)
            work.publisher.keep_subscriber_key(name, init(host, name))
            trust(host, "hq", work.publisher.root())
        for priority in COUNTS:
            build_recorded(work, priority)
        sign_recorded(work, tuple(COUNTS))
    return directory


@pytest.fixture
def runs(site: Path, server: ServerAddress) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Both flow runs, begun."""
    doors = site.parent / "doors"
    for name in ("arrived", "open"):
        (doors / name).mkdir(parents=True)
    environment = dict(os.environ) | {"SLUICE_SITE": str(site), "PREFECT_API_URL": server.api_url, "PYTHONPATH": str(PROJECT)}
    with ExitStack() as stack:
        begun = {
            channel: stack.enter_context(
                subprocess.Popen([sys.executable, "-c", PROCESS, str(doors), channel], env=environment, stdout=subprocess.PIPE, text=True)
            )
            for channel in ("even", "odd")
        }
        try:
            yield begun
        finally:
            for process in begun.values():
                process.kill()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def phases(ledger: SqlLedger) -> Mapping[str, Phase]:
    return {t.subscriber: t.phase for t in ledger.snapshot().tickets if t.holder != "dam"}


def dam(ledger: SqlLedger) -> list[Ticket]:
    """Ten transfers of another run of this sender: every slot is taken."""
    found = []
    now = datetime.now(UTC)
    for number in range(LIMIT):
        ticket = ledger.enqueue(
            "hq", Assignment(f"dam-{number}", "high", RevisionNumber(1, 1), priority=Priority.HIGH), "dam", lease_seconds=3600, now=now
        )
        assert isinstance(ticket, Ticket)
        found.append(ticket)
    numbers = {t.number for t in found}
    turn = ledger.take_turns("hq", numbers, numbers, lambda _: Record(Event(now, EventKind.SEND_STARTED)), limit=LIMIT, now=now)
    assert all(isinstance(turn.verdicts[number], Started) for number in numbers)
    return found


def test_limit_ten_with_three_high_six_medium_and_twenty_low_goes_three_six_ten_ten_over_two_flow_runs(
    site: Path, runs: dict[str, subprocess.Popen[str]]
) -> None:
    doors = site.parent / "doors"
    with open_workplace(site, "hq") as work:
        ledger = work.ledger
        assert isinstance(ledger, SqlLedger)
        before = ledger.events(limit=100_000)[-1].number
        holding = dam(ledger)
        until(lambda: list(phases(ledger).values()) == [Phase.READY] * 29, "all hosts have answered")
        loaded = load_site(site)
        rows = status_rows(loaded, site_snapshot(loaded), datetime.now(UTC))
        reasons = {row.subscriber: row.reason for row in rows if row.subscriber.startswith(f"{row.distribution}-")}
        assert reasons["low-0"] == "waiting: priority low goes after the higher ones of hq: 10 running and 9 waiting"
        assert [reason for reason in reasons.values() if not reason.startswith("waiting: ")] == []
        for ticket in holding:
            ledger.finish(ticket)
        waves = []
        gone: set[str] = set()
        for size in (3, 6, 10, 10):
            wanted = len(gone) + size
            until(lambda wanted=wanted: len(os.listdir(doors / "arrived")) == wanted, f"{size} more arrive")  # type: ignore[misc]
            wave = set(os.listdir(doors / "arrived")) - gone
            waves.append(sorted({name.split("-")[0] for name in wave}))
            assert {name for name, phase in phases(ledger).items() if phase is Phase.RUNNING} == wave
            gone |= wave
            for name in wave:
                (doors / "open" / name).touch()
        assert waves == [["high"], ["medium"], ["low"], ["low"]]
        for channel, process in runs.items():
            output, _ = process.communicate(timeout=PATIENCE)
            assert f"send {channel}: 15 of 15" in output or f"send {channel}: 14 of 14" in output, output
        happened = [e.event for e in ledger.events(after=before, limit=100_000)]
    running: set[str] = set()
    most = dict.fromkeys(COUNTS, 0)
    holders = set()
    for event in happened:
        if event.kind is EventKind.SEND_STARTED and event.subscriber:
            holders.add(event.flow_run)
            running.add(event.subscriber)
            assert {name.split("-")[0] for name in running} == {event.distribution}, "priorities never mix"
            most[event.distribution] = max(most[event.distribution], len(running))
        elif event.kind is EventKind.SENT:
            running.remove(event.subscriber)
    assert most == {"high": 3, "medium": 6, "low": LIMIT}
    assert len(holders) == 2
    assert not {EventKind.SEND_PAUSED, EventKind.SEND_FAILED, EventKind.LEASE_EXPIRED} & {event.kind for event in happened}
