"""The directories below a root, opened without following links and kept open for their neighbours."""

from __future__ import annotations

import os
from collections import OrderedDict

from infra.filesystem.local.calls import open_beneath
from sluice.errors import DestinationError

HELD_OPEN = 32
"""Most directories that stay open: neighbours in a manifest share theirs."""
PATH_MAX = 4096
"""Bytes that the kernel takes as one path; trees that others made may be deeper."""
DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directories:
    """Turns paths below an open directory into (descriptor of the directory that holds it, name there). Raises OSError as it comes."""

    def __init__(self, fd: int, *, use_openat2: bool) -> None:
        self.fd = fd
        self.use_openat2 = use_openat2
        self._held: OrderedDict[str, int] = OrderedDict()

    def at(self, path: str) -> tuple[int, str]:
        """Where a path lies; valid until some thirty other directories were opened."""
        if not path:
            return self.fd, "."
        parent, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            raise DestinationError(f"{path!r} is no path below a destination")
        return self.directory(parent), name

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """Open what stands at a path; the caller closes it and passes O_NOFOLLOW."""
        directory, name = self.at(path)
        return os.open(name, flags, mode, dir_fd=directory)

    def directory(self, path: str) -> int:
        """A directory below, kept open: not to be closed by the caller."""
        if not path:
            return self.fd
        held = self._held.get(path)
        if held is not None:
            self._held.move_to_end(path)
            return held
        if not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise DestinationError(f"{path!r} is no path below a destination")
        parent, _, name = path.rpartition("/")
        if not parent or parent in self._held:
            fd = os.open(name, DIRECTORY, dir_fd=self._held.get(parent, self.fd))
        elif self.use_openat2 and len(os.fsencode(path)) < PATH_MAX:
            fd = open_beneath(self.fd, path, DIRECTORY)
        else:
            fd = open_part_by_part(self.fd, path)
        self._held[path] = fd
        if len(self._held) > HELD_OPEN:
            os.close(self._held.popitem(last=False)[1])
        return fd

    def forget(self, path: str) -> None:
        """Close what is held open at and below a path whose meaning changes."""
        below = f"{path}/"
        for each in [each for each in self._held if not path or each == path or each.startswith(below)]:
            os.close(self._held.pop(each))

    def close(self) -> None:
        """Close everything, the root too; may be called twice."""
        self.forget("")
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_part_by_part(fd: int, path: str) -> int:
    """What ``open_beneath`` does for directories, on kernels without openat2 and for paths of any length."""
    current = os.dup(fd)
    for part in path.split("/"):
        try:
            deeper = os.open(part, DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = deeper
    return current
