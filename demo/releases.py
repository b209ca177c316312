"""Two real releases of the IANA time zone database, from the package index to directories.

Each is pinned by its hash in ``demo/releases/``; which index is asked is the business of this machine's pip.
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
"""A package's own files, which no time zone database has."""
_SIZE_MAX = 16 * 1024 * 1024
"""Bytes of one release unpacked: 0.5 MB are usual."""


class NoReleaseError(Exception):
    """The package index didn't give it."""


def fetch(directory: Path) -> dict[str, Path]:
    """Each release's tree below ``directory``; what was fetched before isn't fetched again."""
    return {release: _unpacked(_downloaded(release, directory), directory / release) for release in RELEASES}


def replace_tree(release: Path, source: Path) -> None:
    """Make ``source`` what ``release`` is, as an administrator would: a copy that keeps modes and times."""
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
        raise NoReleaseError(f"tzdata {release} can't be fetched from the package index:\n{ran.stderr.strip()}")
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
                raise NoReleaseError(f"{wheel.name} names {path}, which leads out of it")
            place = directory / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(info))
            place.chmod(0o644)
            changed = datetime(*info.date_time, tzinfo=UTC).timestamp()
            os.utime(place, (changed, changed))
    return directory
