"""Small programs with names of their own, to be started and stopped in tests; whatever is left of them is ended by id."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

BOUND = 90.0
"""Most seconds to wait for anything."""
STUBBORN = "import pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
READY = "import os, pathlib, time\npathlib.Path(__file__ + '.ready').write_text(str(os.getpid()))\ntime.sleep(300)\n"


def eventually(holds: Callable[[], object]) -> None:
    """Wait until it holds, at most BOUND."""
    until = time.monotonic() + BOUND
    while not holds():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def state_of(pid: int) -> str:
    """As /proc tells; empty where there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def runs(pid: int) -> bool:
    return state_of(pid) not in ("", "Z", "X")


def forked() -> int:
    """``os.fork``; 3.12 warns where other threads live, and the child does but one thing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


class Programs:
    """Programs in a directory; ``name`` is unique to the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.name = f"sluice-test-{secrets.token_hex(6)}"
        self._started: list[subprocess.Popen[bytes]] = []

    def binary(self, name: str = "") -> Path:
        """A copy of ``sleep``."""
        path = self.directory / (name or self.name)
        shutil.copy("/bin/sleep", path)
        return path

    def script(self, text: str = "", name: str = "") -> Path:
        """A Python script that sleeps once it wrote its PID beside itself."""
        path = self.directory / (name or self.name)
        path.write_text(f"#!{sys.executable}\n{text}{READY}")
        path.chmod(0o755)
        return path

    def start(self, *words: str | Path) -> int:
        """Started by the test itself; the PID, once it is what was meant."""
        process = subprocess.Popen(list(map(str, words)), start_new_session=True)
        self._started.append(process)
        return process.pid

    def start_script(self, path: Path, *interpreter: str) -> int:
        pid = self.start(*interpreter, path)
        self.ready(path)
        return pid

    @staticmethod
    def ready(path: Path) -> int:
        """The PID that a script wrote."""
        mark = Path(f"{path}.ready")
        eventually(lambda: mark.exists() and mark.read_text())
        return int(mark.read_text())

    def reap(self) -> None:
        for process in self._started:
            process.poll()

    def end(self) -> None:
        """Everything that runs out of the directory."""
        for process in self._started:
            process.kill()
            process.wait()
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                words = [os.fsdecode(word) for word in Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")]
                if any(word.startswith(f"{self.directory}/") for word in words[:2]):
                    os.kill(int(name), signal.SIGKILL)
