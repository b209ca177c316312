"""Fetch two real releases of the IANA time zone database from the package index and unpack them.

Each is pinned by its hash in ``demo/releases/``; the settings of this machine's pip choose the index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

RELEASES = ("2024.1", "2025.2")
"""Older and newer: 50 files differ, one is new."""
_INSIDE = PurePosixPath("tzdata/zoneinfo")
_NOT_DATA = {"__init__.py"}
"""Files of the Python package, which are not part of the time zone database."""
_SIZE_MAX = 16 * 1024 * 1024
"""Bytes of one unpacked release at most: 0.5 MB are usual."""


class NoReleaseError(Exception):
    """A release cannot be fetched from the package index."""


def fetch(directory: Path) -> dict[str, Path]:
    """Fetch and unpack each release below ``directory``, unless an earlier run has fetched it."""
    return {release: _unpacked(_downloaded(release, directory), directory / release) for release in RELEASES}


def replace_tree(release: Path, source: Path) -> None:
    """Replace ``source`` by a copy of ``release`` with its modes and times, as an administrator would."""
    if source.exists():
        shutil.rmtree(source)
    shutil.copytree(release, source, symlinks=True)


def _downloaded(release: str, directory: Path) -> Path:
    pinned = Path(__file__).parent / "releases" / f"{release}.txt"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    ran = subprocess.run(
        [*command, "--require-hashes", "--dest", str(directory), "-r", str(pinned)], capture_output=True, text=True, timeout=120
    )
    found = sorted(directory.glob(f"tzdata-{release}-*.whl"))
    if ran.returncode or not found:
        raise NoReleaseError(f"tzdata {release} cannot be fetched from the package index:\n{ran.stderr.strip()}")
    return found[0]


def _unpacked(wheel: Path, directory: Path) -> Path:
    if directory.exists():
        shutil.rmtree(directory)
    with zipfile.ZipFile(wheel) as archive:
        entries = [(PurePosixPath(info.filename), info) for info in archive.infolist() if not info.is_dir()]
        wanted = [(path.relative_to(_INSIDE), info) for path, info in entries if path.is_relative_to(_INSIDE)]
        if sum(info.file_size for _, info in wanted) > _SIZE_MAX:
            raise NoReleaseError(f"{wheel.name} unpacks to more than {_SIZE_MAX} bytes")
        for path, info in wanted:
            if path.suffix in (".py", ".pyc") or path.name in _NOT_DATA:
                continue
            if ".." in path.parts:
                raise NoReleaseError(f"{wheel.name} names {path}, which is outside of it")
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(info))
            target.chmod(0o644)
            changed = datetime(*info.date_time, tzinfo=UTC).timestamp()
            os.utime(target, (changed, changed))
    return directory
