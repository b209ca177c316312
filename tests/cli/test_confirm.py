"""Nothing is destroyed unless somebody agrees, and nothing waits for an answer that nobody can give."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest

from cli.confirm import confirm
from sluice.errors import NotConfirmedError

ASK = (
    "import sys; from cli.confirm import confirm; from cli.failures import report\n"
    "try: confirm('2 objects', 'delete', yes=False, show=lambda: print('delete deployment build/zone', file=sys.stderr))\n"
    "except BaseException as error: sys.exit(report(error, as_json=False, debug=False))\n"
    "print('agreed')"
)


APPLY = """
import sys, types
from cli.failures import report
from cli.plan import _applied
from infra.orchestrator.changes import Act, Change, Changes, ObjectKind

standing = [("build/zone",), ("build/zone", "build/tools"), ("build/zone", "build/tools")]

async def apply(site, *, decide, say):
    names = standing.pop(0)
    return decide(Changes(tuple(Change(Act.DELETE, ObjectKind.DEPLOYMENT, name) for name in names)))

sys.modules["infra.orchestrator.apply"] = types.SimpleNamespace(apply=apply)
try:
    print("agreed to", len(_applied(None, yes=False, reviewed=None).changes))
except BaseException as error:
    sys.exit(report(error, as_json=False, debug=False))
"""


def own_terminal() -> None:
    """Have the keys of the terminal that is stdin make signals."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def answered(keys: bytes, program: str = ASK, *more: bytes) -> tuple[int, str]:
    """Ask on a terminal of its own, and type; more keys at each further question."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, cwd=Path(__file__).parents[2], preexec_fn=own_terminal
    ) as process:
        os.close(theirs)
        told = b""
        try:
            for number, typed in enumerate((keys, *more), 1):
                while told.count(b"[y/N]") < number:
                    told += os.read(ours, 1024)
                while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:  # a key that comes before it waits may be lost
                    time.sleep(0.01)
                os.write(ours, typed)
            while rest := os.read(ours, 1024):
                told += rest
        except OSError:  # the terminal's other end was closed
            pass
        code = process.wait()
    os.close(ours)
    return code, told.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "code", "end"),
    [(b"y\n", 0, "agreed"), (b"n\n", 14, "2 objects stayed"), (b"\n", 14, "the answer was no"), (b"\x04", 130, "interrupted")],
)
def test_on_a_terminal_it_asks_and_only_yes_is_yes(keys: bytes, code: int, end: str) -> None:
    found, told = answered(keys)
    assert (found, end in told) == (code, True), told
    assert told.index("delete deployment build/zone") < told.index("Delete 2 objects? [y/N]")


@pytest.mark.slow
def test_what_apply_would_delete_besides_what_was_agreed_to_is_asked_about_again() -> None:
    code, told = answered(b"y\n", APPLY, b"y\n")
    assert (code, "agreed to 2" in told) == (0, True), told
    assert told.index("Delete 1 object? [y/N]") < told.index("delete deployment build/tools") < told.index("Delete 2 objects? [y/N]")


@pytest.mark.slow
def test_one_ctrl_c_ends_the_question() -> None:
    code, told = answered(b"\x03", APPLY)
    assert (code, "\nsluice: interrupted" in told, "Traceback" in told) == (130, True, False), told


def test_without_a_terminal_it_refuses_at_once_and_names_what(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotConfirmedError, match=r"would delete 2 objects.*nothing was changed.*--yes") as refused:
        confirm("2 objects", "delete", yes=False, show=lambda: print("build/zone", file=sys.stderr))
    assert (refused.value.exit_code, capsys.readouterr().err) == (14, "build/zone\n")


@pytest.mark.parametrize("hidden", ["stdin", "stderr"])
def test_a_question_that_nobody_sees_or_can_answer_is_not_asked(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(getattr(sys, stream), "isatty", lambda stream=stream: stream != hidden)
    with pytest.raises(NotConfirmedError, match="without a terminal"):
        confirm("1 object", "delete", yes=False, show=lambda: None)


def test_yes_shows_and_asks_nothing() -> None:
    confirm("2 objects", "delete", yes=True, show=lambda: pytest.fail("it was shown"))
