"""List the pairs to measure: real versions from the package indexes, and made ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import deltas_made as made
from bench.deltas_fetch import debian_source, npm, sdist, wheel

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


def _fetched(name: str, fetch: Fetch, package: str, old: str, new: str, about: str, *, is_small: bool = False) -> Pair:
    return Pair(name, f"{package} {old} → {new}, {about}", _versions(fetch, package, old, new), is_small)


def _made(name: str, about: str, maker: Callable[[Path, Path], None], *, is_small: bool = False) -> Pair:
    return Pair(name, about, lambda _, old, new: maker(old, new), is_small)


PAIRS = (
    _fetched("django-patch", sdist, "Django", "5.0", "5.0.1", "sdist", is_small=True),
    _fetched("django-minor", sdist, "Django", "4.2", "5.0", "sdist", is_small=True),
    _fetched("typescript", npm, "typescript", "5.4.5", "5.5.2", "npm", is_small=True),
    _fetched("esbuild", npm, "@esbuild/linux-x64", "0.21.5", "0.22.0", "npm, a Go binary"),
    _fetched("numpy", wheel, "numpy", "2.0.0", "2.0.1", "wheel"),
    Pair("linux", "Linux source 6.1.190 → 6.1.192, Debian", _versions(debian_source, "linux-source-6.1", "6.1.190-1", "6.1.192-1")),
    _made("sqlite", "a SQLite file of 100 MB, 1 % of its rows updated", made.sqlite),
    _made("image", "an image of 720 MB, 60 inserts and a move of 40 MB", made.image),
    _fetched("ruff", wheel, "ruff", "0.6.1", "0.6.2", "wheel"),
    _fetched("polars", wheel, "polars", "1.5.0", "1.6.0", "wheel"),
    _fetched("botocore", sdist, "botocore", "1.35.0", "1.35.1", "sdist", is_small=True),
    _fetched("jar", npm, "google-closure-compiler-java", "20240317.0.0", "20250407.0.0", "npm, one .jar"),
    _made("one-line", "300 text files, one line changed", made.one_line, is_small=True),
    _made("rename", "3,000 files, a directory of 1,000 renamed", made.rename, is_small=True),
    _made("touched", "10,000 files, every time differs, no byte does", made.touched, is_small=True),
    _made("log", "a log of 60 MB, 1 MB appended", made.log, is_small=True),
    _made("many", "100,000 files, one of them changed", made.many),
)
