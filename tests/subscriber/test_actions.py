"""Scripts as actions: their language, environment, output, limit, and what they start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.errors import ActionFailedError
from sluice.model.action import ACTION_TIMEOUT, Script, ScriptType
from sluice.model.order import ActionReport
from sluice.subscriber.actions import run as actions_run
from sluice.subscriber.actions.action import check_file, needs_undo, run_action
from sluice.subscriber.actions.run import Session, end_action, environment, new_token

ENVIRONMENT = environment(distribution="zone", revision="1.2", subscriber="oslo", phase="pre")


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_run, "GRACE", 0.3)


@pytest.fixture
def token() -> Iterator[str]:
    """Nothing that carries it is left when the test ends."""
    made = new_token()
    yield made
    for pid in alive(made):
        os.kill(pid, signal.SIGKILL)


def alive(token: str) -> list[int]:
    return actions_run._processes(token, None)


def run(script: Script, scratch: Path, token: str = "", phase: str = "pre", limit: float = 30.0) -> ActionReport:
    return run_action(script, phase=phase, token=token or new_token(), scratch=scratch, environment=ENVIRONMENT, limit=limit)


def shell(text: str, undo: str = "none") -> Script:
    return Script(ScriptType.SHELL, undo, run=text)


def test_the_limit_is_ten_minutes() -> None:
    assert ACTION_TIMEOUT == 600


def test_a_shell_script_sees_a_fixed_environment_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "leaks")
    report = run(shell("env | sort; pwd; umask; cat; ls -l /proc/self/fd | wc -l"), tmp_path)
    lines = report.output.splitlines()
    names = {line.partition("=")[0] for line in lines if "=" in line}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {*ENVIRONMENT, "SLUICE_ACTION"}
    assert {"SLUICE_DISTRIBUTION=zone", "SLUICE_REVISION=1.2", "SLUICE_SUBSCRIBER=oslo", "SLUICE_PHASE=pre", "LANG=C.UTF-8"} <= set(lines)
    assert lines[-3:-1] == ["/", "0022"]
    assert (report.phase, report.exit_code) == ("pre", 0)


def test_a_python_script_runs_in_our_interpreter_without_our_packages(tmp_path: Path) -> None:
    script = Script(ScriptType.PYTHON, "none", run="import sys; print(sys.executable, sys.flags.isolated); sys.exit(3)")
    report = run(script, tmp_path)
    assert report.output.strip() == f"{sys.executable} 1"
    assert report.exit_code == 3


@pytest.mark.parametrize("text", ["echo \"$0\" '; rm' `echo sub`", "# ünï ✓\necho 'a\"b'", "printf '%s' $((6*7))"])
def test_the_text_reaches_the_shell_as_it_is(tmp_path: Path, text: str) -> None:
    expected = subprocess.run(["/bin/sh", "-c", text, "NAME"], capture_output=True, text=True, check=True).stdout
    found = run(shell(text), tmp_path).output
    assert re.sub(r"\S*script-[0-9a-f]+", "NAME", found) == expected


def test_its_text_is_readable_by_nobody_else_and_gone_afterwards(tmp_path: Path) -> None:
    report = run(shell(f"stat -c '%a %n' {tmp_path}/script-*"), tmp_path)
    assert report.output.startswith("700 ")
    assert list(tmp_path.iterdir()) == []


def test_a_script_may_remove_itself(tmp_path: Path) -> None:
    assert run(shell('rm -- "$0"; echo done'), tmp_path).output == "done\n"


def test_a_script_file_runs_from_its_place(tmp_path: Path) -> None:
    path = tmp_path / "it's here.sh"
    path.write_text("echo from a file; exit 5")
    report = run(Script(ScriptType.SHELL, "none", path=str(path)), tmp_path)
    assert (report.output, report.exit_code) == ("from a file\n", 5)


@pytest.mark.parametrize("path", ["relative.sh", "/nonexistent/script.sh", "/"])
def test_a_script_file_is_named_by_its_full_path_and_exists(path: str) -> None:
    with pytest.raises(ActionFailedError, match="is no file"):
        check_file(Script(ScriptType.SHELL, "none", path=path))


def test_only_the_end_of_much_output_is_kept(tmp_path: Path) -> None:
    report = run(shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; printf '\\377\\0end'"), tmp_path)
    assert len(report.output.encode()) <= actions_run.OUTPUT_MAX + 8
    assert report.output.endswith("�?end")
    assert "line 19999" in report.output


def test_undo_runs_the_undo_text_in_the_same_language(tmp_path: Path) -> None:
    script = Script(ScriptType.PYTHON, "print('taken back')", run="print('done')")
    assert run(script, tmp_path, phase="undo").output == "taken back\n"
    assert needs_undo(script)
    assert not needs_undo(shell("true", "none"))


@pytest.mark.slow
def test_the_limit_ends_the_script_and_its_children(tmp_path: Path, token: str) -> None:
    begun = time.monotonic()
    report = run(shell("echo before; (sleep 300 & sleep 300) & sleep 300"), tmp_path, token, limit=3.0)
    assert report.exit_code is None
    assert report.output == "before\n"
    assert 3.0 <= report.seconds <= round(time.monotonic() - begun, 3)  # as it is rounded in the report
    assert alive(token) == []


@pytest.mark.slow
def test_what_ignores_the_request_to_end_is_killed(tmp_path: Path, token: str) -> None:
    report = run(shell("trap '' TERM; (trap '' TERM; sleep 300; sleep 300) & while :; do sleep 300; done"), tmp_path, token, limit=3.0)
    assert report.exit_code is None
    assert alive(token) == []


@pytest.mark.slow
def test_a_child_in_a_session_of_its_own_does_not_outlive_the_limit(tmp_path: Path, token: str) -> None:
    text = f"setsid sh -c 'echo >{tmp_path}/ready; trap \"\" TERM HUP; while :; do sleep 300; done' </dev/null >/dev/null 2>&1 & sleep 300"
    report = run(shell(text), tmp_path, token, limit=3.0)
    assert report.exit_code is None
    assert (tmp_path / "ready").exists()
    assert alive(token) == []


@pytest.mark.slow
def test_a_child_without_environment_is_found_by_its_session(tmp_path: Path, token: str) -> None:
    report = run(shell(f"env -i sh -c 'echo $$ >{tmp_path}/pid; exec sleep 300'"), tmp_path, token, limit=3.0)
    assert report.exit_code is None
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists() or actions_run._stat(pid)[0] == "Z"  # whoever inherits it may take its time


def test_a_daemon_that_a_script_started_is_left_alone_and_not_waited_for(tmp_path: Path, token: str) -> None:
    report = run(shell("echo started; setsid sleep 300 & sleep 300 & exit 0"), tmp_path, token)
    assert (report.output, report.exit_code) == ("started\n", 0)
    assert report.seconds < 300
    assert len(alive(token)) == 2


def test_nobody_is_asked_for_input(tmp_path: Path) -> None:
    assert run(shell("read -r x || echo no input"), tmp_path).output == "no input\n"


def test_end_action_ends_what_an_agent_left(token: str) -> None:
    child = subprocess.Popen(["sleep", "300"], start_new_session=True, env={"SLUICE_ACTION": token})
    end_action(token, None)
    assert child.wait() == -signal.SIGTERM
    end_action(token, None)


def test_what_the_agent_descends_from_is_not_ended_though_an_action_started_it(token: str) -> None:
    ends = f"from sluice.subscriber.actions.run import end_action; print(end_action({token!r}, None))"
    login = ["/bin/sh", "-c", f'{sys.executable} -c "{ends}"; echo survived']
    found = subprocess.run(login, env={"SLUICE_ACTION": token}, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=180)
    assert (found.returncode, found.stdout) == (0, "Ended(signalled=(), remaining=())\nsurvived\n")


@pytest.mark.slow
def test_what_cannot_be_ended_is_named_and_not_waited_for(tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: None)  # as a program of another account
    report = run(shell("echo begun; sleep 300"), tmp_path, token, limit=3.0)
    monkeypatch.undo()
    assert report.exit_code is None
    assert report.output == f"begun\n\nstill running: PID {', '.join(map(str, sorted(alive(token))))}"


def test_a_session_number_that_somebody_else_has_now_is_not_touched() -> None:
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        start = actions_run._start_time(child.pid)
        assert start is not None
        end_action(new_token(), Session(child.pid, actions_run._boot(), start - 1))
        end_action(new_token(), Session(child.pid, "another boot", start))
        assert child.poll() is None
        end_action(new_token(), Session(child.pid, actions_run._boot(), start))
        assert child.wait() == -signal.SIGTERM
    finally:
        child.kill()
        child.wait()


def test_a_script_that_cannot_be_started_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(ActionFailedError, match="can't be started"):
        run(Script(ScriptType.PYTHON, "none", run="1"), tmp_path)
