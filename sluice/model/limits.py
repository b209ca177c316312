"""The limits of file systems: names, sizes, links and times that one can't hold."""

from __future__ import annotations

from dataclasses import dataclass

SECOND = 10**9


@dataclass(frozen=True, slots=True)
class Limits:
    """Those of one file system, as far as they are known; of most none matters."""

    name: str = ""
    """The file system, for a person."""
    no_names_with: str = ""
    """Characters that no name has, besides control characters; empty: any name will do."""
    no_names_ending_in: str = ""
    """Characters of which no name has one at its end: the kernel refuses it, or leaves it out."""
    size: int | None = None
    """Most bytes of a file."""
    has_links: bool = True
    has_files: bool = True
    """False: it shows what the kernel has, and nobody can make a file there."""
    folds_case: bool = False
    """Whether names that differ by case alone are one."""
    tick_ns: int = 1
    """Times are multiples of it."""
    times_ns: tuple[int, int] | None = None
    """The earliest and the latest."""

    def time(self, time_ns: int) -> int:
        """Return the time that the file system keeps if it is given this one, in nanoseconds."""
        if self.times_ns is not None:
            time_ns = min(max(time_ns, self.times_ns[0]), self.times_ns[1])
        return time_ns // self.tick_ns * self.tick_ns


NONE = Limits()
_FAT_TIMES = 315532800 * SECOND, 4354819198 * SECOND
"""1980 to 2107."""
_FAT_NAMES = '"*/:<>?\\|'
LIMITS = {
    "vfat": Limits("vfat", _FAT_NAMES, ". ", 2**32 - 1, has_links=False, folds_case=True, tick_ns=2 * SECOND, times_ns=_FAT_TIMES),
    "exfat": Limits("exfat", _FAT_NAMES, ".", has_links=False, folds_case=True, tick_ns=SECOND // 100, times_ns=_FAT_TIMES),
}
"""By the name that the kernel gives a file system."""
_KERNELS = "proc sysfs cgroup cgroup2 debugfs tracefs securityfs devpts pstore bpf configfs efivarfs fusectl binfmt_misc selinuxfs autofs"
LIMITS |= {kind: Limits(kind, has_files=False) for kind in _KERNELS.split()}
SMALL_INODES = Limits("an ext file system with inodes of 128 bytes", tick_ns=SECOND, times_ns=(-(2**31) * SECOND, (2**31 - 1) * SECOND))
