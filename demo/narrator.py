"""Print the demo's steps, and run `sluice` commands as a user would: each is printed with its output below."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from demo.leftovers import StartedProcesses

COMMAND_SECONDS = 180.0
"""Seconds that a command of the demo may take at most, also on a slow machine."""
POLL_SECONDS = 0.3


class DemoError(Exception):
    """A step of the demo failed."""


class Narrator:
    """Prints the steps, with the time since the start, and runs commands."""

    def __init__(self, site: Path, environment: Mapping[str, str], logs: Path, processes: StartedProcesses) -> None:
        self.started = time.monotonic()
        self.environment = dict(os.environ) | dict(environment) | {"SLUICE_SITE": str(site)}
        self._logs, self._processes = logs, processes
        self.command = str(Path(sys.executable).with_name("sluice"))

    @property
    def seconds(self) -> float:
        """Return the seconds since the demo began."""
        return time.monotonic() - self.started

    def step(self, text: str) -> None:
        """Print what the next step is, in one line."""
        print(f"\n[{self.seconds:3.0f} s] {text}", flush=True)

    def say(self, text: str) -> None:
        """Print details of the step."""
        for line in text.splitlines() or [""]:
            print(f"        {line}".rstrip(), flush=True)

    def run(self, *arguments: str) -> None:
        """Run a command to its end and show what it prints. Raises DemoError if it fails."""
        self._show(arguments)
        with self._start(arguments, subprocess.PIPE, subprocess.STDOUT) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self.say(line.rstrip("\n"))
            check(arguments, process.wait(COMMAND_SECONDS))

    def begin(self, *arguments: str) -> Running:
        """Start a command that runs while the demo goes on."""
        self._show(arguments)
        log = self._logs / f"{arguments[0]}.log"
        with log.open("w") as output:
            return Running(self, arguments, self._start(arguments, output, subprocess.STDOUT), log)

    def ask(self, *arguments: str) -> Any:
        """Run a command without printing it, and return its JSON."""
        with self._start([*arguments, "--json"], subprocess.PIPE, None) as process:
            output, _ = process.communicate(timeout=COMMAND_SECONDS)
            check(arguments, process.returncode)
        return json.loads(output)

    def wait_until(self, what: str, condition: Callable[[], bool], *, seconds: float = COMMAND_SECONDS) -> None:
        """Poll until the condition holds. Raises DemoError if it doesn't in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError(f"not reached after {seconds:.0f} s: {what}")
            time.sleep(POLL_SECONDS)

    def _show(self, arguments: Sequence[str]) -> None:
        print(f"        $ sluice {' '.join(arguments)}", flush=True)

    def _start(self, arguments: Sequence[str], output: Any, errors: Any) -> subprocess.Popen[str]:
        # Its own session: Ctrl-C is the demo's, which ends everything in order.
        process = subprocess.Popen(
            [self.command, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        self._processes.note(f"sluice {arguments[0]}", process.pid)
        return process


def check(arguments: Sequence[str], status: int) -> None:
    """Raise DemoError if a command failed."""
    if status:
        raise DemoError(f"`sluice {' '.join(arguments)}` ended with exit code {status}")


class Running:
    """A command that runs beside the demo."""

    def __init__(self, narrator: Narrator, arguments: Sequence[str], process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log
        self._narrator, self._arguments = narrator, arguments

    def has_printed(self, text: str) -> bool:
        """Whether it has printed a text. Raises DemoError if it ended without."""
        return text in self.log.read_text() or not self.is_running()

    def is_running(self) -> bool:
        """Return True. Raises DemoError if it has ended too early."""
        if self.process.poll() is not None:
            self._narrator.say(self.log.read_text())
            raise DemoError(f"`sluice {' '.join(self._arguments)}` ended with exit code {self.process.returncode}")
        return True

    def finish(self) -> None:
        """Wait for its end and print its output. Raises DemoError if it failed."""
        status = self.process.wait(COMMAND_SECONDS)
        self._narrator.say(self.log.read_text())
        check(self._arguments, status)
