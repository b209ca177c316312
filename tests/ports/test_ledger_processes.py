"""The ledger under real processes: begun at once, writing at once, killed in a write."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
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
from pathlib import Path
from infra.ledger.sql import open_ledger
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.state import Event, EventKind
from sluice.model.ticket import Phase, Started
path, name = Path(sys.argv[1]), sys.argv[2]
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
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes on one ledger, ready to begin."""
    begun: list[Process] = []

    def start_all(script: str, count: int) -> list[Process]:
        command = [sys.executable, "-c", PREAMBLE + script, str(tmp_path / "ledger.db")]
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


def test_never_more_than_the_limit_run_over_all_processes_and_each_pair_once(start: Start) -> None:
    processes = start(
        """
ledger = open_ledger(path)
mine = []
for host in range(12):  # every process wants all of them: the same send started three times
    entered = ledger.enqueue("hq", f"host-{host}", "zone", RevisionNumber(1, 1), Priority.MEDIUM, name, lease_seconds=3600, now=NOW)
    if hasattr(entered, "number"):
        mine.append(entered)
while mine:
    for ticket in list(mine):
        if isinstance(ledger.try_start(ticket, limit=3, lease_seconds=3600, now=NOW), Started):
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


def test_killed_inside_a_transaction_nothing_of_it_is_seen_and_the_next_writes_at_once(start: Start, tmp_path: Path) -> None:
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
    ledger = open_ledger(tmp_path / "ledger.db", busy_seconds=0, tries=1)
    assert list(ledger.events()) == []
    assert ledger.state("a", "zone") == CurrentState("a", "zone")
    assert ledger.next_sequence("hq", "a") == 1


@pytest.mark.parametrize("after", [3, 10, 17])
def test_killed_while_it_writes_event_and_state_agree_and_what_was_said_is_kept(start: Start, tmp_path: Path, after: int) -> None:
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
    ledger = open_ledger(tmp_path / "ledger.db")
    for name in ("run-0", "run-1"):
        assert len(ledger.events(subscriber=name, limit=100_000)) == ledger.state(name, "zone").bytes_sent
    assert ledger.state("run-0", "zone").bytes_sent in (said, said + 1)


@pytest.mark.parametrize(("call", "when"), [("pwrite64", 3), ("fdatasync", 2), ("pwrite64", 8), ("pwrite64", 9), ("unlink", 1)])
def test_killed_at_a_system_call_of_a_commit_the_next_opener_rolls_back_and_no_number_is_given_twice(
    tmp_path: Path, real_part: Callable[[str], Path], call: str, when: int
) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path)
    assert ledger.next_sequence("hq", "a") == 1
    script = "import sys; from infra.ledger.sql import open_ledger; open_ledger(sys.argv[1]).next_sequence('hq', 'a')"
    watched = ["-P", str(path), "-P", f"{path}-journal"]
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
    killed = subprocess.run(
        [str(real_part("strace")), "-f", "-qq", "-o", "/dev/null", *watched, *inject, sys.executable, "-c", script, str(path)], cwd=ROOT
    )
    assert killed.returncode != 0, "it was killed in the commit"
    assert ledger.receipt("hq", "a", 1) is None, "a reader comes first"
    assert ledger.next_sequence("hq", "a") == 2, "what was never said may be given"
    assert not Path(f"{path}-journal").exists()
