"""Fetch real versions with the package tools of this machine, as they are configured, and unpack them.

No index is named here: pip, npm and apt-get know theirs. Fetched files stay in the directory of downloads, so that a second run asks
no index. Contents, modes and times are the package's own.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from bench.processes import NotMeasuredError, run_tool

FETCH_SECONDS = 600
"""Downloads a version and unpacks it."""
_PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
_WHEEL_FOR = ("--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11")
_PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64", "any")


def sdist(downloads: Path, tree: Path, name: str, version: str) -> None:
    """Fetch a source distribution from the Python index."""
    untar(_fetched(downloads, f"sdist-{name}-{version}", [*_PIP, "--no-binary=:all:", f"{name}=={version}"], "--dest"), tree)


def wheel(downloads: Path, tree: Path, name: str, version: str) -> None:
    """Fetch a wheel for CPython 3.11 on Linux x86_64."""
    platforms = [option for each in _PLATFORMS for option in ("--platform", each)]
    unzip(_fetched(downloads, f"wheel-{name}-{version}", [*_PIP, *_WHEEL_FOR, *platforms, f"{name}=={version}"], "--dest"), tree)


def npm(downloads: Path, tree: Path, name: str, version: str) -> None:
    """Fetch a package from the npm registry."""
    kept = "npm-" + name.replace("/", "-") + "-" + version
    untar(_fetched(downloads, kept, ["npm", "pack", "--silent", f"{name}@{version}"], "--pack-destination"), tree)


def debian_source(downloads: Path, tree: Path, name: str, version: str) -> None:
    """Fetch a Debian package that holds one tar archive of sources (``linux-source-6.1``)."""
    found = _fetched(downloads, f"deb-{name}-{version}", ["apt-get", "--quiet", "download", f"{name}={version}"], None)
    inside = tree.parent / (tree.name + ".deb")
    run_tool(["dpkg-deb", "--extract", str(found), str(inside)], seconds=FETCH_SECONDS)
    untar(next(inside.rglob("*.tar.*")), tree)
    shutil.rmtree(inside)


def untar(archive: Path, tree: Path) -> None:
    """Unpack, without the archive's single top directory."""
    tree.mkdir(parents=True)
    command = ["tar", "--extract", "--file", str(archive), "--directory", str(tree), "--strip-components=1"]
    run_tool([*command, "--no-same-owner", "--no-same-permissions"], seconds=FETCH_SECONDS)


def unzip(archive: Path, tree: Path) -> None:
    """Unpack with the times and modes that the archive names; a wheel's programs to ``bin``, as an installation does."""
    with zipfile.ZipFile(archive) as held:
        for info in held.infolist():
            path = Path(held.extract(info, tree))
            mode = info.external_attr >> 16
            if path.is_file():
                path.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
                at = time.mktime((*info.date_time, 0, 0, -1))
                os.utime(path, (at, at))
    for scripts in tree.glob("*.data/scripts"):
        scripts.rename(tree / "bin")
        scripts.parent.rmdir()


def _fetched(downloads: Path, kept: str, command: Sequence[str], destination: str | None) -> Path:
    """Return the one file that a command downloads. Raises NotMeasuredError."""
    directory = downloads / kept
    if not directory.is_dir():
        partial = downloads / (kept + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        run_tool([*command, *([destination, str(partial)] if destination else [])], seconds=FETCH_SECONDS, directory=partial)
        partial.rename(directory)
    found = list(directory.iterdir())
    if len(found) != 1:
        raise NotMeasuredError(f"{command[0]} downloaded {len(found)} files instead of one")
    return found[0]
