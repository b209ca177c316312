"""Over real sshd: a low transfer pauses for a high one of another flow run and goes on; killed in its pause, the next run goes on."""

import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.ledgers import site_snapshot
from infra.ledger.sql import open_ledger
from infra.workplace import open_workplace
from sluice.blueprint import load_site
from sluice.distributor.build.record import build_recorded, sign_recorded
from sluice.distributor.send_queue.watch import LEASE_SECONDS
from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.state import State
from sluice.model.ticket import Phase, Ticket
from sluice.rules.reasons import status_rows
from tests.system import between
from tests.system.lab import OpenLab, SiteLab, described, until
from tests.system.warm import Command

pytestmark = pytest.mark.timeout(480)
MIB = 1024 * 1024
SIZE = 24 * MIB
"""Of the low Distribution: more than what pipes and SSH windows hold between the sender and the agent."""
STEP_SECONDS = 0.25
"""Half of what lies between two looks at the queue."""
EXTRA = """---
kind: Channel
name: {name}
send: never
subscribers: [{host}]
---
kind: Distribution
name: {name}
distributor: hq
type: file
channels: [{name}]
priority: {priority}
files: [{{source: {source}, destination: "{{{{ DEST }}}}/{name}"}}]
"""
WAYS = {"bulk": ("oslo", "low"), "urgent": ("bergen", "high")}


class Pair:
    """A low and a high Distribution, each to a host of its own, and each held on its way by the test."""

    def __init__(self, lab: SiteLab, directory: Path) -> None:
        self.lab, self.directory = lab, directory
        self.round = 0
        text = "".join(EXTRA.format(name=n, host=h, priority=p, source=directory / n) for n, (h, p) in WAYS.items())
        (lab.site / "extra.yaml").write_text(text.removeprefix("---\n"))
        for name in WAYS:
            (directory / name).mkdir()

    def begin(self) -> Command:
        """New revisions of both; ``bulk`` is sent until ``urgent`` has come in between and its transfer is paused."""
        self.round += 1
        (self.directory / "bulk/blob").write_bytes(self._noise(SIZE))
        (self.directory / "urgent/blob").write_bytes(self._noise(6 * MIB))
        with open_workplace(self.lab.site, "hq") as work:
            for name in WAYS:
                build_recorded(work, name)
            sign_recorded(work, tuple(WAYS))
        low = self._held("bulk")
        self.high = self._held("urgent")
        # A MiB at a time: it is told within some of these blocks, and has others left.
        for more in range(MIB, SIZE, MIB):
            replace(self.hold("bulk"), str(more))
            if self.phase("oslo") is Phase.PAUSED or low.poll() is not None:
                break
            time.sleep(STEP_SECONDS)
        until(lambda: self.phase("oslo") is Phase.PAUSED or low.poll() is not None, "the low transfer is paused")
        assert low.poll() is None, self.lab.finish(low, ok=None)
        self.hold("bulk").unlink()
        return low

    def end_high(self) -> None:
        self.hold("urgent").unlink()
        self.lab.finish(self.high)

    def hold(self, name: str) -> Path:
        return self.directory / f"hold-{name}-{self.round}" / "hold"

    def phase(self, host: str) -> Phase | None:
        with closing(open_ledger(self.lab.hq / "ledger.db")) as ledger:
            return next((t.phase for t in ledger.snapshot().tickets if t.subscriber == host), None)

    def events(self, after: int) -> list[Event]:
        with closing(open_ledger(self.lab.hq / "ledger.db")) as ledger:
            return [e.event for e in ledger.events(after=after, limit=100_000)]

    def last(self) -> int:
        with closing(open_ledger(self.lab.hq / "ledger.db")) as ledger:
            return ledger.events(limit=100_000)[-1].number

    def _held(self, name: str) -> Command:
        """A send that is held in mid-transfer, on the Subscriber's side."""
        hold = self.hold(name)
        hold.parent.mkdir()
        hold.touch()
        between.install(self.lab.launcher(WAYS[name][0]), hold=str(hold), hold_at=2 * MIB)
        process = self.lab.start("send", name)
        until(lambda: hold.with_name("held").exists() or process.poll() is not None, f"{name} is under way")
        assert process.poll() is None, self.lab.finish(process, ok=None)
        return process

    def _noise(self, size: int) -> bytes:
        return random.Random(size + self.round).randbytes(size)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, open_lab: OpenLab) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("pauses")
    with open_lab(directory, "oslo", "bergen") as lab:
        yield Pair(lab, directory)


def replace(path: Path, text: str) -> None:
    """At once: who reads it sees the old text or the new."""
    path.with_name("new").write_text(text)
    path.with_name("new").rename(path)


def kinds(events: list[Event]) -> list[tuple[str, str]]:
    sends = (EventKind.SEND_STARTED, EventKind.SEND_PAUSED, EventKind.SEND_RESUMED, EventKind.SENT, EventKind.SEND_FAILED)
    return [(e.distribution, e.kind.value) for e in events if e.kind in sends]


def test_a_low_transfer_stops_at_a_block_for_a_high_one_and_goes_on_without_sending_a_byte_twice(pair: Pair) -> None:
    before = pair.last() if (pair.lab.hq / "ledger.db").exists() else 0
    low = pair.begin()
    site = load_site(pair.lab.site)
    (row,) = status_rows(site, site_snapshot(site), datetime.now(UTC), subscribers=["oslo"], distributions=["bulk"])
    assert (row.state, row.reason) == (State.WAITING, "paused: priority low goes after the higher ones of hq: 1 running")
    pair.end_high()
    pair.lab.finish(low)
    events = pair.events(before)
    assert kinds(events) == [
        ("bulk", "send started"),
        ("urgent", "send started"),
        ("bulk", "send paused"),
        ("urgent", "sent"),
        ("bulk", "send resumed"),
        ("bulk", "sent"),
    ]
    (sent,) = [e.data for e in events if e.kind is EventKind.SENT and e.distribution == "bulk"]
    assert sent["resumed"] == 0
    assert SIZE < int(str(sent["bytes"])) < SIZE * 1.01
    pair.lab.sluice("extract")
    assert described(pair.lab.hosts["oslo"].home / "bulk") == described(pair.directory / "bulk")


def test_killed_while_it_is_paused_the_next_run_goes_on_once_the_lease_is_over(pair: Pair) -> None:
    before = pair.last()
    low = pair.begin()
    low.kill()
    pair.lab.finish(low, ok=None)
    assert pair.phase("oslo") is Phase.PAUSED
    pair.end_high()
    # Another process that finds the lease over: its clock is the argument.
    late = datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS + 1)
    with closing(open_ledger(pair.lab.hq / "ledger.db")) as ledger:
        taken = ledger.enqueue(
            "hq", Assignment("oslo", "bulk", RevisionNumber(1, 1), priority=Priority.LOW), "late", lease_seconds=1, now=late
        )
        assert isinstance(taken, Ticket)
        ledger.finish(taken)
    pair.lab.sluice("send", "bulk")
    events = pair.events(before)
    (sent,) = [e.data for e in events if e.kind is EventKind.SENT and e.distribution == "bulk"]
    assert int(str(sent["resumed"])) >= 2 * MIB
    assert int(str(sent["resumed"])) + int(str(sent["bytes"])) < SIZE * 1.01
    assert [e.data["phase"] for e in events if e.kind is EventKind.LEASE_EXPIRED] == ["paused"]
    pair.lab.sluice("extract")
    assert described(pair.lab.hosts["oslo"].home / "bulk") == described(pair.directory / "bulk")
