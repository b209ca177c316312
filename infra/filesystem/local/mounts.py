"""Read which file systems are mounted where: a rename can't cross a mount point, even if one file system is mounted twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from infra.filesystem.local.calls import attributes

_ANYWHERE = -1
"""No directory: a path is absolute."""
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def mounts_below(directory: str) -> list[str]:
    """Return mount points below an absolute path without links, relative to it. Raises OSError."""
    prefix = directory.rstrip("/") + "/"
    found = set()
    for fields in _mounts():
        point = _text(fields[4])
        if point.startswith(prefix) and point != prefix:
            found.add(point.removeprefix(prefix))
    return sorted(found)


def is_mount_point(path: str) -> bool:
    """Whether something is mounted on an absolute path without links, be it a single file; False if the system doesn't tell."""
    parent, _, name = path.rpartition("/")
    try:
        return name in mounts_below(parent or "/")
    except OSError:
        return False


def places_of(paths: Sequence[str]) -> list[str]:
    """See ``Filesystem.places``."""
    mounts: dict[int, tuple[str, str, str]] = {}
    with suppress(OSError):
        mounts = {int(fields[0]): (fields[2].decode(), _text(fields[3]), _text(fields[4])) for fields in _mounts()}
    return [_place(path, mounts) for path in paths]


def _place(path: str, mounts: Mapping[int, tuple[str, str, str]]) -> str:
    found = None
    for existing in (path, *map(str, Path(path).parents)):
        with suppress(OSError):  # missing, or closed to this account: the next directory above it tells
            found = mounts.get(attributes(_ANYWHERE, existing).mount)
            break
    if found is None:
        return path
    device, top, point = found
    place = f"{top.rstrip('/')}/{path.removeprefix(point).lstrip('/')}"
    return device + (place.rstrip("/") or "/")


def mount_devices() -> Mapping[int, tuple[int, int]]:
    """Return major and minor number of each mount's file system, by the mount's number. Raises OSError."""
    found = {}
    for fields in _mounts():
        major, _, minor = fields[2].partition(b":")
        found[int(fields[0])] = int(major), int(minor)
    return found


def mount_types() -> Mapping[int, str]:
    """Return the kind of each mount's file system, such as ext4, by the mount's number. Raises OSError."""
    return {int(fields[0]): fields[fields.index(b"-") + 1].decode() for fields in _mounts()}


def _text(escaped: bytes) -> str:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), escaped).decode(errors="surrogateescape")


def _mounts() -> Iterator[list[bytes]]:
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        yield line.split(b" ")
