"""Note the processes of a demo, so that the next demo can end those of a killed one.

A process is identified by its pid and its start time: a pid alone may belong to another program by now.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PATIENCE = 30.0
"""Seconds a process has to end by itself; `sluice up` ends its server and workers in that time."""


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot: field 22 of its stat. None if it is gone."""
    with suppress(OSError):
        # The second field, the program's name in parentheses, may contain spaces and parentheses.
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    return None


@dataclass(frozen=True, slots=True)
class StartedProcesses:
    """A file with a line for each process that was started, also for those that have ended since."""

    path: Path

    def note(self, name: str, pid: int) -> None:
        """Add a line for a process."""
        with self.path.open("a") as file:
            file.write(f"{pid} {start_time(pid)} {name}\n")

    def remaining(self) -> list[tuple[str, psutil.Process]]:
        """List the processes that still run."""
        found = []
        with suppress(FileNotFoundError):
            for line in self.path.read_text().splitlines():
                fields = line.split(" ", 2)
                # A line may be cut: its writer was killed.
                if len(fields) == 3 and fields[0].isdigit() and str(start_time(int(fields[0]))) == fields[1] != "None":
                    with suppress(psutil.Error):
                        found.append((fields[2], psutil.Process(int(fields[0]))))
        return found

    def end_remaining(self) -> list[str]:
        """End the remaining processes and their children, then empty the file. Returns their names and pids."""
        remaining = self.remaining()
        trees: list[psutil.Process] = []
        for _, process in remaining:
            with suppress(psutil.Error):
                trees += [process, *process.children(recursive=True)]
        for _, process in remaining:
            with suppress(psutil.Error):
                process.terminate()
        psutil.wait_procs([process for _, process in remaining], timeout=PATIENCE)
        for process in trees:
            with suppress(psutil.Error):
                process.kill()  # psutil compares the start time too
        self.path.write_text("")
        return [f"{name} (pid {process.pid})" for name, process in remaining]
