"""Measure the tools that send whole trees: rsync over a real sshd, and casync's chunks; bytes both ways."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from bench.deltas_trees import differences
from bench.lab import ssh
from bench.processes import NotMeasuredError, run_tool
from tests.system.sshd import Sshd

WALL = 1800
"""Seconds that a tool may take."""
RSYNC = "rsync -az --delete"
RSYNC_CHECKSUM = "rsync -az --delete --checksum"
CASYNC = "casync"
_CASYNC_KEEPS = ("--without=all", "--with=symlinks", "--with=permissions", "--with=nsec-time")
"""Attributes of a file that our own manifest has."""


def rsync(command: str, old: Path, new: Path, scratch: Path, host: Sshd) -> int:
    """Bring a copy of the old tree to the new one; return the bytes that rsync exchanges with SSH. Raises NotMeasuredError."""
    updated = scratch / "rsync"
    subprocess.run(["cp", "-a", str(old), str(updated)], check=True)
    ends = (f"{new}/", f"127.0.0.1:{updated}/")
    stats = run_tool([*command.split(), "--stats", "-e", ssh(host, scratch), *ends], seconds=WALL)
    stale = differences(updated, new)
    shutil.rmtree(updated)
    if stale:
        raise NotMeasuredError(f"{len(stale)} paths stay as they were: same size and time, other bytes")
    counts = re.findall(r"^Total bytes (?:sent|received): ([\d,]+)$", stats, re.MULTILINE)
    if len(counts) != 2:
        raise RuntimeError(f"rsync doesn't print its bytes both ways:\n{stats}")
    return sum(int(count.replace(",", "")) for count in counts)


def casync(old: Path, new: Path, scratch: Path) -> int:
    """Return the bytes of the chunks that only the new version has, and of its index, as files on a server. Raises NotMeasuredError."""
    store = scratch / "chunks"
    store.mkdir()
    sizes = []
    for tree in (old, new):
        run_tool(["casync", "make", *_CASYNC_KEEPS, f"--store={store}", str(scratch / f"{tree.name}.caidx"), str(tree)], seconds=WALL)
        sizes.append(sum(path.stat().st_size for path in store.rglob("*") if path.is_file()))
    shutil.rmtree(store)
    return sizes[1] - sizes[0] + (scratch / f"{new.name}.caidx").stat().st_size
