"""Translate OSErrors of destinations into Sluice's errors, here and nowhere else. Any errno not listed is a DestinationError."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from infra.filesystem.local.mounts import is_mount_point
from sluice.durable import no_space
from sluice.errors import DestinationError, LockedTargetError, SluiceError
from sluice.ports.filesystem import mounted_error

_LOCKED = frozenset({errno.EPERM, errno.EBUSY, errno.ETXTBSY, errno.EAGAIN})
"""EPERM: immutable or append-only. EBUSY: in use, unless it is a mount point. EAGAIN: a lease, since we open without waiting."""
_REMEDIES = {
    errno.ELOOP: "a link is in the way: remove it, or name the real directory as destination",
    errno.ENOTDIR: "a link, or something that isn't a directory, is in the way: remove it, or name another destination",
    errno.EACCES: "give the agent's account the right, or run the agent as root",
    errno.EROFS: "name a destination on a file system that isn't read-only; if it ought not to be, look into the kernel's log",
    errno.EXDEV: "repeat the command; if it fails again, an overlay can't rename that directory of its lower layer: move it away yourself",
    errno.ENAMETOOLONG: "choose a shorter destination, or shorter names in the source",
    errno.EMFILE: "raise the limit of open files",
    errno.ENFILE: "raise the machine's limit of open files (sysctl fs.file-max)",
    errno.EFBIG: "choose a destination on a file system that can hold files of that size",
    errno.EINVAL: "if its file system can't have that name, rename it in the source; else look into the kernel's log",
    errno.EIO: "the disk fails: look into the kernel's log",
    errno.ESTALE: "the network file system lost it: mount it anew, then repeat the command",
    errno.ENOTCONN: "the program behind that file system ended: mount it anew, then repeat the command",
    errno.EOPNOTSUPP: "choose a destination on a file system that can do that",
}


def translate(error: OSError, where: str) -> SluiceError:
    """Return the error for a failed system call on ``where``."""
    number = error.errno or 0
    text = error.strerror or str(error)
    if full := no_space(error, where):
        return full
    if number == errno.EBUSY and is_mount_point(where):
        return mounted_error(where)
    # Only an immutable directory (on older kernels), a security module or a server's lock denies root.
    if number in _LOCKED or (number == errno.EACCES and os.geteuid() == 0):
        return LockedTargetError(
            f"locked: {where} ({text})", remedy="end the program that uses it, or make it mutable; the next extract tries again"
        )
    return DestinationError(f"{where}: {text}", remedy=_REMEDIES.get(number, "look into the kernel's log"))


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
