"""Every mutating system call of a process, held before it is done, and what becomes of it: by seccomp's user notification.

A child installs a filter on itself; from then on the kernel stops each call below, in it and in whatever it starts, until the
process that watches has answered: go on, fail with this error, do nothing and say 0. Whoever holds the answer back has the
process frozen between two calls, and may copy the disk or kill it there. Calls are counted in the order in which they happen,
over all threads; on x86-64 only. What isn't seen: writes through memory maps, which nothing here uses for what must last.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import socket
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

MACHINE = "x86_64"
WRITES_IN_PLACE: Final = {"write": 1, "pwrite64": 18, "writev": 20, "pwritev": 296, "pwritev2": 328}
SYNCS: Final = {"fsync": 74, "fdatasync": 75, "sync": 162, "sync_file_range": 277, "syncfs": 306}
CALLS: Final = {
    **WRITES_IN_PLACE,
    **SYNCS,
    "open": 2,
    "sendfile": 40,
    "truncate": 76,
    "ftruncate": 77,
    "rename": 82,
    "mkdir": 83,
    "rmdir": 84,
    "creat": 85,
    "link": 86,
    "unlink": 87,
    "symlink": 88,
    "chmod": 90,
    "fchmod": 91,
    "chown": 92,
    "fchown": 93,
    "lchown": 94,
    "utime": 132,
    "mknod": 133,
    "setxattr": 188,
    "lsetxattr": 189,
    "fsetxattr": 190,
    "removexattr": 197,
    "lremovexattr": 198,
    "fremovexattr": 199,
    "utimes": 235,
    "openat": 257,
    "mkdirat": 258,
    "mknodat": 259,
    "fchownat": 260,
    "futimesat": 261,
    "unlinkat": 263,
    "renameat": 264,
    "linkat": 265,
    "symlinkat": 266,
    "fchmodat": 268,
    "utimensat": 280,
    "fallocate": 285,
    "renameat2": 316,
    "copy_file_range": 326,
    "openat2": 437,
    "fchmodat2": 452,
}
_NAMES = {number: name for name, number in CALLS.items()}
_FLAGS_AT = {"open": 1, "openat": 2}
"""Which argument says whether an opening may change anything."""
_CHANGING = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_RDWR

_ARCH = 0xC000003E
_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_SECCOMP, _PIDFD_GETFD = 317, 438
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTIFICATION, _RESPONSE = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_CONTINUE = 1

_libc = ctypes.CDLL(None, use_errno=True)


def is_supported() -> bool:
    """Whether this machine's calls are known here."""
    return platform.machine() == MACHINE


def die_with_parent(parent: int) -> None:
    """End this process by SIGKILL once ``parent``, which started it, is gone."""
    _libc.prctl(_PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:
        os._exit(1)


def watch_me(channel: socket.socket) -> None:
    """Have this process watched by who holds the other end of ``channel``, from now on and with all it starts."""
    if os.geteuid() != 0:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # the kernel's condition for everybody but root
    program = _filter()
    listener = _libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    socket.send_fds(channel, [b"w"], [listener])
    os.close(listener)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))
    code: ctypes.Array[ctypes.c_char]


def _filter() -> _Program:
    """Notify of the calls above; of an opening only where it may change something."""
    code = [(_LOAD, 0, 0, 4), (_JUMP_EQUAL, 1, 0, _ARCH), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, 0)]
    for name, number in CALLS.items():
        if name in _FLAGS_AT:
            offset = 16 + 8 * _FLAGS_AT[name]
            code += [(_JUMP_EQUAL, 0, 4, number), (_LOAD, 0, 0, offset), (_JUMP_ANY_BIT, 0, 1, _CHANGING), (_RETURN, 0, 0, _NOTIFY)]
            code += [(_RETURN, 0, 0, _ALLOW)]
        else:
            code += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _NOTIFY)]
    code.append((_RETURN, 0, 0, _ALLOW))
    data = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))
    program = _Program(len(code), ctypes.cast(data, ctypes.c_void_p))
    program.code = data
    return program


@dataclass(frozen=True, slots=True)
class Call:
    """One call that waits for its answer."""

    id: int
    thread: int
    name: str
    args: tuple[int, ...]

    def on(self) -> str:
        """What a call on a descriptor is about: ``file``, ``directory``, ``other`` (a pipe, a socket); else empty."""
        if self.name not in WRITES_IN_PLACE and self.name not in SYNCS and self.name != "ftruncate":
            return ""
        if self.name == "sync":
            return "file"
        try:
            mode = os.stat(f"/proc/{self.thread}/fd/{self.args[0]}").st_mode
        except OSError:
            return "other"
        return "file" if stat.S_ISREG(mode) else "directory" if stat.S_ISDIR(mode) else "other"

    def changes(self) -> bool:
        """False for an openat2 that only reads, whose flags the filter can't see."""
        if self.name != "openat2":
            return True
        try:
            flags = struct.unpack("=Q", self._memory(self.args[2], 8))[0]
        except OSError:
            return False
        return bool(flags & _CHANGING)

    def process(self) -> int:
        """The process whose thread it is."""
        with open(f"/proc/{self.thread}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Tgid:"))

    def do_half(self) -> None:
        """Do the first half of a write in the caller's stead, as a disk that fills up or a kill in between does."""
        if self.name not in ("write", "pwrite64"):
            return
        fd, address, length = self.args[:3]
        data = self._memory(address, length // 2)
        pidfd = os.pidfd_open(self.process())
        try:
            taken = _libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
            if taken < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            try:
                if self.name == "write":
                    os.write(taken, data)
                else:
                    os.pwrite(taken, data, self.args[3])
            finally:
                os.close(taken)
        finally:
            os.close(pidfd)

    def _memory(self, address: int, length: int) -> bytes:
        with open(f"/proc/{self.thread}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(length)


class Listener:
    """Where the calls of one watched process and its descendants arrive."""

    def __init__(self, channel: socket.socket) -> None:
        """Waits until the process watched itself (``watch_me``)."""
        _, found, _, _ = socket.recv_fds(channel, 1, 1)
        if not found:
            raise OSError("the child ended before it was watched")
        self.fd = found[0]

    def receive(self) -> Call | None:
        """The call that waits; None where its process was killed meanwhile."""
        while True:
            buffer = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(self.fd, _RECEIVE, buffer)
            except FileNotFoundError:
                return None
            identity, thread, _, number, _, _, *args = _NOTIFICATION.unpack(buffer)
            return Call(identity, thread, _NAMES[number], tuple(args))

    def go_on(self, call: Call) -> None:
        """Let it be done."""
        self._answer(call, 0, _CONTINUE)

    def fail(self, call: Call, error: int) -> None:
        """Have it fail without being done."""
        self._answer(call, -error, 0)

    def skip(self, call: Call) -> None:
        """Say that it was done, and don't."""
        self._answer(call, 0, 0)

    def close(self) -> None:
        """Whoever still lives gets ENOSYS from here on."""
        os.close(self.fd)

    def _answer(self, call: Call, error: int, flags: int) -> None:
        with suppress(FileNotFoundError):  # it was killed meanwhile
            fcntl.ioctl(self.fd, _SEND, bytearray(_RESPONSE.pack(call.id, 0, error, flags)))
