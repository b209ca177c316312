"""The ledger under real processes: begun at once, writing at once, killed in a write."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.ledger.sql import open_ledger
from sluice.model.state import CurrentState

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 12, 1, tzinfo=UTC)

PREAMBLE = """
import sys, time
from dataclasses import replace
from datetime import UTC, datetime
from infra.ledger.sql import open_ledger
from sluice.model.assignment import Assignment
from sluice.model.revision import RevisionNumber
from sluice.model.event import Event, EventKind
from sluice.model.state import Record
from sluice.model.ticket import Phase, Started
path, name = sys.argv[1:]
NOW = datetime(2026, 12, 1, tzinfo=UTC)
def say(*words):
    print(*words, flush=True)
say("ready")
sys.stdin.readline()
"""
"""Each process says that it is ready, then begins when it is told: all at once."""

Process = subprocess.Popen[str]
Start = Callable[[str, int], list[Process]]


@pytest.fixture
def start(place: str) -> Iterator[Start]:
    """Starts processes on one ledger, ready to begin."""
    begun: list[Process] = []

    def start_all(script: str, count: int) -> list[Process]:
        command = [sys.executable, "-c", PREAMBLE + script, place]
        pipe = subprocess.PIPE
        found = [subprocess.Popen([*command, f"run-{n}"], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for n in range(count)]
        begun.extend(found)
        for process in found:
            assert line(process) == "ready"
        return found

    yield start_all
    for process in begun:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def line(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def begin(processes: list[Process]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def finish(processes: list[Process]) -> list[list[str]]:
    found = []
    for process in processes:
        assert process.stdout is not None
        found.append(process.stdout.read().split())
        assert process.wait() == 0
    return found


@pytest.mark.slow
def test_processes_that_start_at_once_make_one_ledger_and_share_its_sequences(start: Start) -> None:
    processes = start(
        """
ledger = open_ledger(path)
for _ in range(40):
    say(ledger.next_sequence("hq", "helsinki-1"))
""",
        4,
    )
    begin(processes)
    found = [[int(word) for word in words] for words in finish(processes)]
    assert sorted(n for numbers in found for n in numbers) == list(range(1, 161))
    assert all(numbers == sorted(numbers) for numbers in found)


@pytest.mark.slow
def test_never_more_than_the_limit_run_over_all_processes_and_each_pair_once(start: Start) -> None:
    processes = start(
        """
ledger = open_ledger(path)
mine = []
for host in range(12):  # every process wants all of them: the same send started three times
    entered = ledger.enqueue("hq", Assignment(f"host-{host}", "zone", RevisionNumber(1, 1)), name, lease_seconds=3600, now=NOW)
    if hasattr(entered, "number"):
        mine.append(entered)
while mine:
    for ticket in list(mine):
        numbers, event = [t.number for t in mine], Event(NOW, EventKind.SEND_STARTED, distribution="zone", subscriber=ticket.subscriber)
        turn = ledger.take_turns("hq", numbers, [ticket.number], lambda _: Record(event), limit=3, now=NOW)
        if isinstance(turn.verdicts[ticket.number], Started):
            running = [t for t in ledger.snapshot().tickets if t.phase is Phase.RUNNING]
            say(f"{ticket.subscriber}:{len(running)}")
            ledger.record(Event(NOW, EventKind.SENT, distribution="zone", subscriber=ticket.subscriber, flow_run=name))
            mine.remove(ticket)
            ledger.finish(ticket)
    time.sleep(0.01)
""",
        3,
    )
    begin(processes)
    found = [word.split(":") for words in finish(processes) for word in words]
    assert {host for host, _ in found} == {f"host-{n}" for n in range(12)}
    assert all(1 <= int(running) <= 3 for _, running in found)


def test_killed_inside_a_transaction_nothing_of_it_is_seen_and_the_next_writes_at_once(start: Start, place: str) -> None:
    (process,) = start(
        """
def stuck(state):
    say("inside")
    sys.stdin.readline()
    return state
open_ledger(path).record(Event(NOW, EventKind.SENT, distribution="zone", subscriber="a"), stuck)
""",
        1,
    )
    begin([process])
    assert line(process) == "inside"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with closing(open_ledger(place)) as ledger:
        assert list(ledger.events()) == []
        assert ledger.state("a", "zone") == CurrentState("a", "zone")
        assert ledger.next_sequence("hq", "a") == 1


@pytest.mark.slow
@pytest.mark.parametrize("after", [3, 17])
def test_killed_while_it_writes_event_and_state_agree_and_what_was_said_is_kept(start: Start, place: str, after: int) -> None:
    victim, other = start(
        """
ledger = open_ledger(path)
for n in range(1_000_000):
    ledger.record(Event(NOW, EventKind.SENT, distribution="zone", subscriber=name), lambda s: replace(s, bytes_sent=s.bytes_sent + 1))
    say(n + 1)
    if name == "run-1" and n == 60:
        break
""",
        2,
    )
    begin([victim, other])
    said = 0
    while said < after:
        said = int(line(victim))
    victim.send_signal(signal.SIGKILL)
    rest = finish([other])
    assert victim.stdout is not None
    said = max([said, *(int(word) for word in victim.stdout.read().split("\n")[:-1])])
    assert rest[0][-1] == "61"
    with closing(open_ledger(place)) as ledger:
        for name in ("run-0", "run-1"):
            assert len(ledger.events(subscriber=name, limit=100_000)) == ledger.state(name, "zone").bytes_sent
        assert ledger.state("run-0", "zone").bytes_sent in (said, said + 1)


ONE_NUMBER = """
import os, sys
from infra.ledger.sql import open_ledger
os.write(1, str(open_ledger(sys.argv[1]).next_sequence("hq", "a")).encode())
"""


def traced(strace: Path, path: Path, *more: str) -> subprocess.CompletedProcess[bytes]:
    """One number given by another process, its writes and syncs of the ledger's files recorded or disturbed."""
    watched = ["-P", str(path), "-P", f"{path}-journal"]
    command = [str(strace), "-f", "-qq", *watched, *more, sys.executable, "-c", ONE_NUMBER, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)


def commit_of(strace: Path, path: Path, record: Path) -> list[tuple[str, bool, bool]]:
    """The writes and syncs of one commit, in order: call, whether on the journal, whether it zeroes the journal's header."""
    traced(strace, path, "-y", "-X", "raw", "-o", str(record), "-e", "trace=pwrite64,fdatasync")
    zeroes = '"' + 28 * r"\0" + '", 28, 0)'
    return [
        (line.split("(")[0].split()[-1], "-journal>" in line, zeroes in line)
        for line in record.read_text().splitlines()
        if str(path) in line
    ]


def test_a_commit_ends_with_the_journals_header_zeroed_and_synced(tmp_path: Path, real_part: Callable[[str], Path]) -> None:
    path = tmp_path / "ledger.db"
    open_ledger(path).next_sequence("hq", "a")
    calls = commit_of(real_part("strace"), path, tmp_path / "calls")
    first_in_place = calls.index(("pwrite64", False, False))
    assert calls[first_in_place - 1] == ("fdatasync", True, False), "the journal is durable before the database is touched"
    assert calls[-3:] == [("fdatasync", False, False), ("pwrite64", True, True), ("fdatasync", True, False)]
    assert [zeroes for _, _, zeroes in calls].count(True) == 1, "nothing else ends it earlier"


@pytest.mark.parametrize(
    ("call", "where"), [("pwrite64", 0.2), ("fdatasync", 0.4), ("pwrite64", 0.8), ("pwrite64", 0.9), ("pwrite64", 1.0), ("fdatasync", 0.8)]
)
def test_killed_at_a_system_call_of_a_commit_the_next_opener_rolls_back_and_no_number_is_given_twice(
    tmp_path: Path, real_part: Callable[[str], Path], call: str, where: float
) -> None:
    path = tmp_path / "ledger.db"
    ledger, strace = open_ledger(path), real_part("strace")
    assert ledger.next_sequence("hq", "a") == 1
    calls = [name for name, _, _ in commit_of(strace, path, tmp_path / "calls")]
    when = max(1, round(calls.count(call) * where))
    killed = traced(strace, path, "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}")
    assert (killed.returncode, killed.stdout) != (0, b"3"), "it was killed in the commit"
    assert killed.stdout == b""
    assert ledger.receipt("hq", "a", 1) is None, "a reader comes first"
    assert ledger.next_sequence("hq", "a") == 3, "what was never said may be given"
