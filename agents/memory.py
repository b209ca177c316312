"""The memory that this process may use, as its ``hello`` says: the machine's, or the lowest limit on it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUP_FILES = {"": "memory.max", "memory": "memory.limit_in_bytes"}
"""File with the limit, by controller: of version 2, which has no controllers' names in /proc/self/cgroup, and of version 1."""


def memory(*, process: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> int:
    """Return bytes: physical memory, RLIMIT_AS, or the limit of the control group or of one above it, whatever is least."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_of_groups(process, mounted)]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        found.append(soft)
    return min(found)


def _of_groups(process: Path, mounted: Path) -> Iterator[int]:
    lines = list[str]()
    with suppress(OSError):
        lines = process.read_text().splitlines()
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        for controller in controllers.split(","):
            file = CGROUP_FILES.get(controller)
            if file is None:
                continue
            top = mounted / controller
            group = top / path.strip("/")
            for each in (group, *group.parents):
                with suppress(OSError, ValueError):  # no limit there is the word max, or a figure beyond any memory
                    yield int((each / file).read_text())
                if each == top:
                    break
