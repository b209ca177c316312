"""Scratch files: each belongs to its maker for as long as that holds it open; files of killed makers go when the next one is made."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.store.contents import translate_errors
from sluice.durable import TEMP_PREFIX, make_directory


@contextmanager
def scratch_file(directory: Path) -> Iterator[Path]:
    """Make an empty private file, removed afterwards. Raises StoreError, NoSpaceError."""
    with translate_errors(directory):
        make_directory(directory)
        _sweep(directory)
        file, path = _create_locked(directory)
    try:
        yield path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        os.close(file)


def _create_locked(directory: Path) -> tuple[int, Path]:
    """Create a file and lock it; one that was swept between the two is made again."""
    while True:
        file, name = tempfile.mkstemp(prefix=TEMP_PREFIX, dir=directory)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file, Path(name)
        os.close(file)


def _sweep(directory: Path) -> None:
    """Remove files whose makers are gone."""
    for name in os.listdir(directory):
        with suppress(FileNotFoundError):
            file = os.open(directory / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (directory / name).unlink()
            except BlockingIOError:
                pass  # in use
            finally:
                os.close(file)
