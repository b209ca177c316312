"""System calls that Python doesn't offer: openat2, renameat2, statx, syncfs."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import NamedTuple

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_OPENAT2 = 437  # the same on every architecture
_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "armv7l": 382, "i686": 353, "ppc64le": 357, "s390x": 347}
_STATX = {"x86_64": 332, "aarch64": 291, "riscv64": 291, "armv7l": 397, "i686": 383, "ppc64le": 383, "s390x": 379}
_STATX_SIZE = 256
_STATX_INO = 0x100
_STATX_BTIME = 0x800
_STATX_MNT_ID = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
_ATTR_IMMUTABLE = 0x10
_ATTR_APPEND = 0x20
_ATTR_MOUNT_ROOT = 0x2000
_TRIES = 64
"""Tries of openat2, which fails with EAGAIN while another process renames directories."""

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(directory: int, path: str, flags: int) -> int:
    """Open ``path`` below an open directory without following any link. Raises OSError; ENOSYS or EPERM if the call isn't available."""
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
    """Call renameat2. Raises OSError; EINVAL or ENOSYS if kernel or file system lack the flag."""
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


class Attributes(NamedTuple):
    """Attributes of a file that stat doesn't report."""

    is_immutable: bool
    is_append_only: bool
    is_mount_point: bool
    device: tuple[int, int]
    """Major and minor number, as stat has them."""
    inode: int
    mount: int
    """Number of its mount in /proc/self/mountinfo; 0 if the kernel doesn't report it."""
    has_birth_time: bool
    """Whether its file system keeps the time at which it was made."""


def attributes(directory: int, name: str) -> Attributes:
    """Call statx, a link as itself; attributes that kernel or file system don't report are taken as absent. Raises OSError."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    flags, mask = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT, _STATX_INO | _STATX_BTIME | _STATX_MNT_ID
    if hasattr(_libc, "statx"):
        failed = _libc.statx(directory, os.fsencode(name), flags, mask, buffer)
    else:
        number = ctypes.c_long(_STATX.get(platform.machine(), -1))  # -1 fails with ENOSYS
        failed = _syscall(number, ctypes.c_int(directory), ctypes.c_char_p(os.fsencode(name)), flags, mask, buffer)
    if failed:
        error = ctypes.get_errno()
        if error not in (errno.ENOSYS, errno.EPERM):  # EPERM: the filter of a container that is older than the call
            raise OSError(error, os.strerror(error), name)
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        return Attributes(False, False, False, (os.major(found.st_dev), os.minor(found.st_dev)), found.st_ino, 0, True)
    reported, _, bits = struct.unpack_from("=IIQ", buffer, 0)
    (inode,) = struct.unpack_from("=Q", buffer, 32)
    major, minor, mount = struct.unpack_from("=IIQ", buffer, 136)
    return Attributes(
        bool(bits & _ATTR_IMMUTABLE),
        bool(bits & _ATTR_APPEND),
        bool(bits & _ATTR_MOUNT_ROOT),
        (major, minor),
        inode,
        mount if reported & _STATX_MNT_ID else 0,
        bool(reported & _STATX_BTIME),
    )


def sync_filesystem(fd: int) -> None:
    """Call syncfs: make everything on an open file's file system (not O_PATH) durable. Raises OSError, also for earlier write errors."""
    if not hasattr(_libc, "syncfs"):
        os.sync()
    elif _libc.syncfs(fd):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
