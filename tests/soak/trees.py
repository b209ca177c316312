"""Trees to distribute, by seed, and everything that can become of a path between two revisions."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from random import Random

SECOND = 10**9
LARGE = 2_600_000
"""Bytes: three blocks of a ``.ted``, and no whole number of them."""
NAMES = ("plain", "ünïcode-žluťoučký", "with space", "日本語", "dash-", "dot.conf")

Tree = dict[str, tuple[object, ...]]


def first_tree(top: Path, chance: Random, *, large: bool) -> None:
    """A tree with every kind of entry."""
    _directory(top, chance)
    for name in chance.sample(NAMES, 3):
        _file(top / name, chance)
    for name in ("to-directory", "to-link", "changes", "mode-changes", "goes", "moves", "stays"):
        _file(top / name, chance)
    (top / "link").symlink_to("stays")
    (top / "link-to-file").symlink_to("link")
    _directory(top / "empty", chance)
    _directory(top / "to-file", chance)
    _file(top / "to-file" / "below", chance)
    _directory(top / "deep", chance)
    _directory(top / "deep" / "deeper", chance)
    _file(top / "deep" / "deeper" / "changes", chance)
    _file(top / "read-only", chance, mode=0o444)
    if large:
        _file(top / "large", chance, size=LARGE)
    _stamp(top, chance)


def change_tree(top: Path, chance: Random) -> None:
    """The same after changes of every kind; which of the rest change is chance."""
    for name in ("to-directory", "to-link", "goes", "link-to-file"):
        (top / name).unlink()
    (top / "to-file" / "below").unlink()
    (top / "to-file").rmdir()
    (top / "empty").rmdir()
    _file(top / "to-file", chance)
    _file(top / "link-to-file", chance)
    (top / "to-link").symlink_to("deep/deeper")
    _directory(top / "to-directory", chance)
    _directory(top / "to-directory" / "empty-too", chance)
    _file(top / "to-directory" / "new", chance)
    (top / "moves").rename(top / "deep" / "moved")
    _file(top / "changes", chance)
    _file(top / "deep" / "deeper" / "changes", chance)
    (top / "mode-changes").chmod(0o600)
    (top / "link").unlink()
    (top / "link").symlink_to("changes")
    for path in sorted(top.iterdir()):
        if path.is_file() and not path.is_symlink() and chance.random() < 0.3:
            _file(path, chance, size=path.stat().st_size, mode=stat.S_IMODE(path.stat().st_mode))
    _stamp(top, chance)


def tree_at(top: Path) -> Tree:
    """Kind, mode, time and content of every path; staging left out."""
    found: Tree = {}
    if not os.path.lexists(top):
        return found
    paths = [top] if not top.is_dir() or top.is_symlink() else [top, *sorted(top.rglob("*"))]
    for path in paths:
        name = str(path.relative_to(top))
        if any(part.startswith(".sluice-") for part in path.relative_to(top).parts):
            continue
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("directory", mode, status.st_mtime_ns)
        else:
            found[name] = ("file", mode, status.st_mtime_ns, path.read_bytes())
    return found


def kinds_and_contents(tree: Tree) -> Tree:
    """Without modes and times, which follow the content."""
    without = {"file": slice(3, 4), "directory": slice(0), "link": slice(1, 2)}
    return {name: (entry[0], *entry[without[str(entry[0])]]) for name, entry in tree.items()}


def files_at(top: Path, *, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Every file's bytes, by path."""
    found = {str(path.relative_to(top)): path for path in top.rglob("*") if path.is_file() and path.name not in without}
    return {name: path.read_bytes() for name, path in found.items()}


def leftovers(top: Path) -> list[str]:
    """What nobody may find once all is over: temporary files, parts, staging, journals, marks of something unfinished."""
    found = []
    for path in top.rglob("*"):
        is_temporary = path.name.startswith((".tmp-", ".sluice-")) or path.name.endswith((".part", ".ted.index"))
        if is_temporary or path.name in ("journal", "scratch", "unfinished") or path.parent.name == "receiving":
            found.append(path)
    return sorted(str(path.relative_to(top)) for path in found)


def _file(path: Path, chance: Random, *, size: int | None = None, mode: int = 0o644) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(chance.randbytes(chance.randrange(1, 3000) if size is None else size))
    path.chmod(mode)


def _directory(path: Path, chance: Random) -> None:
    path.mkdir()
    path.chmod(chance.choice((0o755, 0o750)))


def _stamp(top: Path, chance: Random) -> None:
    for path in sorted(top.rglob("*"), reverse=True):
        if not path.is_symlink():
            when = 1_600_000_000 * SECOND + chance.randrange(10**8) * 1000
            os.utime(path, ns=(when, when))
    os.utime(top, ns=(1_700_000_000 * SECOND, 1_700_000_000 * SECOND))
