"""What the demo started, written down, so that the next demo can end what one that was killed left behind.

A process is known by its pid and its start time: a pid alone can have been given to another program.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PATIENCE = 30.0
"""Seconds a process has to end by itself; `sluice up` ends its server and workers in that time."""


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: field 22 of its stat. None where it is gone."""
    with suppress(OSError):
        # The second field, the program's name in parentheses, may hold spaces and parentheses.
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    return None


@dataclass(frozen=True, slots=True)
class Started:
    """The file with a line for each process that was started; those that have ended since stay in it."""

    path: Path

    def note(self, name: str, pid: int) -> None:
        """Write one down."""
        with self.path.open("a") as file:
            file.write(f"{pid} {start_time(pid)} {name}\n")

    def left(self) -> list[tuple[str, psutil.Process]]:
        """Those that are still the very same processes."""
        found = []
        with suppress(FileNotFoundError):
            for line in self.path.read_text().splitlines():
                fields = line.split(" ", 2)
                # A line may be cut: its writer was killed.
                if len(fields) == 3 and fields[0].isdigit() and str(start_time(int(fields[0]))) == fields[1] != "None":
                    with suppress(psutil.Error):
                        found.append((fields[2], psutil.Process(int(fields[0]))))
        return found

    def end_left(self) -> list[str]:
        """End them and what they started; then begin the file anew. Returns their names and pids."""
        left = self.left()
        trees: list[psutil.Process] = []
        for _, process in left:
            with suppress(psutil.Error):
                trees += [process, *process.children(recursive=True)]
        for _, process in left:
            with suppress(psutil.Error):
                process.terminate()
        psutil.wait_procs([process for _, process in left], timeout=PATIENCE)
        for process in trees:
            with suppress(psutil.Error):
                process.kill()  # psutil compares the start time too
        self.path.write_text("")
        return [f"{name} (pid {process.pid})" for name, process in left]
