"""Where other file systems are mounted: a rename can't cross them, also where one file system is mounted twice."""

from __future__ import annotations

import re
from pathlib import Path

_ESCAPE = re.compile(rb"\\([0-7]{3})")


def mounts_below(directory: str) -> list[str]:
    """Mount points below an absolute path without links, relative to it. Raises OSError."""
    prefix = directory.rstrip("/") + "/"
    found = set()
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        point = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), line.split(b" ")[4]).decode(errors="surrogateescape")
        if point.startswith(prefix) and point != prefix:
            found.add(point.removeprefix(prefix))
    return sorted(found)
