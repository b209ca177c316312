"""Compare an extracted tree with its release: every path, content, mode and time, and no further path."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path


def differences(wanted: Path, found: Path) -> list[str]:
    """List the differences in words; empty if the trees are equal."""
    released, extracted = _described(wanted), _described(found)
    listed = [f"{path} is missing" for path in sorted(released.keys() - extracted.keys())]
    listed += [f"{path} is not in the release" for path in sorted(extracted.keys() - released.keys())]
    changed = [path for path in sorted(released) if extracted.get(path, released[path]) != released[path]]
    return listed + [f"{path} is {extracted[path]}, not {released[path]} as released" for path in changed]


def count_files(tree: Path) -> tuple[int, int]:
    """Count files and their bytes."""
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    return len(files), sum(path.stat().st_size for path in files)


def _described(tree: Path) -> dict[str, str]:
    return {str(path.relative_to(tree)): _one(path) for path in tree.rglob("*")} if tree.is_dir() else {}


def _one(path: Path) -> str:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return f"link to {path.readlink()}"
    times = f"{stat.S_IMODE(found.st_mode):o} {found.st_mtime_ns}"
    if stat.S_ISDIR(found.st_mode):
        return f"directory {times}"
    return f"file {times} {hashlib.sha256(path.read_bytes()).hexdigest()}"
