"""Add a line to the crontab of an account, and take it out again, beside others that do the same; a part of ``host_program``."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

TURN_SECONDS = 60.0
"""Time to wait for others that change this account's crontab."""


def hook(directory: str) -> dict[str, Any]:
    """Have cron run the agent's recovery after each start of the host."""
    return {"hook": set_lines(hook_line(directory), wanted=True)}


def set_lines(line: str, wanted: bool) -> bool:
    """Have the account's crontab contain this line, or not; whether there is a crontab command at all.

    It is read and written whole, so one process does that at a time: they take turns by a lock on the account's home.
    """
    if shutil.which("crontab") is None:
        return False
    with turn():
        lines = crontab()
        changed = [each for each in lines if each != line] + [line] * wanted
        if (line in lines) != wanted:
            text = "".join(each + "\n" for each in changed).encode(errors="surrogateescape")
            subprocess.run(["crontab", "-"], input=text, check=True, stdout=subprocess.DEVNULL)
            if (line in crontab()) != wanted:
                raise OSError("crontab: " + ("the new line isn't in it" if wanted else "the line is still in it"))
    return True


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Wait until no other process of this account's changes its crontab."""
    home = pwd.getpwuid(os.geteuid()).pw_dir
    fd = os.open(home if os.path.isdir(home) else "/", os.O_RDONLY)
    try:
        deadline = time.monotonic() + TURN_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OSError("another process has been changing the crontab for a minute") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def crontab() -> list[str]:
    """Return the lines of this account's crontab; OSError if it can't be read: an unknown crontab mustn't be overwritten."""
    done = subprocess.run(
        ["crontab", "-l"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    problem = done.stderr.decode(errors="replace").strip()
    if done.returncode != 0 and problem and "no crontab" not in problem and "No such file" not in problem:
        raise OSError("crontab -l: " + problem)
    text = done.stdout.decode(errors="surrogateescape") if done.returncode == 0 else ""
    return text.removesuffix("\n").split("\n") if text else []


def hook_line(directory: str) -> str:
    """Return the crontab's line; a percent sign would mean a newline there."""
    return "@reboot " + recovery(directory).replace("%", "\\%") + " >/dev/null 2>&1"


def recovery(directory: str) -> str:
    """Return the command that ends an interrupted extraction."""
    launcher = os.path.join(directory, "agent", "sluice-agent")
    return " ".join([shlex.quote(launcher), "run", "--directory", shlex.quote(directory)])


def read(*parts: str) -> bytes:
    """Read a small file."""
    with open(os.path.join(*parts), "rb") as file:
        return file.read(1024 * 1024)


def fail(message: str, status: int = 1) -> NoReturn:
    """End with a message for a person."""
    sys.stderr.write(message + "\n")
    sys.exit(status)
