"""Measure the tools that send whole trees: rsync over a real sshd, and casync's chunks; bytes both ways."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.deltas_trees import differences
from tests.system.sshd import Sshd

WALL = 1800
"""Seconds that a tool may take."""
RSYNC = "rsync -az --delete"
RSYNC_CHECKSUM = "rsync -az --delete --checksum"
CASYNC = "casync"
_CASYNC_KEEPS = ("--without=all", "--with=symlinks", "--with=permissions", "--with=nsec-time")
"""Attributes of a file that our own manifest has."""


def rsync(old: Path, new: Path, place: Path, host: Sshd, *more: str) -> int | str:
    """Bring a copy of the old tree to the new one; return the bytes that rsync exchanges with SSH, or why there is no figure."""
    if shutil.which("rsync") is None:
        return "rsync isn't installed"
    there = place / "rsync"
    subprocess.run(["cp", "-a", str(old), str(there)], check=True)
    command = [*RSYNC.split(), *more, "--stats", "-e", ssh(host, place), f"{new}/", f"127.0.0.1:{there}/"]
    stats = subprocess.run(command, check=True, capture_output=True, text=True, timeout=WALL).stdout
    left = differences(there, new)
    shutil.rmtree(there)
    if left:
        return f"{len(left)} paths stay as they were: same size and time, other bytes"
    return sum(_count(stats, f"Total bytes {way}") for way in ("sent", "received"))


def casync(old: Path, new: Path, place: Path) -> int | str:
    """Return the bytes of the chunks that only the new version has, and of its index, as files on a server."""
    if shutil.which("casync") is None:
        return "casync isn't installed"
    store = place / "chunks"
    store.mkdir()
    before: Mapping[Path, int] = {}
    for name, tree in (("old", old), ("new", new)):
        before = _sizes(store)
        command = ["casync", "make", *_CASYNC_KEEPS, f"--store={store}", str(place / f"{name}.caidx"), str(tree)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=WALL)
        if ended.returncode != 0:
            return _last(ended.stderr)
    crossed = sum(size for path, size in _sizes(store).items() if path not in before) + (place / "new.caidx").stat().st_size
    shutil.rmtree(store)
    return crossed


def ssh(host: Sshd, place: Path) -> str:
    """Return the command line of an OpenSSH client to the host."""
    known = place / "known_hosts"
    known.write_text(f"[127.0.0.1]:{host.port} {host.host_key}\n")
    settings = ("-F", "none", "-i", str(host.identity), "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes")
    return shlex.join(["ssh", "-p", str(host.port), *settings])


def _count(stats: str, what: str) -> int:
    found = re.search(rf"^{what}: ([\d,]+)$", stats, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"rsync prints no {what!r}:\n{stats}")
    return int(found[1].replace(",", ""))


def _sizes(store: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in store.rglob("*") if path.is_file()}


def _last(output: str) -> str:
    return (output.strip().splitlines() or ["it failed without a message"])[-1][:160]
