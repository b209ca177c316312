"""What the demo prints, and the `sluice` commands it runs as a user would: each with its line, its output below it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from demo.leftovers import Started

COMMAND_SECONDS = 180.0
"""No command of the demo takes longer, also on a slow machine."""
POLL_SECONDS = 0.3


class DemoError(Exception):
    """The demo didn't go as it must."""


class Narrator:
    """Says what happens, with the time since the start."""

    def __init__(self, site: Path, environment: Mapping[str, str], logs: Path, noted: Started) -> None:
        self.started = time.monotonic()
        self._environment = dict(os.environ) | dict(environment) | {"SLUICE_SITE": str(site)}
        self._logs, self._noted = logs, noted
        self._command = str(Path(sys.executable).with_name("sluice"))

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self.started

    def step(self, text: str) -> None:
        """What comes now, in one line."""
        print(f"\n[{self.seconds:3.0f} s] {text}", flush=True)

    def say(self, text: str) -> None:
        """More about it."""
        for line in text.splitlines() or [""]:
            print(f"        {line}".rstrip(), flush=True)

    def run(self, *arguments: str) -> None:
        """Run a command to its end and show what it prints. Raises DemoError where it fails."""
        self._show(arguments)
        with self._started(arguments, subprocess.PIPE, subprocess.STDOUT) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self.say(line.rstrip("\n"))
            self._succeeded(arguments, process.wait(COMMAND_SECONDS))

    def begin(self, *arguments: str) -> Running:
        """Start a command that goes on while the demo does something else."""
        self._show(arguments)
        log = self._logs / f"{arguments[0]}.log"
        with log.open("w") as output:
            return Running(self, arguments, self._started(arguments, output, subprocess.STDOUT), log)

    def ask(self, *arguments: str) -> Any:
        """What a command answers as JSON, unseen."""
        with self._started([*arguments, "--json"], subprocess.PIPE, None) as process:
            output, _ = process.communicate(timeout=COMMAND_SECONDS)
            self._succeeded(arguments, process.returncode)
        return json.loads(output)

    def wait_until(self, what: str, condition: Callable[[], bool], *, seconds: float = COMMAND_SECONDS) -> None:
        """Poll until it holds. Raises DemoError where it never does."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError(f"after {seconds:.0f} s still not: {what}")
            time.sleep(POLL_SECONDS)

    def _show(self, arguments: Sequence[str]) -> None:
        print(f"        $ sluice {' '.join(arguments)}", flush=True)

    def _started(self, arguments: Sequence[str], output: Any, errors: Any) -> subprocess.Popen[str]:
        # Its own session: Ctrl-C is the demo's, which ends everything in order.
        process = subprocess.Popen(
            [self._command, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        self._noted.note(f"sluice {arguments[0]}", process.pid)
        return process

    def _succeeded(self, arguments: Sequence[str], status: int) -> None:
        if status:
            raise DemoError(f"`sluice {' '.join(arguments)}` ended with exit code {status}")


class Running:
    """A command that was begun."""

    def __init__(self, narrator: Narrator, arguments: Sequence[str], process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log
        self._narrator, self._arguments = narrator, arguments

    def said(self, text: str) -> bool:
        """Whether it has printed this. Raises DemoError where it ended without."""
        return text in self.log.read_text() or not self.goes_on()

    def goes_on(self) -> bool:
        """True. Raises DemoError where it ended before it should."""
        if self.process.poll() is not None:
            self._narrator.say(self.log.read_text())
            raise DemoError(f"`sluice {' '.join(self._arguments)}` ended with exit code {self.process.returncode}")
        return True

    def finish(self) -> None:
        """Wait for its end and show what it printed. Raises DemoError where it failed."""
        status = self.process.wait(COMMAND_SECONDS)
        self._narrator.say(self.log.read_text())
        if status:
            raise DemoError(f"`sluice {' '.join(self._arguments)}` ended with exit code {status}")
