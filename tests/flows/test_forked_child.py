"""A child that is forked: nothing of its parent's goes on in it, and it ends as others do (ADR 0032)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAD = """\
import json, os, signal, subprocess, sys, time
from contextvars import ContextVar
from pathlib import Path
from infra.orchestrator.children import check, end, fork_child
from sluice.errors import OrchestratorError

log, kept, foreign = Path("child.log").absolute(), os.open(".", os.O_RDONLY), os.open(".", os.O_RDONLY)
ours = ContextVar("ours", default="the default")
ours.set("the parent's")

def start(run):
    return fork_child("it", run, {"ONLY": "this"}, log, inherits=[kept])
"""


def output(script: str, directory: Path) -> str:
    """Run a script in a process of its own, which has a single thread."""
    project = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script], cwd=directory, env={"PYTHONPATH": project}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_has_the_environment_directory_descriptors_and_context_that_a_new_process_would_have(tmp_path: Path) -> None:
    script = """
def run():
    is_open = {}
    for fd in (kept, foreign):
        try:
            is_open[fd == kept] = os.fstat(fd) is not None
        except OSError:
            is_open[fd == kept] = False
    standing = [signal.getsignal(number) is signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)]
    blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    leads = os.getsid(0) == os.getpid()
    print(json.dumps([dict(os.environ), os.getcwd(), is_open[True], is_open[False], standing, blocked, ours.get(), leads]))
    sys.stdout.flush()

child = start(run)
assert child.process.wait() == 0
"""
    assert output(script, tmp_path) == ""
    found = json.loads((tmp_path / "child.log").read_text())
    assert found == [{"ONLY": "this"}, os.path.realpath(tmp_path), True, False, [True, True], [], "the default", True]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("raise ValueError('broken')", 1, "ValueError: broken"),
        ("raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('words')", 1, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
    ],
)
def test_however_it_ends_its_parents_code_isnt_carried_on_in_it(body: str, code: int, said: str, tmp_path: Path) -> None:
    script = f"""
def run():
    {body}

try:
    child = start(run)
finally:
    print("here", flush=True)
child.process.wait()
print(child.process.returncode)
try:
    check([child])
except OrchestratorError as error:
    print(str(error).partition(":")[0])
end([child])
"""
    assert output(script, tmp_path).split("\n") == ["here", str(code), f"it ended with exit code {code}", ""]
    assert said in (tmp_path / "child.log").read_text()


def test_its_standard_input_ends_with_its_parent_and_end_ends_one_that_ignores_sigterm(tmp_path: Path) -> None:
    script = """
import infra.orchestrator.children as children
children.GRACE_SECONDS = 0.05

def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, b"ready")
    time.sleep(1000)

child = start(stubborn)
while not log.read_bytes():
    time.sleep(0.005)
end([child])
print(child.process.returncode, child.process.stdin.closed)

def watching():
    os.read(0, 1)
    Path("ended").touch()

start(watching)
sys.stdout.flush()
os._exit(0)
"""
    assert output(script, tmp_path) == "-9 True\n"
    while not (tmp_path / "ended").exists():
        time.sleep(0.005)
