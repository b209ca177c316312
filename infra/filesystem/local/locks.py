"""Find paths that can't be replaced now, as far as the kernel tells without opening or locking anything (F2, docs/adr/0011).

Attributes come from statx, locks of other processes from /proc/locks. That names a file by its inode and by the device of its whole
file system, which on btrfs and overlays isn't the device that stat reports: so it is looked up by the file's mount.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from infra.filesystem.local.calls import Attributes, attributes
from infra.filesystem.local.directories import Directories
from infra.filesystem.local.mounts import mount_devices
from sluice.ports.filesystem import MOUNT_POINT, LockedPath

LOCKS = Path("/proc/locks")
Inode = tuple[int, int, int]
"""Major and minor number of the file system's device, and the inode on it."""


def locked_paths(names: Directories, paths: Iterable[str], *, replaced: bool) -> Iterator[LockedPath]:
    """See ``Root.locked``. Raises OSError."""
    locks = exclusive_locks() if replaced else {}
    devices = mount_devices() if locks else {}
    for path in paths:
        try:
            found = attributes(*names.at(path))
        except (FileNotFoundError, NotADirectoryError):
            continue
        why = _locking_attribute(found, replaced)
        if not why and locks:
            pid = locks.get((*devices.get(found.mount, found.device), found.inode))
            why = "" if pid is None else f"held by pid {pid}" if pid > 0 else "held by a process"
        if why:
            yield LockedPath(path, why)


def _locking_attribute(found: Attributes, replaced: bool) -> str:
    if found.is_immutable:
        return "immutable"
    if found.is_append_only:
        return "append-only"
    return MOUNT_POINT if replaced and found.is_mount_point else ""


def exclusive_locks() -> Mapping[Inode, int]:
    """Return files with an exclusive lock or lease and its holder: a PID, or -1 for locks of open files. Raises OSError."""
    try:
        lines = LOCKS.read_bytes().splitlines()
    except FileNotFoundError:  # a kernel without file locks
        return {}
    found: dict[Inode, int] = {}
    for line in lines:
        # 1: POSIX  ADVISORY  WRITE 1234 fe:00:131090 0 EOF, and "1: -> ..." for a waiting process
        fields = line.split()
        if len(fields) < 6 or fields[1] == b"->":
            continue
        _, _, how, access, pid, where = fields[:6]
        # A lease under recall shows its next state: our own stat of a file recalls a writer's.
        if access == b"WRITE" or how == b"BREAKING":
            major, _, rest = where.partition(b":")
            minor, _, inode = rest.partition(b":")
            if inode.isdigit():
                found.setdefault((int(major, 16), int(minor, 16), int(inode)), int(pid))
    return found
