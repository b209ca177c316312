"""Measure Sluice on one pair: two builds into a real store; a real agent receives and extracts the older revision, then the delta.

The agent is a process of its own at the other end of two pipes: a transport doesn't change the bytes, and SSH's own are not
counted for any tool.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.deltas_drive import BLUEPRINTS, DISTRIBUTION, HOST
from bench.deltas_trees import differences
from bench.processes import NotMeasuredError, clean_environment, run, write_agent
from bench.site import write_site

EFFORTS = ("fast", "default", "max")
_PIECE = 1024 * 1024


def measure(old: Path, new: Path, directory: Path, *, effort: str) -> dict[str, Any]:
    """Measure one effort, in an empty directory on the trees' file system. Raises NotMeasuredError with the output of a failed step."""
    site = _make_site(directory, effort)
    _step("trust", site)
    with _as_source(old, site):
        _step("build", site)
    _step("send", site)
    with _as_source(new, site):
        built = _step("build", site)
        made = _step("delta", site)
        applied = _step("apply", site)
        sent = _step("send", site)
        if wrong := differences(site / "there" / DISTRIBUTION, site / "files"):
            raise NotMeasuredError(f"{len(wrong)} paths are not as sent: {wrong[0]}")
    return {
        "bytes": sent["sent"] + sent["received"],  # both ways: hello, metadata, index, manifest delta, contents, replies, order and receipt
        "payload": sent["payload"],  # bytes of the delta .ted, manifest delta included; a part of the above
        "delta_cpu": made["cpu"],  # seconds of making the delta, user and system, one process
        "build_cpu": built["cpu"],  # seconds of the whole build: reading and hashing every source file as well
        "agent_cpu": sent["agent_cpu"],  # seconds of the agent from its start to its end: received, completed, extracted, read back
        "agent_peak": sent["agent_peak"],  # bytes of its resident memory at most
        "build_peak": max(built["peak"], made["peak"]),
        "plain": made["plain"],  # bytes of the new contents, which the agent rebuilt
        "apply_cpu": applied["cpu"],  # seconds of rebuilding them and nothing else
        "about": {"send": sent, "delta": made, "apply": applied},
    }


def copy_rate(tree: Path, directory: Path) -> float:
    """Return bytes per second of CPU time of a plain copy of the largest file, to compare applying with; 0 if the file is small."""
    largest = max((path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()), key=lambda path: path.stat().st_size)
    size = largest.stat().st_size
    if size < 16 * _PIECE:
        return 0.0
    began = time.process_time()
    with open(largest, "rb", buffering=0) as source, open(directory / "copy", "wb", buffering=0) as copy:
        buffer = memoryview(bytearray(_PIECE))
        while count := source.readinto(buffer):
            copy.write(buffer[:count])
    spent = time.process_time() - began
    (directory / "copy").unlink()
    return size / spent


def _step(step: str, site: Path) -> Any:
    command = [sys.executable, "-m", "bench.deltas_drive", step, str(site)]
    return run(command, log=site / "log", environment=clean_environment()).figures


@contextmanager
def _as_source(tree: Path, site: Path) -> Iterator[None]:
    """Move the tree to the blueprint's source by a rename, so that no byte and no time changes."""
    tree.rename(site / "files")
    try:
        yield
    finally:
        (site / "files").rename(tree)


def _make_site(directory: Path, effort: str) -> Path:
    """Make a Distributor, one Distribution, and one Subscriber on this machine whose agent runs from this checkout."""
    site = directory / "site"
    (site / "there").mkdir(parents=True)
    write_agent(site / "host" / "agent")
    (site / "host").chmod(0o700)
    host = {
        "name": HOST,
        "address": f"local:{site / 'host'}",
        "working_directory": str(site / "host"),
        "variables": {"DEST": str(site / "there")},
        "extract": "never",
    }
    distribution = {
        "name": DISTRIBUTION,
        "platforms": ["linux"],  # which allow the kernel's aux.h
        "files": [{"source": str(site / "files"), "destination": f"{{{{ DEST }}}}/{DISTRIBUTION}", "synchronize": True}],
    } | ({} if effort == "default" else {"effort": effort})
    write_site(site / BLUEPRINTS, site / "hq", [host], [distribution])
    return site
