"""Tell by which limits a directory's file system is bound. Nothing is written to find out."""

from __future__ import annotations

from infra.filesystem.local.calls import attributes
from infra.filesystem.local.mounts import mount_types
from sluice.model.limits import LIMITS, NONE, SMALL_INODES, Limits


def limits_of(directory: int) -> Limits:
    """Return the limits of an open directory's file system. Raises OSError."""
    found = attributes(directory, ".")
    kind = mount_types().get(found.mount, "")
    if kind in ("ext2", "ext3", "ext4") and not found.has_birth_time:  # for which there is room beside nanoseconds and later years alone
        return SMALL_INODES
    return LIMITS.get(kind, NONE)
