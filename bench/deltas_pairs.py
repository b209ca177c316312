"""List the pairs to measure: real versions from the package indexes, and made ones.

Real versions are fetched with the package tools of this machine, as they are configured, and unpacked. No index is named here: pip, npm and
apt-get know theirs. Fetched files stay in the directory of downloads, so that a second run asks no index. Contents, modes and times are the
package's own.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import deltas_made as made
from bench.processes import NotMeasuredError, run_tool

FETCH_SECONDS = 600
"""Downloads a version and unpacks it."""
_PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
_WHEEL_FOR = ("--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11")
_PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64", "any")
Fetch = Callable[[Path, Path, str, str], None]
"""(directory of downloads, tree to make, package, version); raises NotMeasuredError."""
Make = Callable[[Path, Path, Path], None]
"""(directory of downloads, old tree, new tree); raises NotMeasuredError."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two versions of a tree."""

    name: str
    about: str
    make: Make
    is_small: bool = False
    """Done within a minute: ``--pairs small``."""


def _versions(fetch: Fetch, package: str, old: str, new: str) -> Make:
    def make(downloads: Path, old_tree: Path, new_tree: Path) -> None:
        fetch(downloads, old_tree, package, old)
        fetch(downloads, new_tree, package, new)

    return make


def _package(name: str, fetch: Fetch, package: str, old: str, new: str, about: str, *, is_small: bool = False) -> Pair:
    return Pair(name, f"{package} {old} → {new}, {about}", _versions(fetch, package, old, new), is_small)


def _made(name: str, about: str, maker: Callable[[Path, Path], None], *, is_small: bool = False) -> Pair:
    return Pair(name, about, lambda _, old, new: maker(old, new), is_small)


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


PAIRS = (
    _package("django-patch", sdist, "Django", "5.0", "5.0.1", "sdist", is_small=True),
    _package("django-minor", sdist, "Django", "4.2", "5.0", "sdist", is_small=True),
    _package("typescript", npm, "typescript", "5.4.5", "5.5.2", "npm", is_small=True),
    _package("esbuild", npm, "@esbuild/linux-x64", "0.21.5", "0.22.0", "npm, a Go binary"),
    _package("numpy", wheel, "numpy", "2.0.0", "2.0.1", "wheel"),
    Pair("linux", "Linux source 6.1.190 → 6.1.192, Debian", _versions(debian_source, "linux-source-6.1", "6.1.190-1", "6.1.192-1")),
    _made("sqlite", "a SQLite file of 100 MB, 1 % of its rows updated", made.sqlite),
    _made("image", "an image of 720 MB, 60 inserts and a move of 40 MB", made.image),
    _package("ruff", wheel, "ruff", "0.6.1", "0.6.2", "wheel"),
    _package("polars", wheel, "polars", "1.5.0", "1.6.0", "wheel"),
    _package("botocore", sdist, "botocore", "1.35.0", "1.35.1", "sdist", is_small=True),
    _package("jar", npm, "google-closure-compiler-java", "20240317.0.0", "20250407.0.0", "npm, one .jar"),
    _made("one-line", "300 text files, one line changed", made.one_line, is_small=True),
    _made("rename", "3,000 files, a directory of 1,000 renamed", made.rename, is_small=True),
    _made("touched", "10,000 files, every time differs, no byte does", made.touched, is_small=True),
    _made("log", "a log of 60 MB, 1 MB appended", made.log, is_small=True),
    _made("many", "100,000 files, one of them changed", made.many),
)
