"""Compares what arrived with what was released: every path, content, mode and time, and nothing else beside."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path


def differences(wanted: Path, found: Path) -> list[str]:
    """What differs, in words; empty where the trees are equal."""
    left, right = _described(wanted), _described(found)
    said = [f"{path} is missing" for path in sorted(left.keys() - right.keys())]
    said += [f"{path} is too much" for path in sorted(right.keys() - left.keys())]
    said += [
        f"{path} differs: {right[path]} where {left[path]} was released"
        for path in sorted(left)
        if right.get(path, left[path]) != left[path]
    ]
    return said


def count_files(tree: Path) -> tuple[int, int]:
    """Files and their bytes."""
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
