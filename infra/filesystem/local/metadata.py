"""Set mode, time, owner and extended attributes of an open file, in the order in which the kernel keeps them all.

The owner comes first, since the kernel takes setuid bits and capabilities away with it; then attributes, since an ACL has a part of the
mode; then the mode, then the time. Only a file's own extended attributes count: a user's, capabilities and POSIX ACLs. Those that
security modules and network file systems keep for themselves are left alone.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import stat
import struct
from collections.abc import Callable

from sluice.errors import DestinationError
from sluice.ports import Owner, Xattrs

USERS = "user."
KEPT = frozenset({"security.capability", "system.posix_acl_access", "system.posix_acl_default"})
NUMBER_MAX = 2**32 - 2
"""Highest number of a user or group; the next one means none."""
_GET_FLAGS = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
"""FS_IOC_GETFLAGS of most machines; where its number is another one, no flags are told."""
_FLAGS = {"s": 0x1, "u": 0x2, "S": 0x8, "d": 0x40, "A": 0x80, "c": 0x4, "j": 0x4000, "t": 0x8000, "C": 0x800000, "P": 0x20000000}
"""As lsattr orders them; those that lock a file are told as such."""
_NO_XATTRS = frozenset({errno.ENODATA, errno.EOPNOTSUPP})
_NO_ROOM = frozenset({errno.E2BIG, errno.ERANGE, errno.ENOSPC, errno.EDQUOT})


def flags_of(fd: int) -> str:
    """Return the letters of a file's flags that an administrator sets, as lsattr shows them. Raises OSError."""
    (found,) = struct.unpack("=I", fcntl.ioctl(fd, _GET_FLAGS, bytes(struct.calcsize("l")))[:4])
    return "".join(letter for letter, bit in _FLAGS.items() if found & bit)


def xattrs_of(file: int | str) -> Xattrs:
    """Return the extended attributes that count, of a descriptor or a path that isn't a link. Raises OSError."""
    try:
        names = sorted(name for name in os.listxattr(file) if name.startswith(USERS) or name in KEPT)
        return tuple((name, os.getxattr(file, name)) for name in names)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ()
        raise


def set_all(
    file: int | str, *, mode: int, times_ns: tuple[int, int], owner: Owner | None = None, xattrs: Xattrs | None = None, where: str
) -> None:
    """Set metadata; ``xattrs`` are all that remain, of those that count. Raises OSError, DestinationError.

    Args:
        file: A descriptor, or the path in /proc of one.
        times_ns: Times of access and change.
        where: For errors.
    """
    if owner is not None:
        _set_owner(file, owner, where)
    if xattrs is not None:
        _set_xattrs(file, xattrs, where)
    if stat.S_IMODE(os.stat(file).st_mode) != mode:  # else it could only take a setgid bit away: of a group that isn't ours
        os.chmod(file, mode)
    os.utime(file, ns=times_ns)


def may_give(owner: Owner) -> bool:
    """Whether this account may give its files to an owner, as far as its rights tell."""
    user, group = owner
    return os.geteuid() == 0 or (user == os.geteuid() and group in (os.getegid(), *os.getgroups()))


def owner_refused(owner: Owner, where: str = "it") -> DestinationError:
    """Return the error for an owner that may not be set; names of user and group are the blueprint's, numbers are this host's."""
    return DestinationError(
        f"{where} may not be given to user {owner[0]}, group {owner[1]}",
        remedy="run the agent as root with the capability CAP_CHOWN (a container may lack it), or leave owner: out of the blueprint",
    )


def _set_owner(file: int | str, owner: Owner, where: str) -> None:
    try:
        os.chown(file, *owner)
    except PermissionError as error:
        if error.errno == errno.EPERM:  # of an immutable file the mode may not be set either
            os.chmod(file, stat.S_IMODE(os.stat(file).st_mode))
            raise owner_refused(owner, where) from error
        raise


def _set_xattrs(file: int | str, wanted: Xattrs, where: str) -> None:
    current = dict(xattrs_of(file))
    for name in current.keys() - dict(wanted).keys():
        try:
            os.removexattr(file, name)
        except OSError as error:
            if error.errno != errno.ENODATA:  # another process removed it meanwhile
                raise
    for name, value in wanted:
        if current.get(name) != value:
            try:
                os.setxattr(file, name, value)
            except OSError as error:
                raise _refused(error, name, where) from error


def _refused(error: OSError, name: str, where: str) -> Exception:
    if error.errno == errno.EOPNOTSUPP:
        return DestinationError(
            f"{where}: its file system doesn't keep the extended attribute {name}",
            remedy="leave xattrs: out of the blueprint, or mount a file system that keeps them",
        )
    if error.errno == errno.EPERM and not name.startswith(USERS):
        return DestinationError(
            f"{where}: the extended attribute {name} may not be set", remedy="run the agent as root, or leave xattrs: out of the blueprint"
        )
    if error.errno in _NO_ROOM:
        return DestinationError(
            f"{where}: its file system has no room for the extended attribute {name}", remedy="leave xattrs: out of the blueprint"
        )
    return error


def numbers_of(owner: str) -> Owner:
    """Return this machine's numbers of ``user:group``; digits that no account has as a name are the number. Raises DestinationError."""
    user, _, group = owner.partition(":")
    return (
        _number(user, "user", lambda name: pwd.getpwnam(name).pw_uid),
        _number(group, "group", lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(name: str, what: str, look_up: Callable[[str], int]) -> int:
    try:
        return look_up(name)
    except (KeyError, ValueError):  # ValueError: a name that can't be in /etc/passwd
        if name.isascii() and name.isdigit() and int(name) <= NUMBER_MAX:
            return int(name)
        raise DestinationError(
            f"there is no {what} {name!r:.64} on this Subscriber",
            remedy=f"create the {what} there, or name another as owner: in the blueprint",
        ) from None
