"""Make the trees to send and build: their content cannot be compressed or shared."""

from __future__ import annotations

import os
from pathlib import Path

_PER_DIRECTORY = 100
_PIECE = 16 * 1024 * 1024


def many_files(root: Path, count: int, size: int) -> None:
    """Make ``count`` files of ``size`` bytes, a hundred a directory."""
    for number in range(count):
        directory = root / f"d{number // (_PER_DIRECTORY * 20):03}" / f"e{number // _PER_DIRECTORY:04}"
        if number % _PER_DIRECTORY == 0:
            directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file-{number:06}").write_bytes(os.urandom(size))


def one_file(root: Path, size: int) -> None:
    """Make one file of random bytes."""
    root.mkdir(parents=True)
    with open(root / "image.bin", "wb") as file:
        for at in range(0, size, _PIECE):
            file.write(os.urandom(min(_PIECE, size - at)))


def count_files(root: Path) -> tuple[int, int]:
    """Count files below, and their bytes: enough to verify that a run did its work."""
    found = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    return len(found), sum(found)
