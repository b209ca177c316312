"""Everything below a directory as it is on disk, to compare what stood before with what stands after."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class Thing(NamedTuple):
    """Whatever has one name; the number of its names and the times of its last access and status change don't count."""

    kind: str
    content: str
    """Digest, link text or device number; of a directory nothing."""
    inode: int
    mode: int
    owner: tuple[int, int]
    xattrs: tuple[tuple[str, bytes], ...]
    """All of them, access control lists included."""
    mtime_ns: int


Snapshot = dict[str, Thing]
"""By absolute path."""


def snapshot(top: Path) -> Snapshot:
    """Look at everything below ``top`` and at itself; nothing is followed."""
    found = {str(top): look(str(top))}
    for path in _walk(str(top)):
        found[path] = look(path)
    return found


def look(path: str) -> Thing:
    """Look at one name."""
    status = os.lstat(path)
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    content = ""
    if kind == "file":
        content = blake3(Path(path).read_bytes()).hexdigest()
    elif kind == "link":
        content = os.readlink(path)
    elif kind == "device":
        content = str(status.st_rdev)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    xattrs = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    return Thing(kind, content, status.st_ino, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid), xattrs, status.st_mtime_ns)


def _walk(directory: str) -> Iterator[str]:
    with os.scandir(directory) as names:
        below = [(item.path, item.is_dir(follow_symlinks=False)) for item in names]
    for path, is_directory in sorted(below):
        yield path
        if is_directory:
            yield from _walk(path)
