"""System calls that Python doesn't offer: openat2, renameat2, syncfs."""

from __future__ import annotations

import ctypes
import errno
import os
import platform

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_OPENAT2 = 437  # the same on every architecture
_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "armv7l": 382, "i686": 353, "ppc64le": 357, "s390x": 347}
_TRIES = 64
"""openat2 answers EAGAIN while somebody else renames directories."""

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(directory: int, path: str, flags: int) -> int:
    """Open ``path`` below an open directory without following any link. Raises OSError; ENOSYS or EPERM where it isn't to be had."""
    how = _How(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    encoded = os.fsencode(path)
    for _ in range(_TRIES):
        fd: int = _syscall(_OPENAT2, ctypes.c_int(directory), ctypes.c_char_p(encoded), ctypes.byref(how), ctypes.c_size_t(24))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    else:
        number = errno.EBUSY
    raise OSError(number, os.strerror(number), path)


def kernel_opens_beneath() -> bool:
    """Whether ``open_beneath`` works here; a container's filter may forbid it."""
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(open_beneath(fd, ".", os.O_PATH | os.O_DIRECTORY))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def rename(from_directory: int, from_name: str, to_directory: int, to_name: str, flags: int) -> None:
    """renameat2. Raises OSError; EINVAL or ENOSYS where kernel or file system lack the flag."""
    old, new = os.fsencode(from_name), os.fsencode(to_name)
    if hasattr(_libc, "renameat2"):
        failed = _libc.renameat2(from_directory, old, to_directory, new, flags)
    else:
        number = _RENAMEAT2.get(platform.machine())
        if number is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), to_name)
        failed = _syscall(number, from_directory, ctypes.c_char_p(old), to_directory, ctypes.c_char_p(new), ctypes.c_uint(flags))
    if failed:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), to_name)


def sync_filesystem(fd: int) -> None:
    """syncfs: everything on the file system of an open file (not O_PATH) becomes durable. Raises OSError, also for earlier write errors."""
    if not hasattr(_libc, "syncfs"):
        os.sync()
    elif _libc.syncfs(fd):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
