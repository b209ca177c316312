"""Mode, time, owner and extended attributes of something that is open, set in the order in which the kernel keeps them all.

The owner comes first, since the kernel takes setuid bits and capabilities away with it; then attributes, since an ACL has a part of the
mode; then the mode, then the time. Of extended attributes those count that are a file's own: a user's, capabilities and POSIX ACLs. What
security modules and network file systems keep there for themselves isn't looked at.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable

from sluice.errors import DestinationError
from sluice.ports import Owner, Xattrs

USERS = "user."
KEPT = frozenset({"security.capability", "system.posix_acl_access", "system.posix_acl_default"})
NUMBER_MAX = 2**32 - 2
"""The greatest number of a user or group; the one above it means none."""
_NONE_THERE = frozenset({errno.ENODATA, errno.EOPNOTSUPP})
_NO_ROOM = frozenset({errno.E2BIG, errno.ERANGE, errno.ENOSPC, errno.EDQUOT})


def xattrs_of(place: int | str) -> Xattrs:
    """Those that count, of a descriptor or of a path that isn't a link; none where the file system has none. Raises OSError."""
    try:
        names = sorted(name for name in os.listxattr(place) if name.startswith(USERS) or name in KEPT)
        return tuple((name, os.getxattr(place, name)) for name in names)
    except OSError as error:
        if error.errno in _NONE_THERE:
            return ()
        raise


def set_all(
    place: int | str, *, mode: int, times_ns: tuple[int, int], owner: Owner | None = None, xattrs: Xattrs | None = None, where: str
) -> None:
    """Set what is given; ``xattrs`` are all that are there afterwards, of those that count. Raises OSError, DestinationError.

    Args:
        place: A descriptor, or a path that leads to what is open.
        times_ns: Of access and change.
        where: For errors.
    """
    if owner is not None:
        _set_owner(place, owner, where)
    if xattrs is not None:
        _set_xattrs(place, xattrs, where)
    os.chmod(place, mode)
    os.utime(place, ns=times_ns)


def owner_refused(owner: Owner, where: str) -> DestinationError:
    """What stands for an owner that may not be given away; the names of user and group are the blueprint's, their numbers ours."""
    return DestinationError(
        f"{where} may not be given to user {owner[0]}, group {owner[1]}",
        remedy="run the agent as root with the capability CAP_CHOWN (a container may lack it), or leave owner: out of the blueprint",
    )


def _set_owner(place: int | str, owner: Owner, where: str) -> None:
    try:
        os.chown(place, *owner)
    except PermissionError as error:
        if error.errno == errno.EPERM:  # of what is immutable, the mode may not be set either
            os.chmod(place, stat.S_IMODE(os.stat(place).st_mode))
            raise owner_refused(owner, where) from error
        raise


def _set_xattrs(place: int | str, wanted: Xattrs, where: str) -> None:
    standing = dict(xattrs_of(place))
    for name in standing.keys() - dict(wanted).keys():
        try:
            os.removexattr(place, name)
        except OSError as error:
            if error.errno != errno.ENODATA:  # somebody else removed it meanwhile
                raise
    for name, value in wanted:
        if standing.get(name) != value:
            try:
                os.setxattr(place, name, value)
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
    """``user:group`` as this machine numbers them; digits that nobody has as a name are the number. Raises DestinationError."""
    user, _, group = owner.partition(":")
    return (
        _number(user, "user", lambda name: pwd.getpwnam(name).pw_uid),
        _number(group, "group", lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(name: str, what: str, look_up: Callable[[str], int]) -> int:
    try:
        return look_up(name)
    except (KeyError, ValueError):  # ValueError: a name that no file of names can hold
        if name.isascii() and name.isdigit() and int(name) <= NUMBER_MAX:
            return int(name)
        raise DestinationError(
            f"there is no {what} {name!r:.64} on this Subscriber",
            remedy=f"create the {what} there, or name another as owner: in the blueprint",
        ) from None
