"""What a run shows: in terminals of several sizes rewritten in place, elsewhere few plain lines; a failure once."""

from __future__ import annotations

import os
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.progress import lines_of
from demo.screen import Screen, Terminal
from sluice.distributor.deliver.under_way import Board, Step, phase_text, read_copies
from sluice.model.agent_event import AgentEvent

PROJECT = Path(__file__).parents[2]
MIB = 1 << 20
SIZES = [(80, 24), (40, 10), (200, 50)]
SCRIPT = """
import logging, sys
from pathlib import Path
from cli.progress import shown
from cli.session import out
from sluice.distributor.deliver.under_way import BOARD
log = logging.getLogger("prefect.task_runs")
log.setLevel(logging.INFO)
log.propagate = False
def tell(text, step=None, failure="", level=logging.INFO):
    record = log.makeRecord(log.name, level, str(Path("tasks") / "some.py"), 1, text, (), None, extra={"step": step, "failure": failure})
    log.handle(record)
with shown() as told:
    for line in open(sys.argv[1]):
        exec(line)
out(f"told {sorted(told)}")
"""
"""Shows the board as a command does; each line that arrives in the pipe is what happens next."""


class Run:
    """The script in a terminal."""

    def __init__(self, directory: Path, *, columns: int, rows: int, **environment: str) -> None:
        pipe = directory / "pipe"
        os.mkfifo(pipe)
        whole = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | environment
        self.terminal = Terminal([sys.executable, "-c", SCRIPT, str(pipe)], columns=columns, rows=rows, environment=whole)
        self.pipe = pipe.open("w", buffering=1)

    def happens(self, *lines: str) -> None:
        self.pipe.writelines(f"{line}\n" for line in lines)
        self.pipe.flush()

    def sees(self, *texts: str) -> Screen:
        return self.terminal.wait_for(lambda screen: all(text in screen.text for text in texts))

    def end(self) -> int:
        self.pipe.close()
        return self.terminal.end()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Run]]:
    monkeypatch.chdir(PROJECT)
    started: list[Run] = []

    def start(columns: int = 80, rows: int = 24, **environment: str) -> Run:
        started.append(Run(tmp_path, columns=columns, rows=rows, **environment))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_each_host_has_a_line_that_is_rewritten_in_place(columns: int, rows: int, run: Callable[..., Run]) -> None:
    shown = run(columns, rows)
    shown.happens(
        "oslo = BOARD.begin('zone', '1.2', 'oslo'); oslo.now('sending', 0, 100 << 20)",
        "riga = BOARD.begin('zone', '1.2', 'riga'); riga.now('waiting: 1 of 1 transfers of hq run (zone to oslo); 0 before it')",
    )
    shown.sees("oslo  sending    0 %", "riga  waiting: 1 of 1", "0 of 2 done, 1 under way, 1 waiting")
    shown.happens("oslo.now('sending', 34 << 20, 100 << 20)")
    screen = shown.sees("oslo  sending   34 %")
    assert sum("oslo  sending" in line for line in screen.lines) == 1
    assert screen.scrolled == []
    shown.happens("oslo.end = 'installed'")
    shown.sees("oslo  installed", "1 of 2 done")
    assert shown.end() == 0
    assert shown.terminal.screen.text == "told []"


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_more_hosts_than_lines_are_those_under_way_and_a_summary(columns: int, rows: int, run: Callable[..., Run]) -> None:
    shown = run(columns, rows)
    shown.happens(
        "steps = [BOARD.begin('zone', '1.2', f'host-{n:03}') for n in range(300)]",
        "for step in steps[::100]: step.now('sending', 1, 4)",
        "for step in steps[10:60]: step.end = 'installed'",
    )
    screen = shown.sees("50 of 300 done, 3 under way, 247")
    under_way = [line.split()[0] for line in screen.lines if "sending" in line]
    assert under_way == ["host-000", "host-100", "host-200"]
    assert len([line for line in screen.lines if line]) == rows - 1
    assert screen.scrolled == []


def test_a_failure_is_told_once_and_a_retry_that_fails_alike_in_its_line(run: Callable[..., Run]) -> None:
    shown = run()
    failed = "tell('oslo: retry {0} of 15 at 12:0{0}: nothing answers', oslo, 'nothing answers', logging.WARNING)"
    shown.happens("oslo = BOARD.begin('zone', '1.2', 'oslo')", failed.format(1), "oslo.now('retry 1 of 15 at 12:01')")
    shown.sees("retry 1 of 15 at 12:01: nothing answers", "oslo  retry 1 of 15 at 12:01")
    shown.happens(failed.format(2), "oslo.now('retry 2 of 15 at 12:02')")
    assert shown.sees("oslo  retry 2 of 15 at 12:02").text.count("nothing answers") == 1
    shown.happens("tell('oslo: retry 3 of 15 at 12:03: another host key', oslo, 'another host key', logging.WARNING)")
    shown.sees("another host key")
    assert shown.end() == 0
    assert shown.terminal.screen.text.endswith("told [('oslo', 'zone')]")


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"CI": "true"}, {"TERM": ""}], ids=str)
def test_elsewhere_lines_are_plain_and_few(environment: dict[str, str], run: Callable[..., Run]) -> None:
    shown = run(**environment)
    shown.happens(
        "oslo = BOARD.begin('zone', '1.2', 'oslo')",
        "tell('zone 1.2: 3 files')",
        *(f"oslo.now('sending', {number}, 100)" for number in range(100)),
        "tell('oslo: installed', oslo)",
        "tell('oslo: failed: no space', oslo, 'no space', logging.ERROR)",
        "tell('oslo: failed: no space', oslo, 'no space', logging.ERROR)",
    )
    assert shown.end() == 0
    lines = shown.terminal.screen.text.splitlines()
    told = [line.partition(" ")[2] for line in lines]
    assert told == ["zone 1.2: 3 files", "oslo: installed", "oslo: failed: no space", "oslo: failed: as before", "[('oslo', 'zone')]"]
    assert b"\x1b" not in shown.terminal.written


def test_a_window_made_narrower_loses_no_line_and_goes_on_within_it(run: Callable[..., Run]) -> None:
    shown = run(80, 24)
    shown.happens("tell('zone 1.2: 3 files')", "oslo = BOARD.begin('zone', '1.2', 'oslo'); oslo.now('waiting: ' + 60 * 'x')")
    shown.sees("zone 1.2: 3 files", 60 * "x")
    shown.terminal.resize(40, 10)
    shown.happens("oslo.now('sending', 1, 4)")
    screen = shown.sees("zone 1.2: 3 files", "oslo  sending   25 %")
    assert next(len(line) for line in screen.lines if "sending" in line) < 40
    shown.terminal.resize(200, 50)
    shown.happens("oslo.now('sending', 2, 4)")
    assert "25 %" not in shown.sees("oslo  sending   50 %").text


def test_ctrl_c_leaves_no_line_and_the_cursor(run: Callable[..., Run]) -> None:
    shown = run()
    shown.happens("oslo = BOARD.begin('zone', '1.2', 'oslo'); oslo.now('sending', 1, 4)")
    shown.sees("oslo  sending   25 %")
    shown.terminal.type(b"\x03")
    assert shown.terminal.end() == 130
    assert "sending" not in shown.terminal.screen.text
    assert b"\x1b[?25l" not in shown.terminal.written


ASK = (
    "oslo = BOARD.begin('zone', '1.2', 'oslo'); oslo.now('sending', 1, 4)",
    "from threading import Thread; from infra.transports.ssh_secrets import asked",
    "thread = Thread(target=lambda: tell(f'typed {asked(chr(63))}')); thread.start()",
)


def test_a_prompt_has_the_terminal_to_itself(run: Callable[..., Run]) -> None:
    shown = run()
    shown.happens(*ASK, "oslo.now('sending', 2, 4)")
    assert "sending" not in shown.sees("?").text
    shown.terminal.type(b"a word\n")
    screen = shown.sees("typed a word", "oslo  sending   50 %")
    assert screen.text.count("a word") == 1
    assert screen.text.count("sending") == 1


def test_nobody_waits_for_somebody_who_types(tmp_path: Path, run: Callable[..., Run]) -> None:
    shown = run()
    shown.happens(*ASK)
    shown.sees("?")
    shown.happens("tell('riga: 3 files')", f"open({str(tmp_path / 'told')!r}, 'x')")
    while not (tmp_path / "told").exists():
        time.sleep(0.01)
    shown.terminal.type(b"a word\n")
    assert shown.sees("riga: 3 files", "typed a word").text.count("riga") == 1


def test_ctrl_c_at_a_prompt_ends_the_command_and_leaves_the_terminal_as_it_was(run: Callable[..., Run]) -> None:
    shown = run()
    terminal = os.dup(shown.terminal._fd)
    before = termios.tcgetattr(terminal)
    shown.happens(*ASK)
    shown.sees("?")
    assert termios.tcgetattr(terminal) != before
    shown.terminal.type(b"half a word\x03")
    assert shown.terminal.end() == 130
    assert termios.tcgetattr(terminal) == before
    assert "half" not in shown.terminal.screen.text
    os.close(terminal)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {}], ids=str)
def test_colours_are_those_that_are_wanted(environment: dict[str, str], run: Callable[..., Run]) -> None:
    shown = run(**environment)
    shown.happens("oslo = BOARD.begin('zone', '1.2', 'oslo'); oslo.end = 'failed'; oslo.is_failed = True")
    shown.sees("oslo  failed")
    assert (b"\x1b[31m" in shown.terminal.written) is not bool(environment)


@pytest.mark.parametrize("stale", [{"COLUMNS": "200"}, {"COLUMNS": "30", "LINES": "3"}, {"COLUMNS": "0"}], ids=str)
def test_the_size_is_that_of_the_terminal_whatever_variables_say(stale: dict[str, str], run: Callable[..., Run]) -> None:
    shown = run(80, 24, **stale)
    shown.happens("oslo = BOARD.begin('zone', '1.2', 'oslo'); oslo.now('waiting: ' + 100 * 'x')")
    shown.happens("riga = BOARD.begin('zone', '1.2', 'riga'); riga.now('waiting: ' + 100 * 'y')")
    screen = shown.sees("x…", "y…", "0 of 2 done")
    assert [len(line) for line in screen.lines if "…" in line] == [79, 79]
    shown.happens("oslo.now('sending', 1, 4); riga.now('sending', 2, 4)")
    assert "waiting" not in shown.sees("oslo  sending   25 %", "riga  sending   50 %").text


@pytest.mark.parametrize("name", ["\\x1b[2J", "\\x9b2J", "\\r", "\u6f22\u5b57" * 60])
def test_what_others_say_stays_in_its_line(name: str, run: Callable[..., Run]) -> None:
    shown = run()
    shown.happens("tell('before')", f"oslo = BOARD.begin('zone', '1.2', 'oslo'); oslo.now('running {name}'); tell('said {name}')")
    shown.sees("before", "said", "oslo  running")
    shown.happens("oslo.now('sending', 1, 4)")
    screen = shown.sees("before", "oslo  sending   25 %")
    assert sum("oslo" in line for line in screen.lines) == 1


def test_a_terminal_that_is_closed_does_not_end_the_work(tmp_path: Path, run: Callable[..., Run]) -> None:
    shown = run()
    shown.happens("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    shown.happens("oslo = BOARD.begin('zone', '1.2', 'oslo'); oslo.now('sending', 1, 4)")
    shown.sees("oslo  sending   25 %")
    shown.terminal.close()
    shown.happens("oslo.now('sending', 2, 4); tell('said')", "import time; time.sleep(2 * 0.25)", f"open({str(tmp_path / 'end')!r}, 'x')")
    assert shown.end() == 0
    assert (tmp_path / "end").exists()


# --- the board ------------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def sent(*marks: tuple[float, int], total: int = 100 * MIB) -> Step:
    clock = Clock()
    step = Step("zone", "1.2", "oslo", clock=clock)
    for at, done in marks:
        clock.seconds = 100 + at
        step.now("sending", done, total)
    return step


@pytest.mark.parametrize(
    ("marks", "figures"),
    [
        ([(0, 0)], ["  0 %", "0 B of 100 MiB"]),
        ([(0, 0), (0.5, MIB)], ["  1 %", "1 MiB of 100 MiB"]),  # too soon for a rate
        ([(0, 0), (10, 20 * MIB)], [" 20 %", "40 s left", "2 MiB/s", "20 MiB of 100 MiB"]),
        ([(0, 60 * MIB), (10, 80 * MIB)], [" 80 %", "10 s left", "2 MiB/s", "80 MiB of 100 MiB"]),  # resumed: what had arrived isn't speed
        ([(0, 0), (10, 0)], ["  0 %", "0 B of 100 MiB"]),  # stands still: nothing is foretold
        ([(0, 0), (10, 100 * MIB)], ["100 %", "10 MiB/s", "100 MiB of 100 MiB"]),  # nothing is left
        ([(0, 0), (10, 100 * MIB - 1)], [" 99 %", "1 s left", "10 MiB/s", "100 MiB of 100 MiB"]),
    ],
)
def test_rate_and_time_left_are_of_this_run(marks: list[tuple[float, int]], figures: list[str]) -> None:
    assert list(sent(*marks).figures) == figures


class Racing(Step):
    """A step that ends between two looks at it."""

    __slots__ = ("looks",)

    @property
    def total(self) -> int:  # type: ignore[override]
        self.looks = getattr(self, "looks", 0) + 1
        return 4 if self.looks % 2 else 0

    @total.setter
    def total(self, _value: int) -> None:
        pass


def test_a_step_that_goes_on_while_it_is_looked_at_breaks_nothing() -> None:
    step = Racing("zone", "1.2", "oslo")
    assert {step.percent for _ in range(10)} <= {0, None}
    assert all(len(step.figures) in (0, 2) for _ in range(10))


def test_a_rate_forgets_what_is_long_ago() -> None:
    slow = [(float(second), second * MIB) for second in range(100)]
    assert sent(*slow, *[(100.0 + second, 100 * MIB + second * 50 * MIB) for second in range(20)], total=10_000 * MIB).rate == 50 * MIB


def test_another_act_begins_its_own_figures() -> None:
    step = sent((0, 0), (10, 50 * MIB))
    step.on_event(AgentEvent("make", 0, 8))
    assert (step.text, list(step.figures)) == ("making a delta", ["  0 %", "0 B of 8 B"])
    step.on_event(AgentEvent("pre action 1", 0, 2))
    assert (step.text, list(step.figures)) == ("running pre action 1 of 2", [])


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (AgentEvent("pre action 2: waits for web (PID 12) to end", 1, 3), "running pre action 2 of 3: waits for web (PID 12) to end"),
        (AgentEvent("post action 1", 0, 1), "running post action 1 of 1"),
        (AgentEvent("stage", 5, 9), "extracting"),
        (AgentEvent("read back", 5, 9), "checking"),
        (AgentEvent("a phase of a newer agent", 5, 9), "a phase of a newer agent"),
    ],
)
def test_phases_have_words(event: AgentEvent, text: str) -> None:
    assert phase_text(event) == text


@pytest.mark.parametrize(("columns", "rows"), [*SIZES, (20, 3), (1, 1)])
def test_no_line_is_longer_than_the_terminal_nor_are_there_more(columns: int, rows: int) -> None:
    board = Board()
    for number in range(60):
        board.begin("a-distribution-with-a-long-name", "1.2", f"{number}-" + "n" * number).now("sending", number, 59)
    lines = lines_of(board.steps(), columns, rows)
    assert len(lines) == max(1, min(rows, 61))
    assert max(len(text) for text, _ in lines) <= columns


def test_a_copy_for_other_processes_is_believed_while_it_is_fresh(tmp_path: Path) -> None:
    board = Board()
    board.begin("zone", "1.2", "oslo").now("sending", 1, 4)
    board.begin("zone", "1.2", "riga").end = "installed"
    path = tmp_path / "under-way" / "run"
    board.write(path)
    written = path.stat().st_mtime
    assert read_copies(tmp_path, now=written) == {("oslo", "zone"): ["sending", " 25 %", "1 B of 4 B"]}
    assert read_copies(tmp_path, now=written + 60) == {}
    for damage in (b"", b"[]", b'{"oslo/zone": 1}', b"\xff"):
        path.write_bytes(damage)
        assert read_copies(tmp_path, now=path.stat().st_mtime) == {}
    assert read_copies(tmp_path / "nowhere", now=written) == {}
