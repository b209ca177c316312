"""Translate OSErrors of destinations into Sluice's errors, here and nowhere else. Any errno not listed is a DestinationError."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from sluice.errors import DestinationError, LockedTargetError, NoSpaceError, SluiceError

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_LOCKED = frozenset({errno.EPERM, errno.EBUSY, errno.ETXTBSY, errno.EAGAIN})
"""EPERM: immutable or append-only. EBUSY: a mount point, or in use. EAGAIN: a lease, since we open without waiting."""
_REMEDIES = {
    errno.ELOOP: "a link is in the way: remove it, or name the real directory as destination",
    errno.ENOTDIR: "a link, or something that isn't a directory, is in the way: remove it, or name another destination",
    errno.EACCES: "give the agent's account the right, or run the agent as root",
    errno.EROFS: "the file system is mounted read-only",
    errno.EXDEV: "another file system was mounted there meanwhile: repeat the command",
    errno.ENAMETOOLONG: "choose a shorter destination",
    errno.EMFILE: "raise the limit of open files",
    errno.EIO: "the disk fails: look into the kernel's log",
}


def translate(error: OSError, where: str) -> SluiceError:
    """Return the error for a failed system call on ``where``."""
    number = error.errno or 0
    text = error.strerror or str(error)
    if number in _NO_SPACE:
        return NoSpaceError(f"no space left for {where}", remedy="free some space, then repeat")
    # Only an immutable directory (on older kernels), a security module or a server's lock denies root.
    if number in _LOCKED or (number == errno.EACCES and os.geteuid() == 0):
        return LockedTargetError(
            f"locked: {where} ({text})", remedy="end the program that uses it, or make it mutable; the next extract tries again"
        )
    return DestinationError(f"{where}: {text}", remedy=_REMEDIES.get(number, ""))


class translate_errors:  # noqa: N801 - used like a function
    """A context in which OSErrors become Sluice's errors. A class, because it is entered several times for each file."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise translate(error, self._where) from error
