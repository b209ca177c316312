"""The directories below a root, opened without following links and kept open for their neighbours."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from infra.filesystem.local.calls import open_beneath
from sluice.errors import DestinationError

OPEN_MAX = 32
"""Most directories that stay open: neighbours in a manifest share theirs."""
PATH_MAX = 4096
"""Bytes of the longest path that the kernel takes; other programs' trees may be deeper."""
DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directories:
    """Turns a path below an open directory into the descriptor of its parent and its name there. Lets OSError through."""

    def __init__(self, fd: int, *, use_openat2: bool) -> None:
        self.fd = fd
        self.use_openat2 = use_openat2
        self._open: OrderedDict[str, int] = OrderedDict()

    def at(self, path: str) -> tuple[int, str]:
        """Return a path's parent directory and its name there; valid until some thirty other directories were opened."""
        if not path:
            return self.fd, "."
        parent, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            raise DestinationError(f"{path!r} isn't a path below a destination")
        return self.directory(parent), name

    @contextmanager
    def opened(self, path: str, flags: int, mode: int = 0) -> Iterator[int]:
        """Open a path, without following a link, for as long as the context lasts."""
        directory, name = self.at(path)
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)
        try:
            yield fd
        finally:
            os.close(fd)

    def directory(self, path: str) -> int:
        """Return a directory below, which is kept open: the caller mustn't close it."""
        if not path:
            return self.fd
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        if not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise DestinationError(f"{path!r} isn't a path below a destination")
        parent, _, name = path.rpartition("/")
        if not parent or parent in self._open:
            fd = os.open(name, DIRECTORY, dir_fd=self._open.get(parent, self.fd))
        elif self.use_openat2 and len(os.fsencode(path)) < PATH_MAX:
            fd = open_beneath(self.fd, path, DIRECTORY)
        else:
            fd = open_part_by_part(self.fd, path)
        self._open[path] = fd
        if len(self._open) > OPEN_MAX:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def forget(self, path: str) -> None:
        """Close the directories at and below a path that is to name something else."""
        below = f"{path}/"
        for each in [each for each in self._open if not path or each == path or each.startswith(below)]:
            os.close(self._open.pop(each))

    def close(self) -> None:
        """Close everything, the root too; may be called twice."""
        self.forget("")
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_part_by_part(fd: int, path: str) -> int:
    """Open a directory as ``open_beneath`` does, on kernels without openat2 and for paths of any length."""
    current = os.dup(fd)
    for part in path.split("/"):
        try:
            deeper = os.open(part, DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = deeper
    return current
