"""Fetch real versions with the package tools of this machine, as they are configured, and unpack them.

No index is named here: pip, npm and apt-get know theirs. Fetched files stay in the directory of downloads, so that a second run asks
no index. Contents, modes and times are the package's own.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

FETCH_SECONDS = 600
"""Downloads a version and unpacks it."""
_PIP = (sys.executable, "-m", "pip")
_WHEEL_FOR = ("--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11")
_PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64", "any")


class NotFetchedError(Exception):
    """A version cannot be fetched here; the message says why."""


def sdist(name: str, version: str) -> Callable[[Path, Path], None]:
    """Fetch a source distribution from the Python index."""

    def fetch(downloads: Path, tree: Path) -> None:
        command = [*_PIP, "download", "--quiet", "--no-deps", "--no-binary=:all:", f"{name}=={version}"]
        untar(_fetched(downloads, f"sdist-{name}-{version}", command, "--dest"), tree)

    return fetch


def wheel(name: str, version: str) -> Callable[[Path, Path], None]:
    """Fetch a wheel for CPython 3.11 on Linux x86_64."""

    def fetch(downloads: Path, tree: Path) -> None:
        platforms = [option for each in _PLATFORMS for option in ("--platform", each)]
        command = [*_PIP, "download", "--quiet", "--no-deps", *_WHEEL_FOR, *platforms, f"{name}=={version}"]
        unzip(_fetched(downloads, f"wheel-{name}-{version}", command, "--dest"), tree)

    return fetch


def npm(name: str, version: str) -> Callable[[Path, Path], None]:
    """Fetch a package from the npm registry."""

    def fetch(downloads: Path, tree: Path) -> None:
        place = "npm-" + name.replace("/", "-") + "-" + version
        untar(_fetched(downloads, place, ["npm", "pack", "--silent", f"{name}@{version}"], "--pack-destination"), tree)

    return fetch


def debian_source(name: str, version: str) -> Callable[[Path, Path], None]:
    """Fetch a Debian package that holds one tar archive of sources (``linux-source-6.1``)."""

    def fetch(downloads: Path, tree: Path) -> None:
        found = _fetched(downloads, f"deb-{name}-{version}", ["apt-get", "--quiet", "download", f"{name}={version}"], None)
        inside = tree.parent / (tree.name + ".deb")
        _run(["dpkg-deb", "--extract", str(found), str(inside)])
        untar(next(inside.rglob("*.tar.*")), tree)
        shutil.rmtree(inside)

    return fetch


def untar(archive: Path, tree: Path) -> None:
    """Unpack, without the archive's single top directory."""
    tree.mkdir(parents=True)
    command = ["tar", "--extract", "--file", str(archive), "--directory", str(tree), "--strip-components=1"]
    _run([*command, "--no-same-owner", "--no-same-permissions"])


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


def _fetched(downloads: Path, place: str, command: Sequence[str], destination: str | None) -> Path:
    """Return the one file that a command downloads."""
    directory = downloads / place
    if not directory.is_dir():
        if shutil.which(command[0]) is None:
            raise NotFetchedError(f"{command[0]} is not installed")
        partial = downloads / (place + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _run([*command, *([destination, str(partial)] if destination else [])], partial)
        partial.rename(directory)
    found = list(directory.iterdir())
    if len(found) != 1:
        raise NotFetchedError(f"{command[0]} downloaded {len(found)} files instead of one")
    return found[0]


def _run(command: Sequence[str], directory: Path | None = None) -> None:
    try:
        subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True, timeout=FETCH_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise NotFetchedError(f"{command[0]} took more than {FETCH_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        raise NotFetchedError(f"{Path(command[0]).name}: {_last_line(error.stderr)}") from error


def _last_line(output: str) -> str:
    """Return the last line of a tool's errors, without addresses."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    wanted = [line for line in lines if "rror" in line or line.startswith("E:")] or lines or ["it failed without a word"]
    return " ".join(word for word in wanted[-1].split() if "://" not in word)[:200]
