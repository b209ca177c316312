"""Exchanging what two names stand for, on every file system, such that a killed swap can be finished or forgotten."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from infra.filesystem.local import calls
from sluice.errors import DestinationError

Name = tuple[int, str]
"""An open directory and a name in it."""

UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""How kernel or file system say that they lack a flag of renameat2."""
_BESIDE = ".old"
"""Ending of the second name of the old thing, beside the new one's."""


def move(source: Name, target: Name) -> None:
    """Rename to a name that nothing has; FileExistsError otherwise."""
    try:
        calls.rename(*source, *target, calls.RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        if status(target) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target[1]) from error
        os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])


def exchange(source: Name, target: Name) -> None:
    """Both names change what they stand for, at once. Raises OSError with an errno of UNSUPPORTED where that isn't to be had."""
    calls.rename(*source, *target, calls.RENAME_EXCHANGE)


def exchange_by_link(source: Name, target: Name) -> None:
    """The same in three steps: the old thing gets a second name first, so that ``settle`` can tell how far we came.

    Neither a directory nor a file that may not be linked can have two names: its name stands for nothing for a moment.
    """
    moving, standing = status(source), status(target)
    if moving is None or standing is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target[1])
    old = _beside(source)
    linked = False
    if not stat.S_ISDIR(standing.st_mode) and not stat.S_ISDIR(moving.st_mode):
        with suppress(OSError):
            os.link(target[1], old[1], src_dir_fd=target[0], dst_dir_fd=old[0], follow_symlinks=False)
            linked = True
    if not linked:
        _rename(target, old)
    _rename(source, target)
    _rename(old, source)


def settle(source: Name, target: Name) -> None:
    """After a kill inside ``exchange_by_link``: as before it, or as after it. Harmless otherwise."""
    old = _beside(source)
    was = status(old)
    if was is None:
        return
    standing = status(target)
    if status(source) is None:
        _rename(old, source)
    elif standing is None:
        move(old, target)
    elif os.path.samestat(was, standing):
        os.unlink(old[1], dir_fd=old[0])
    else:
        raise DestinationError("was replaced by something else while it was placed")


def status(name: Name) -> os.stat_result | None:
    """What has a name, a link as itself; None if nothing has."""
    try:
        return os.stat(name[1], dir_fd=name[0], follow_symlinks=False)
    except FileNotFoundError:
        return None


def _beside(name: Name) -> Name:
    return name[0], name[1] + _BESIDE


def _rename(source: Name, target: Name) -> None:
    os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])
