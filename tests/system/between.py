"""Stands between sshd and the agent on a Subscriber, as whatever changes or holds bytes there would: below SSH its own MAC would notice.

``install`` puts this file in the place of the agent's launcher, which it calls; the settings lie beside it as JSON and are read anew by
every conversation. Leaves out: changing what the agent answers.

    flip        the payload data frame (0: the first) of which one byte in the middle is flipped
    flips       how often, counted over all conversations; a file keeps the count
    flip_every  every payload data frame has a byte flipped
    hold_at     bytes of payload after which nothing more is passed on while the file ``hold`` exists
    hold        a file; ``held`` is written beside it once it holds. A number in it: so many bytes more are passed on
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

HEADER = struct.Struct(">IB")
PAYLOAD_FRAME = 256 * 1024
"""Data frames from this size on are payload: indexes, manifests and metadata of the tests are smaller."""
REAL = "real-sluice-agent"
SETTINGS = "between.json"
COUNT = "flipped"


def install(launcher: Path, **settings: object) -> None:
    """Stand in front of the launcher from now on; called again, with other settings."""
    real = launcher.with_name(REAL)
    if not real.exists():
        launcher.rename(real)
        launcher.write_text(f"#!{sys.executable} -IS\n" + Path(__file__).read_text())
        launcher.chmod(0o700)
    launcher.with_name(COUNT).unlink(missing_ok=True)
    new = launcher.with_name(SETTINGS + ".new")
    new.write_text(json.dumps(settings))
    os.replace(new, launcher.with_name(SETTINGS))


def remove(launcher: Path) -> None:
    """The real launcher is called again; a conversation under way goes on."""
    os.replace(launcher.with_name(REAL), launcher)


class Between:
    """One conversation."""

    def __init__(self, directory: Path, arguments: list[str]) -> None:
        self.directory = directory
        self.settings = json.loads((directory / SETTINGS).read_text())
        self.agent = subprocess.Popen([str(directory / REAL), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.frames = self.payload = 0

    def run(self) -> int:
        threading.Thread(target=self._answers, daemon=True).start()
        with suppress(OSError):
            while frame := read_frame():
                self._pass_on(frame)
        with suppress(OSError):
            assert self.agent.stdin is not None
            self.agent.stdin.close()
        return self.agent.wait()

    def _answers(self) -> None:
        """Everything the agent says; its end is ours."""
        assert self.agent.stdout is not None
        while data := os.read(self.agent.stdout.fileno(), 65536):
            write(1, data)
        os._exit(self.agent.wait() & 0xFF)

    def _pass_on(self, frame: bytearray) -> None:
        assert self.agent.stdin is not None
        if frame[4:5] == b"D" and len(frame) > PAYLOAD_FRAME:
            if self.settings.get("flip_every") or (self.frames == self.settings.get("flip", -1) and self._may_flip()):
                frame[HEADER.size + len(frame) // 2] ^= 0x10
            self.frames += 1
            self.payload += len(frame) - HEADER.size
            self._hold()
        write(self.agent.stdin.fileno(), frame)

    def _may_flip(self) -> bool:
        count = self.directory / COUNT
        before = int(count.read_text()) if count.exists() else 0
        if before >= self.settings.get("flips", 1):
            return False
        count.write_text(str(before + 1))
        return True

    def _hold(self) -> None:
        hold = Path(self.settings.get("hold", "/nonexistent"))
        if self.payload < self.settings.get("hold_at", 1 << 62) or not hold.exists():
            return
        hold.with_name("held").write_text(str(self.agent.pid))
        while self.payload > self.settings["hold_at"] + more(hold) and os.getppid() != 1:
            time.sleep(0.01)


def more(hold: Path) -> int:
    """Bytes that may pass after ``hold_at``."""
    try:
        return int(hold.read_text() or "0")
    except FileNotFoundError:
        return 1 << 62


def read_frame() -> bytearray | None:
    """The next whole frame as it came; None at the end."""
    frame = bytearray()
    wanted = HEADER.size
    while len(frame) < wanted:
        data = os.read(0, wanted - len(frame))
        if not data:
            return None
        frame += data
        if len(frame) == HEADER.size:
            wanted = 4 + HEADER.unpack(frame)[0]
    return frame


def write(descriptor: int, data: bytes | bytearray) -> None:
    """All of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    sys.exit(Between(Path(sys.argv[0]).resolve().parent, sys.argv[1:]).run())
