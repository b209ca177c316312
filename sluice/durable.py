"""Files that survive a crash: the only home of the temp, fsync, rename, fsync-directory rule, and of the file lock.

After a function here returns, a power cut can't take its effect back; if the process is killed inside it, the old state stands and at
most a ``.tmp-`` file remains, which ``sweep`` removes. Directories given here are ours alone (working directories); hostile trees are
the Filesystem port's business.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from sluice.errors import NoSpaceError, StoreError, StoreLockedError

TEMP_PREFIX = ".tmp-"
EARLY = 8 * 1024 * 1024
"""Bytes after which the disk is set to work on a large file, so that the fsync at its end finds little left to do."""
_SYNC_FILE_RANGE_WRITE = 2
LOCK_POLL = 0.05
"""Seconds between two tries for a lock that another process holds."""


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Create a directory and its missing parents, each made durable in its parent."""
    if path.is_dir():
        return
    make_directory(path.parent, mode)
    with suppress(FileExistsError):
        path.mkdir(mode)
    sync_directory(path.parent)


@contextmanager
def temporary(directory: Path, *, mode: int = 0o600) -> Iterator[tuple[int, Path]]:
    """Open a new file in ``directory`` as (descriptor, path); removed on leaving unless it was renamed. Raises NoSpaceError, OSError."""
    path = directory / f"{TEMP_PREFIX}{os.getpid()}-{time.monotonic_ns()}"
    with _no_space_named(directory):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            yield fd, path
        finally:
            os.close(fd)
            with suppress(FileNotFoundError):
                path.unlink()


def no_space(error: OSError, path: Path | str, named: str = "") -> NoSpaceError | None:
    """Return the error of a system call on ``path`` that the disk had no room for: bytes, inodes or quota; None for any other.

    Args:
        named: The object in the message; the path if it is left out.
    """
    where = named or str(path)
    if error.errno == errno.EDQUOT:
        return NoSpaceError(
            f"no space left for {where} within the account's quota",
            remedy="raise the quota of the account that writes there, or free some of what it uses, then repeat",
        )
    if error.errno != errno.ENOSPC:
        return None
    if has_no_inodes(path):
        return NoSpaceError(
            f"no inodes left for {where}: its file system can't hold more files, whatever space is free (`df -i` shows it)",
            remedy="remove files that nobody needs there, or use a file system with more inodes, then repeat",
        )
    return NoSpaceError(f"no space left for {where}", remedy="free some space there, then repeat")


def has_no_inodes(path: Path | str) -> bool:
    """Whether the file system of a path, which needn't exist, counts its files and has no more of them."""
    for each in (Path(path), *Path(path).parents):
        with suppress(OSError):
            found = os.statvfs(each)
            return found.f_files > 0 and found.f_favail == 0
    return False


@contextmanager
def _no_space_named(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if full := no_space(error, directory):
            raise full from error
        raise


def move_into_place(temp: Path, path: Path, fd: int) -> None:
    """Make ``temp`` (open as ``fd``, in the same file system) durable and give it its final name, replacing a file that has it."""
    os.fsync(fd)
    temp.rename(path)
    sync_directory(path.parent)


def replace_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Give ``path`` the content ``data``: readers see the old or the new, never a part."""
    with temporary(path.parent, mode=mode) as (fd, temp):
        write_all(fd, data)
        move_into_place(temp, path, fd)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything; a short write is continued."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sweep(directory: Path) -> None:
    """Remove the temporary files of killed processes from ``directory``. The caller holds the lock that covers it."""
    with suppress(FileNotFoundError), os.scandir(directory) as found:
        for item in found:
            if item.name.startswith(TEMP_PREFIX):
                os.unlink(item.path)


def write_early(fd: int, offset: int, length: int) -> None:
    """Have the kernel begin to write a part of a file to disk, without waiting; a hint, which makes nothing durable."""
    call = _sync_file_range()
    if call is not None:
        call(fd, offset, length, _SYNC_FILE_RANGE_WRITE)


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    import ctypes  # here: a greeting writes nothing large

    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


@contextmanager
def locked(path: Path, *, what: str, wait: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path`` (created if missing, never removed); freed when the process dies.

    Args:
        what: Names the object in the error, for example ``Distribution zone``.
        wait: Seconds to wait for another holder.
    Raises:
        StoreLockedError: Another process still holds it after ``wait``.
        NoSpaceError, StoreError: The file can't be made or opened.
    """
    try:
        with _no_space_named(path.parent):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        remedy = "look at that directory, and at how its disk is mounted"
        if isinstance(error, PermissionError):
            remedy = "look up which account owns it, and run the command as that account"
        raise StoreError(f"{what}: {path}: {error.strerror}", remedy=remedy) from error
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreLockedError(
                        f"{what} is locked by another process ({path})", remedy="wait until it has finished, then repeat the command"
                    ) from None
                time.sleep(LOCK_POLL)
        yield
    finally:
        os.close(fd)
