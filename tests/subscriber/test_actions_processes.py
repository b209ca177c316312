"""Start and stop process on real processes: which are meant, how they are asked, killed, left running and found again."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sluice.errors import ActionFailedError
from sluice.model.action import Action, Script, ScriptType, StartProcess, StopProcess
from sluice.model.order import ActionReport
from sluice.subscriber.actions import processes as actions_found
from sluice.subscriber.actions import run as actions_run
from sluice.subscriber.actions import stop as actions_stop
from sluice.subscriber.actions.action import check_file, check_not_running, check_processes, check_report, run_action
from sluice.subscriber.actions.processes import is_alive, processes_named, processes_running, protected
from sluice.subscriber.actions.run import Session, end_action, environment, new_token
from tests.conftest import missing
from tests.subscriber.programs import STUBBORN, Programs, eventually, forked, runs

ENVIRONMENT = environment(distribution="zone", revision="1.2", subscriber="oslo", phase="pre")


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_run, "GRACE", 0.3)
    monkeypatch.setattr(actions_stop, "GRACE", 0.3)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path / "programs")
    yield made
    made.end()


def run(action: Action, scratch: Path, limit: float = 20.0, token: str = "", sessions: list[Session] | None = None) -> ActionReport:
    heard = sessions if sessions is not None else []
    return run_action(
        action, phase="pre", token=token or new_token(), scratch=scratch, environment=ENVIRONMENT, limit=limit, started=heard.append
    )


def pids(found: list[psutil.Process]) -> set[int]:
    return {process.pid for process in found}


def test_every_process_of_exactly_that_name_is_meant(programs: Programs) -> None:
    """The kernel keeps 15 bytes of a name: both begin with the same."""
    mine, other = programs.binary(f"{programs.name}-a"), programs.binary(f"{programs.name}-b")
    first, second = programs.start(mine, "300"), programs.start(mine, "300")
    spared = programs.start(other, "300")
    eventually(lambda: pids(processes_named(mine.name)) == {first, second})
    assert pids(processes_named(other.name)) == {spared}
    assert processes_named(programs.name) == []
    assert processes_named(mine.name[:15]) == []


def test_a_name_is_that_of_the_executable_or_what_it_was_called_by(programs: Programs) -> None:
    binary = programs.binary()
    link = programs.directory / f"{programs.name}-link"
    link.symlink_to(binary)
    pid = programs.start(link, "300")
    eventually(lambda: pids(processes_named(binary.name)) == {pid})
    assert pids(processes_named(link.name)) == {pid}


def test_a_script_has_its_own_name_and_not_its_interpreters(programs: Programs) -> None:
    pid = programs.start_script(programs.script())
    assert pids(processes_named(programs.name)) == {pid}
    assert pid not in pids(processes_named(os.path.basename(os.path.realpath(sys.executable))))
    assert pid not in pids(processes_named(os.path.basename(sys.executable)))


def test_a_zombie_does_not_count(programs: Programs) -> None:
    binary = programs.binary()
    pid = programs.start(binary, "0")
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert processes_named(binary.name) == []
    assert processes_running(str(binary)) == []


def test_the_processes_of_a_container_are_not_ours(programs: Programs, real_part: Callable[[str], Path]) -> None:
    if os.geteuid() != 0:
        missing("root, to make a namespace")
    binary = programs.binary()
    programs.start(real_part("unshare"), "--fork", "--pid", "--kill-child", binary, "300")
    inner = []

    def inside() -> list[int]:
        inner[:] = [p.pid for p in psutil.process_iter() if p.name()[:15] == programs.name[:15]]
        return inner

    eventually(inside)
    assert runs(inner[0])
    assert processes_named(binary.name) == []
    assert processes_running(str(binary)) == []
    os.kill(inner[0], signal.SIGKILL)


def test_stop_asks_all_and_waits_until_they_are_gone(programs: Programs, tmp_path: Path) -> None:
    binary = programs.binary()
    started = [programs.start(binary, "300"), programs.start(binary, "300")]
    eventually(lambda: len(processes_named(binary.name)) == 2)
    report = run(StopProcess(binary.name, wait=True), tmp_path)
    assert report.exit_code == 0
    assert all(str(pid) in report.output for pid in started)
    assert not any(map(runs, started))


def test_none_that_runs_is_fine_and_said(tmp_path: Path, programs: Programs) -> None:
    report = run(StopProcess(programs.name, wait=True, kill=True), tmp_path)
    assert (report.exit_code, report.output) == (0, "none of that name runs")


def test_one_that_asks_its_user_is_left_and_named(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start_script(programs.script(STUBBORN))
    action = StopProcess(programs.name, wait=True)
    report = run(action, tmp_path, limit=0.5)
    assert runs(pid)
    assert f"still running: PID {pid}" in report.output
    with pytest.raises(ActionFailedError, match=f"stop process {programs.name}, .*still running: PID {pid}") as failed:
        check_report(action, report, 0.5, name="pre action 1")
    assert "kill: true" in failed.value.remedy
    with pytest.raises(ActionFailedError) as killed:
        check_report(replace(action, kill=True), report, 0.5, name="pre action 1")
    assert killed.value.remedy == "end it by hand"


@pytest.mark.parametrize("wait", [True, False])
def test_kill_ends_by_force_what_stays(programs: Programs, tmp_path: Path, wait: bool) -> None:
    pid = programs.start_script(programs.script(STUBBORN))
    report = run(StopProcess(programs.name, wait=wait, kill=True), tmp_path, limit=0.5)
    assert report.exit_code == 0
    assert f"killed: PID {pid}" in report.output
    assert not runs(pid)


def test_without_wait_and_kill_it_goes_on_at_once(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start_script(programs.script(STUBBORN))
    report = run(StopProcess(programs.name), tmp_path)
    assert (report.exit_code, report.output) == (0, f"asked to end: PID {pid}")
    assert runs(pid)


def test_one_that_starts_while_it_waits_is_asked_too(programs: Programs, tmp_path: Path) -> None:
    follow = (
        "import signal, subprocess, sys\ndef end(*_):\n    subprocess.Popen([__file__, 'heir'], start_new_session=True)\n    sys.exit()\n"
    )
    script = programs.script(f"{follow}if len(sys.argv) == 1:\n    signal.signal(signal.SIGTERM, end)\n")
    pid = programs.start_script(script)
    report = run(StopProcess(programs.name, wait=True), tmp_path)
    assert report.exit_code == 0
    assert not runs(pid)
    assert processes_named(programs.name) == []


def test_the_agent_what_it_runs_under_and_the_first_process_are_never_stopped() -> None:
    name = min(actions_found._names(psutil.Process()))
    with pytest.raises(ActionFailedError, match=f"would end PID .*{os.getpid()}.*: the agent itself") as refused:
        check_processes(StopProcess(name))
    assert "script" in refused.value.remedy
    assert {1, os.getpid(), os.getppid()} <= protected()


def test_a_stop_that_waits_tells_whom_it_waits_for(programs: Programs) -> None:
    first = programs.start_script(programs.script(STUBBORN))
    said: list[str] = []
    actions_stop.stop(StopProcess(programs.name, wait=True), "pre", 0.5, report_wait=said.append)
    shown = programs.name if len(programs.name) <= 15 else programs.name[:14] + "…"
    assert set(said) == {f"waits for {shown} (PID {first}) to end"}
    assert runs(first)


def test_a_process_of_another_account_is_named_and_nobody_signalled(programs: Programs) -> None:
    """Root's, seen by an account that may do nothing."""
    if os.geteuid() != 0:
        missing("root, to become another account")
    binary = programs.binary()
    pid = programs.start(binary, "300")
    eventually(lambda: processes_named(binary.name))
    child = forked()
    if child == 0:
        try:
            os.setuid(65534)
            try:
                actions_stop.stop(StopProcess(binary.name, kill=True), "pre", 5.0)
            except ActionFailedError as error:
                os._exit(7 if f"PID {pid} belongs to another account" in error.message else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert runs(pid)


@pytest.mark.parametrize("with_pidfd", [True, False])
def test_a_pid_that_somebody_else_has_now_is_never_hit(programs: Programs, monkeypatch: pytest.MonkeyPatch, with_pidfd: bool) -> None:
    binary = programs.binary()
    pid = programs.start(binary, "300")
    eventually(lambda: processes_named(binary.name))
    stale = psutil.Process(pid)
    stale._ident = (pid, stale.create_time() - 1000.0)
    assert not is_alive(stale)
    monkeypatch.setattr(actions_stop, "check_stop", lambda _: [stale])
    if not with_pidfd:
        monkeypatch.setattr(os, "pidfd_open", lambda _: (_ for _ in ()).throw(OSError("none here")))
    actions_stop.stop(StopProcess(binary.name, wait=True, kill=True), "pre", 0.5)
    assert runs(pid)


def test_a_program_without_wait_is_left_running_in_a_session_of_its_own(programs: Programs, tmp_path: Path) -> None:
    show = "import os, pathlib, sys\nmark = pathlib.Path(__file__ + '.shown')\n"
    show += (
        "mark.write_text(repr([sorted(os.environ), os.getcwd(), sys.argv[1:], os.getsid(0) == os.getpid(), os.readlink('/proc/self/fd/0'), "
    )
    show += "os.readlink('/proc/self/fd/1'), os.readlink('/proc/self/fd/2'), len(os.listdir('/proc/self/fd'))]))\n"
    script = programs.script(show)
    token, sessions = new_token(), list[Session]()
    report = run(StartProcess(str(script), ("--name", "", "$HOME; *")), tmp_path, token=token, sessions=sessions)
    pid = programs.ready(script)
    assert (report.exit_code, report.output) == (0, f"runs with PID {pid}")
    assert sessions[0].leader == pid
    null = "/dev/null"
    names, *rest = eval(Path(f"{script}.shown").read_text())
    assert set(names) - {"LC_CTYPE"} == {*ENVIRONMENT, "SLUICE_ACTION"}
    assert rest[:-1] == ["/", ["--name", "", "$HOME; *"], True, null, null, null]
    assert rest[-1] <= 4
    assert runs(pid)

    ended = end_action(token, sessions[0])
    assert (ended.signalled, ended.remaining) == ((pid,), ())
    assert not runs(pid)


def test_a_program_that_cannot_be_executed_is_a_failure(programs: Programs, tmp_path: Path) -> None:
    nonsense = programs.directory / "nonsense"
    nonsense.write_bytes(b"\x7fELF no program")
    nonsense.chmod(0o755)
    with pytest.raises(ActionFailedError, match="can't be started"):
        run(StartProcess(str(nonsense)), tmp_path)


def test_with_wait_it_must_end_well_and_its_output_is_kept(tmp_path: Path) -> None:
    report = run(StartProcess("/bin/echo", ("set", "up"), wait=True), tmp_path)
    assert (report.exit_code, report.output) == (0, "set up\n")
    action = StartProcess("/bin/false", wait=True)
    with pytest.raises(ActionFailedError, match="post action 2, start process /bin/false, ended with exit code 1"):
        check_report(action, run(action, tmp_path), 20.0, name="post action 2")


@pytest.mark.slow
def test_with_wait_the_limit_ends_it_and_all_it_started(programs: Programs, tmp_path: Path) -> None:
    child = programs.script(name=f"{programs.name}-child")
    parent = programs.script(f"import subprocess\nsubprocess.Popen([{str(child)!r}], start_new_session=True)\n")
    action = StartProcess(str(parent), wait=True)
    report = run(action, tmp_path, limit=3.0)
    assert report.exit_code is None
    assert not runs(programs.ready(child))
    assert not runs(programs.ready(parent))
    with pytest.raises(ActionFailedError, match="took longer than 3 s and was ended"):
        check_report(action, report, 3.0, name="pre action 1")


def test_a_program_that_runs_already_is_named_by_its_pids(programs: Programs) -> None:
    binary = programs.binary()
    link = programs.directory / "another-way-to-it"
    link.symlink_to(programs.directory)
    pid = programs.start(binary, "300")
    eventually(lambda: processes_running(str(binary)))
    with pytest.raises(ActionFailedError, match=f"it runs already, with PID {pid}") as failed:
        check_processes(StartProcess(str(link / binary.name)))
    assert failed.value.remedy == f"put stop_process: {{name: {binary.name}, wait: true}} first"


@pytest.mark.parametrize("interpreter", [(), (sys.executable, "-I")])
def test_a_script_that_runs_already_is_found_by_interpreter_and_path(programs: Programs, interpreter: tuple[str, ...]) -> None:
    script = programs.script()
    viewer = programs.start("tail", "-f", script)
    pid = programs.start_script(script, *interpreter)
    assert pids(processes_running(str(script))) == {pid}
    assert viewer not in pids(processes_running(str(script)))
    same_name = Programs(programs.directory / "elsewhere").script(name=programs.name)
    assert processes_running(str(same_name)) == []


def test_what_may_end_it_first_is_not_held_against_a_start_until_it_is_run(programs: Programs) -> None:
    binary = programs.binary()
    pid = programs.start(binary, "300")
    eventually(lambda: processes_running(str(binary)))
    start = StartProcess(str(binary))
    for earlier in (StopProcess(binary.name), Script(ScriptType.SHELL, "none", run="true")):
        before = check_processes(start, [earlier])
        assert pids(list(before)) == {pid}
    with pytest.raises(ActionFailedError, match="runs already"):
        check_processes(start, [StopProcess("another")])
    # Its file is replaced meanwhile, and gets another name: it runs all the same.
    binary.rename(binary.with_name("moved"))
    Programs(programs.directory).binary(binary.name)
    assert processes_running(str(binary)) == []
    with pytest.raises(ActionFailedError, match=f"with PID {pid}"):
        check_not_running(start, before)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not runs(pid))
    check_not_running(start, before)


def test_a_program_is_there_executable_and_no_directory(programs: Programs) -> None:
    plain = programs.directory / "plain"
    plain.write_text("x")
    for path, why in ((str(programs.directory), "is no file"), (f"{plain}x", "is no file"), (str(plain), "isn't executable")):
        with pytest.raises(ActionFailedError, match=why):
            check_file(StartProcess(path))
    check_file(StartProcess(f"{plain}x"), is_delivered=True)


def test_a_script_file_of_another_language_is_refused_before(programs: Programs, real_part: Callable[[str], Path]) -> None:
    real_part("perl")
    path = programs.directory / "setup"
    path.write_text("#!/usr/bin/env perl\nprint 1;\n")
    with pytest.raises(ActionFailedError, match=r"begins with a #! line for perl"):
        check_file(Script(ScriptType.SHELL, "none", path=str(path)))
    check_file(Script(ScriptType.PERL, "none", path=str(path)))


def test_a_perl_script_runs_by_the_hosts_perl_and_needs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_part: Callable[[str], Path]
) -> None:
    real_part("perl")
    script = Script(ScriptType.PERL, 'print "back"', run='print "$^O $ENV{SLUICE_PHASE}"; exit 3')
    report = run(script, tmp_path)
    assert (report.output, report.exit_code) == ("linux pre", 3)
    monkeypatch.setattr("sluice.subscriber.actions.action.SEARCH_PATH", str(tmp_path))
    with pytest.raises(ActionFailedError, match="has no perl"):
        check_file(script)


def test_an_agent_without_psutil_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ActionFailedError, match="can't look at processes") as failed:
        check_processes(StopProcess(secrets.token_hex(8)))
    assert "sluice agent build" in failed.value.remedy


@pytest.mark.slow
def test_psutil_is_imported_when_it_is_needed() -> None:
    code = "import sys, agents.main, agents.serve, agents.requests, sluice.subscriber.extract.extraction; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
