"""Secrets of logins are asked for on a terminal, and nowhere else: never in a run of a worker, even if a terminal is its process's."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.transports import ssh_secrets

ASK = """
import fcntl, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)  # now /dev/tty is this terminal
from infra.transports.ssh_secrets import asked
print(asked("\\x1b[2JWord: "), asked("\\x1b[2JWord: "))
"""


@pytest.mark.parametrize(
    ("stdin", "stderr", "environment", "expected"),
    [
        (True, True, {}, "open sesame open sesame"),
        (False, True, {}, "None None"),
        (True, False, {}, "None None"),
        (False, False, {}, "None None"),
        (True, True, {"PREFECT__FLOW_RUN_ID": "0190d1d4-0000-7000-8000-000000000000"}, "None None"),
    ],
)
def test_only_a_command_on_a_terminal_asks_and_once(stdin: bool, stderr: bool, environment: dict[str, str], expected: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ASK, str(theirs)],
        stdin=theirs if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs if stderr else subprocess.DEVNULL,
        env=os.environ | environment,
        pass_fds=[theirs],
        start_new_session=True,
    )
    if expected.startswith("open"):
        shown = b""
        while not shown.endswith(b"Word: "):
            shown += os.read(ours, 100)
        assert b"\x1b" not in shown  # a name in the prompt may be another's
        os.write(ours, b"open sesame\n")
    assert process.communicate(timeout=120)[0].decode().strip() == expected
    os.close(theirs)
    os.close(ours)


def test_a_newline_at_the_end_of_a_secret_as_files_have_it_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """To sudo it would be a second line, which the command would get."""
    monkeypatch.setenv("SLUICE_SECRET_HQ", "three secret words\n")
    assert ssh_secrets.secret("HQ", "the password", "host") == "three secret words"


def test_a_display_stands_back_while_somebody_types(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    @contextmanager
    def aside() -> Iterator[None]:
        happened.append("aside")
        yield
        happened.append("back")

    monkeypatch.setattr(ssh_secrets, "_asked", {})
    monkeypatch.setattr(ssh_secrets, "typing", aside)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(ssh_secrets, "_line_typed", lambda prompt: happened.append(prompt) or "a word")
    assert [ssh_secrets.asked("Word: ") for _ in range(2)] == ["a word", "a word"]
    assert happened == ["aside", "Word: ", "back"]
