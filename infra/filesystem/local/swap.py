"""Exchange what two names stand for, on every file system, such that a killed swap can be finished or undone."""

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
"""Errors by which kernel or file system say that they lack a flag of renameat2."""
_BESIDE = ".old"
"""Ending of the second name of the old thing, beside the new one's."""
_TRIES = 64
"""How often something may appear or vanish at a name during a swap."""


def swap(source: Name, target: Name, where: str, *, occupied: bool, use_exchange: bool) -> bool:
    """Do as ``Root.swap``. Raises OSError, DestinationError.

    Args:
        where: The target, for errors.
        use_exchange: Whether the file system can exchange names, as far as is known.
    Returns:
        Whether it can.
    """
    for _ in range(_TRIES):
        try:
            if not occupied:
                move(source, target)
            elif use_exchange:
                exchange(source, target)
            else:
                exchange_by_link(source, target)
            return use_exchange
        except FileExistsError:
            if occupied:
                raise
            occupied = True
        except FileNotFoundError:
            if not occupied:
                raise
            occupied = False
        except OSError as error:
            if not (occupied and use_exchange and error.errno in UNSUPPORTED):
                raise
            use_exchange = False
    raise DestinationError(f"{where} appears and vanishes while it is replaced", remedy="end the program that writes there, then repeat")


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
    """Exchange two names at once. Raises OSError with an errno of UNSUPPORTED if kernel or file system can't."""
    calls.rename(*source, *target, calls.RENAME_EXCHANGE)


def exchange_by_link(source: Name, target: Name) -> None:
    """Exchange two names in three steps: the old thing gets a second name first, so that ``settle`` can tell how far we came.

    Neither a directory nor a file that may not be linked can have two names: its name is missing for a moment.
    """
    new, current = status(source), status(target)
    if new is None or current is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target[1])
    old = _beside(source)
    linked = False
    if not stat.S_ISDIR(current.st_mode) and not stat.S_ISDIR(new.st_mode):
        with suppress(OSError):
            os.link(target[1], old[1], src_dir_fd=target[0], dst_dir_fd=old[0], follow_symlinks=False)
            linked = True
    if not linked:
        _rename(target, old)
    _rename(source, target)
    _rename(old, source)


def settle(source: Name, target: Name, where: str) -> None:
    """Finish or undo an ``exchange_by_link`` that was killed. Harmless otherwise."""
    old = _beside(source)
    before = status(old)
    if before is None:
        return
    current = status(target)
    if status(source) is None:
        _rename(old, source)
    elif current is None:
        move(old, target)
    elif os.path.samestat(before, current):
        os.unlink(old[1], dir_fd=old[0])
    else:
        raise DestinationError(f"{where} was replaced by another program meanwhile", remedy="see what it is, remove it, then repeat")


def status(name: Name) -> os.stat_result | None:
    """Return the stat of a name, a link as itself; None if nothing has it."""
    try:
        return os.stat(name[1], dir_fd=name[0], follow_symlinks=False)
    except FileNotFoundError:
        return None


def _beside(name: Name) -> Name:
    return name[0], name[1] + _BESIDE


def _rename(source: Name, target: Name) -> None:
    os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])
