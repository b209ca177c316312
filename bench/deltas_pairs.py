"""List the pairs to measure: real versions from the package indexes, and made ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import deltas_made as made
from bench.deltas_fetch import debian_source, npm, sdist, wheel

Fetch = Callable[[Path, Path], None]
"""(directory of downloads, tree to make)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two versions of a tree."""

    name: str
    about: str
    make: Callable[[Path, Path, Path], None]
    """(directory of downloads, old tree, new tree); raises NotFetchedError."""
    is_small: bool = False
    """Done within a minute: ``--pairs small``."""


def _fetched(name: str, about: str, old: Fetch, new: Fetch, *, is_small: bool = False) -> Pair:
    def make(downloads: Path, old_tree: Path, new_tree: Path) -> None:
        old(downloads, old_tree)
        new(downloads, new_tree)

    return Pair(name, about, make, is_small)


def _made(name: str, about: str, maker: Callable[[Path, Path], None], *, is_small: bool = False) -> Pair:
    return Pair(name, about, lambda _, old, new: maker(old, new), is_small)


def _pip(name: str, package: str, old: str, new: str, kind: Callable[[str, str], Fetch], *, is_small: bool = False) -> Pair:
    return _fetched(name, f"{package} {old} → {new}, {kind.__name__}", kind(package, old), kind(package, new), is_small=is_small)


def _npm(name: str, package: str, old: str, new: str, about: str, *, is_small: bool = False) -> Pair:
    return _fetched(name, f"{package} {old} → {new}, {about}", npm(package, old), npm(package, new), is_small=is_small)


KERNEL = "linux-source-6.1"

PAIRS = (
    _pip("django-patch", "Django", "5.0", "5.0.1", sdist, is_small=True),
    _pip("django-minor", "Django", "4.2", "5.0", sdist, is_small=True),
    _npm("typescript", "typescript", "5.4.5", "5.5.2", "npm", is_small=True),
    _npm("esbuild", "@esbuild/linux-x64", "0.21.5", "0.22.0", "npm, a Go binary"),
    _pip("numpy", "numpy", "2.0.0", "2.0.1", wheel),
    _fetched(
        "linux", "Linux source 6.1.190 → 6.1.192, Debian", debian_source(KERNEL, "6.1.190-1"), debian_source(KERNEL, "6.1.192-1")
    ),
    _made("sqlite", "a SQLite file of 100 MB, 1 % of its rows updated", made.sqlite),
    _made("image", "an image of 720 MB, 60 inserts and a move of 40 MB", made.image),
    _pip("ruff", "ruff", "0.6.1", "0.6.2", wheel),
    _pip("polars", "polars", "1.5.0", "1.6.0", wheel),
    _pip("botocore", "botocore", "1.35.0", "1.35.1", sdist, is_small=True),
    _npm("jar", "google-closure-compiler-java", "20240317.0.0", "20250407.0.0", "npm, one .jar"),
    _made("one-line", "300 text files, one line changed", made.one_line, is_small=True),
    _made("rename", "3,000 files, a directory of 1,000 renamed", made.rename, is_small=True),
    _made("touched", "10,000 files, every time differs, no byte does", made.touched, is_small=True),
    _made("log", "a log of 60 MB, 1 MB appended", made.log, is_small=True),
    _made("many", "100,000 files, one of them changed", made.many),
)  # fmt: skip


def chosen(names: list[str]) -> list[Pair]:
    """Return pairs by name; ``small`` and ``all`` stand for several. Raises SystemExit for an unknown name."""
    found = {pair.name: pair for pair in PAIRS}
    wanted: dict[str, Pair] = {}
    for name in names:
        if name in ("small", "all"):
            wanted |= {pair.name: pair for pair in PAIRS if pair.is_small or name == "all"}
        elif name in found:
            wanted[name] = found[name]
        else:
            raise SystemExit(f"bench: there is no pair {name!r}; there are: small, all, {', '.join(found)}")
    return list(wanted.values())
