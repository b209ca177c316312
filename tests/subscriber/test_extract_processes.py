"""Processes that an extraction starts and stops: in order, taken back when a step fails, and settled after a kill at any point."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sluice.formats.agent_events import PHASE_MAX
from sluice.model.action import Action, StartProcess, StopProcess
from sluice.model.order import Outcome, Receipt
from sluice.subscriber.actions import run as actions_run
from sluice.subscriber.actions import stop as actions_stop
from sluice.subscriber.extract import acting as extract_act
from sluice.subscriber.extract.ending import recover
from tests.subscriber.host import Host, shell
from tests.subscriber.programs import STUBBORN, Programs, eventually, forked, runs
from tests.subscriber.revisions import make, tree_of
from tests.subscriber.test_extract_rollback import Scene

KILLED = 42


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_run, "GRACE", 0.3)
    monkeypatch.setattr(actions_stop, "GRACE", 0.3)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path / "programs")
    yield made
    made.end()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def reports(receipt: Receipt) -> list[tuple[str, str, int | None]]:
    return [(each.phase, each.label, each.exit_code) for each in receipt.actions]


def killed(work: Callable[[], object], name: str, do: Callable[[], object] = lambda: None) -> None:
    """Run ``work`` in a child that dies when it comes to the function of that name, after ``do``."""
    pid = forked()
    if pid == 0:
        try:
            first, *between, attribute = name.split(".")
            place: object = {"run": actions_run, "act": extract_act}[first]
            for each in between:
                place = getattr(place, each)
            setattr(place, attribute, lambda *_args, **_options: (do(), os._exit(KILLED)))
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == KILLED


def killed_when(work: Callable[[], object], holds: Callable[[], object]) -> None:
    """Run ``work`` in a child that gets SIGKILL once it holds."""
    pid = forked()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    eventually(holds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_program_is_stopped_before_its_files_change_and_started_after(scene: Scene, programs: Programs) -> None:
    script = programs.script()
    old = programs.start_script(script)
    Path(f"{script}.ready").unlink()
    receipt = scene.extract(pre=[StopProcess(programs.name, wait=True)], post=[StartProcess(str(script))])
    assert receipt.outcome is Outcome.INSTALLED
    assert reports(receipt) == [("pre", f"stop process {programs.name}", 0), ("post", StartProcess(str(script)).label, 0)]
    new = programs.ready(script)
    assert new != old
    assert (runs(old), runs(new)) == (False, True)
    scene.assert_installed()


def test_a_program_that_comes_with_the_revision_is_started(tmp_path: Path, scene: Scene, programs: Programs) -> None:
    source = tmp_path / "with-program"
    Programs(source).script(name=programs.name)
    made, target = make("1.3", source), programs.directory / "installed"
    scene.host.receive(made)
    receipt = scene.host.extract(made, target, post=[StartProcess(str(target / programs.name))])
    assert receipt.outcome is Outcome.INSTALLED
    assert runs(programs.ready(target / programs.name))


def test_a_start_of_what_runs_fails_before_anything_is_touched(scene: Scene, programs: Programs) -> None:
    script, log = programs.script(), scene.directory / "log"
    pid = programs.start_script(script)
    for phase in ("pre", "post"):
        receipt = scene.extract(**{"pre": [StartProcess(str(script))]} if phase == "pre" else {"post": [StartProcess(str(script))]})
        assert receipt.outcome is Outcome.FAILED
        assert f"it runs already, with PID {pid}" in receipt.failure.message
        assert receipt.actions == ()
        scene.assert_untouched()
    assert not log.exists()


def test_a_program_that_was_not_waited_for_and_still_runs_fails_the_start_after_its_file_was_replaced(
    tmp_path: Path, scene: Scene, programs: Programs
) -> None:
    source = tmp_path / "with-program"
    script = Programs(source).script(STUBBORN, programs.name)
    first, target = make("1.3", source), programs.directory / "installed"
    installed = target / programs.name
    scene.host.install(first, target)
    pid = programs.start_script(installed)
    script.write_text(script.read_text() + "# changed\n")
    second = make("1.4", source)
    scene.host.receive(second)
    receipt = scene.host.extract(second, target, pre=[StopProcess(programs.name)], post=[StartProcess(str(installed))])
    assert receipt.outcome is Outcome.FAILED
    assert f"it runs already, with PID {pid}" in receipt.failure.message
    assert "# changed" not in installed.read_text()


def test_a_failure_ends_what_was_started_and_says_what_stays_stopped(scene: Scene, programs: Programs) -> None:
    stopped, started = programs.script(name=f"{programs.name}-a"), programs.script(name=f"{programs.name}-b")
    old, log = programs.start_script(stopped), scene.directory / "log"
    receipt = scene.extract(
        pre=[StopProcess(stopped.name, wait=True), shell("true", f"echo pre >>{log}")],
        post=[
            StartProcess(str(started), undo=f"echo start >>{log}"),
            shell(f"while [ ! -s {started}.ready ]; do sleep 0.05; done; exit 9"),
        ],
    )
    assert receipt.outcome is Outcome.FAILED
    assert "exit code 9" in receipt.failure.message
    assert not runs(programs.ready(started))
    assert log.read_text().split() == ["start", "pre"]
    assert reports(receipt)[-3:] == [
        ("undo", StartProcess(str(started)).label, 0),
        ("undo", "script (shell)", 0),
        ("undo", f"stop process {stopped.name}", 0),
    ]
    assert receipt.actions[-1].output == f"stays stopped: no undo: starts it again (asked to end: PID {old})"
    scene.assert_untouched()


def test_a_stop_with_undo_is_started_again_and_one_that_met_nobody_says_nothing(scene: Scene, programs: Programs) -> None:
    script = programs.script()
    old = programs.start_script(script)
    Path(f"{script}.ready").unlink()
    again = f"setsid {script} </dev/null >/dev/null 2>&1 &"
    pre = [StopProcess(programs.name, wait=True, undo=again), StopProcess(f"{programs.name}-x"), shell("exit 1")]
    receipt = scene.extract(pre=pre)
    assert receipt.outcome is Outcome.FAILED
    assert not runs(old)
    assert runs(programs.ready(script))
    assert [each.label for each in receipt.actions if each.phase == "undo"] == [f"stop process {programs.name}"]


def test_one_that_stays_fails_the_extraction_and_is_named(scene: Scene, programs: Programs) -> None:
    pid = programs.start_script(programs.script(STUBBORN))
    context = scene.host.context
    object.__setattr__(context, "action_limit", 0.5)
    told: list[tuple[str, int, int]] = []
    object.__setattr__(context, "event", lambda *event: told.append(event))
    receipt = scene.extract(pre=[StopProcess(programs.name, wait=True)])
    assert receipt.outcome is Outcome.FAILED
    (waits,) = {each for each in told if each[0].startswith("pre action 1: ")}
    assert waits[0].endswith(f"(PID {pid}) to end")
    assert len(waits[0]) <= PHASE_MAX
    assert waits[1:] == (0, 1)
    assert f"still running: PID {pid}" in receipt.failure.message
    assert runs(pid)
    scene.assert_untouched()


def test_without_rollback_what_was_started_runs_on_and_what_was_stopped_stays_so(tmp_path: Path, programs: Programs) -> None:
    scene = Scene(tmp_path / "kept", rollback=False)
    script = programs.script()
    receipt = scene.extract(post=[StartProcess(str(script)), shell("exit 1")])
    assert receipt.outcome is Outcome.FAILED_KEPT
    assert runs(programs.ready(script))


def starting(script: Path) -> dict[str, list[Action]]:
    return {"post": [StartProcess(str(script), undo=f"echo undone >>{script}.log"), shell(f"touch {script}.second; sleep 300")]}


@pytest.mark.parametrize("at", ["run._start", "run._session", "run.threading.Thread"])
def test_killed_around_a_start_it_is_ended_and_undone(scene: Scene, programs: Programs, at: str) -> None:
    """Before it begins; begun and not yet known by its session; known and not yet reported."""
    script = programs.script()
    wait = (lambda: None) if at == "run._start" else lambda: programs.ready(script)
    killed(lambda: scene.extract(**starting(script)), at, wait)
    began = at != "run._start"
    assert Path(f"{script}.ready").exists() is began
    assert not began or runs(programs.ready(script))

    scene.host.recover()

    assert not began or not runs(programs.ready(script))
    assert Path(f"{script}.log").read_text() == "undone\n"
    scene.assert_untouched()
    assert scene.host.receipts()[-1].outcome is Outcome.FAILED


@pytest.mark.slow
def test_killed_later_what_was_started_is_ended_unless_rollback_is_off(tmp_path: Path, programs: Programs) -> None:
    for rollback in (True, False):
        scene = Scene(tmp_path / str(rollback), rollback=rollback)
        script = programs.script(name=f"{programs.name}-{rollback}")
        killed_when(
            lambda scene=scene, script=script: scene.extract(**starting(script)), lambda script=script: Path(f"{script}.second").exists()
        )
        pid = programs.ready(script)
        assert runs(pid)
        scene.host.recover()
        assert runs(pid) is not rollback
        assert scene.host.receipts()[-1].outcome is (Outcome.FAILED if rollback else Outcome.FAILED_KEPT)


@pytest.mark.parametrize("at", ["act.end_action", "act.ActionReport"])
def test_killed_while_it_is_taken_back_the_next_start_goes_on(scene: Scene, programs: Programs, at: str) -> None:
    """Before it is ended; ended and not yet noted."""
    script = programs.script()
    post = [StartProcess(str(script)), shell(f"while [ ! -s {script}.ready ]; do sleep 0.05; done; exit 1")]
    killed(lambda: scene.extract(post=post), at)
    assert runs(programs.ready(script)) is (at == "act.end_action")

    scene.host.recover()

    assert not runs(programs.ready(script))
    scene.assert_untouched()
    receipt = scene.host.receipts()[-1]
    assert receipt.outcome is Outcome.FAILED
    assert receipt.failure.retryable


def test_killed_after_an_undo_that_failed_the_receipt_says_so_all_the_same(scene: Scene) -> None:
    marker = scene.directory / "marker"
    slow = f"[ -e {marker} ] && exit 0; touch {marker}; sleep 300"
    pre = [shell("true", slow), shell("true", "echo no power; exit 3"), shell("exit 1")]
    killed_when(lambda: scene.extract(pre=pre), marker.exists)
    scene.host.recover()
    receipt = scene.host.receipts()[-1]
    assert receipt.outcome is Outcome.FAILED
    assert receipt.failure is not None
    assert "undo of script (shell) ended with 3: no power" in receipt.failure.message


def test_killed_while_it_waits_for_a_program_that_program_is_ended(scene: Scene, programs: Programs) -> None:
    script = programs.script()
    killed_when(
        lambda: scene.extract(pre=[StartProcess(str(script), wait=True, undo=f"echo undone >>{script}.log")]),
        lambda: Path(f"{script}.ready").exists(),
    )
    scene.host.recover()
    assert not runs(programs.ready(script))
    assert Path(f"{script}.log").read_text() == "undone\n"
    scene.assert_untouched()


def test_killed_while_it_waits_for_an_end_nobody_is_killed_and_undo_runs(scene: Scene, programs: Programs) -> None:
    hears = "import pathlib, signal\nsignal.signal(signal.SIGTERM, lambda *_: pathlib.Path(__file__ + '.asked').touch())\n"
    stubborn, willing = programs.script(hears), programs.script(name=f"{programs.name}-w")
    pid, other = programs.start_script(stubborn), programs.start_script(willing)
    pre = [StopProcess(willing.name, wait=True), StopProcess(programs.name, wait=True, undo=f"echo undone >>{stubborn}.log")]
    killed_when(lambda: scene.extract(pre=pre), lambda: Path(f"{stubborn}.asked").exists())
    assert not runs(other)
    scene.host.recover()
    assert runs(pid)
    assert Path(f"{stubborn}.log").read_text() == "undone\n"
    receipt = scene.host.receipts()[-1]
    assert receipt.actions[-1].output.startswith("stays stopped: ")
    scene.assert_untouched()


def test_killed_after_the_commit_what_was_started_runs_on(scene: Scene, programs: Programs) -> None:
    script = programs.script()
    receipt = scene.extract(post=[StartProcess(str(script))])
    assert receipt.outcome is Outcome.INSTALLED
    with scene.host.held.lock():
        recover(scene.host.context)
    assert runs(programs.ready(script))
    assert tree_of(scene.target) != {}


def processes_of(host: Host) -> list[str]:
    """What runs of the actions that the journal names: their marks are in the environment of all that they start."""
    journal = b"".join(path.read_bytes() for path in host.held.journal.rglob("*") if path.is_file())
    marks = {f"{actions_run.TOKEN}={token}" for token in re.findall("[0-9a-f]{32}", journal.decode(errors="replace"))}
    assert marks
    return [name for name in filter(str.isdigit, os.listdir("/proc")) if marks & environment_of(name)]


def environment_of(pid: str) -> set[str]:
    """Empty where it has ended."""
    with suppress(OSError):
        return set(Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0"))
    return set()


def test_an_action_that_outlived_its_agent_is_ended_before_it_is_undone(scene: Scene) -> None:
    log = scene.directory / "log"
    pre = [shell(f"(sleep 300; echo too-late >>{log}) & setsid sleep 300 & echo running >>{log}; sleep 300", f"echo undone >>{log}")]
    killed_when(lambda: scene.extract(pre=pre), lambda: log.exists() and "running" in log.read_text())
    running = processes_of(scene.host)
    assert len(running) >= 3

    scene.host.recover()

    assert not [name for name in running if runs(int(name))]
    assert log.read_text().split() == ["running", "undone"]
    scene.assert_untouched()
    assert scene.host.receipts()[-1].outcome is Outcome.FAILED
    assert scene.host.receipts()[-1].failure.retryable
