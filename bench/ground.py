"""Make fresh file systems to measure on: ext4 in a loop-mounted file, made anew before every run: none pays for another's deletions.

Where a loop file can't be mounted (not root, a container) it is a plain directory, emptied; ``kind`` says which, and the table shows it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

MKFS = ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-m", "0")
MOUNT = ("mount", "-o", "loop,relatime")
BUSY_SECONDS = 30.0
"""Seconds that an ending agent or sshd may still use a file system."""
MIB = 1024 * 1024
JOURNAL = 128 * MIB
"""Bytes of the journal; an eighth of a smaller file system."""


class Ground:
    """One file system of ``size`` bytes at ``mount``."""

    def __init__(self, directory: Path, name: str, size: int) -> None:
        """Set the parameters; nothing is mounted before ``renew``."""
        self.mount = directory / name
        self.mount.mkdir(parents=True)
        self._image, self._size = directory / f"{name}.img", size
        self._is_mounted = False
        self.kind = "ext4 on a loop file"

    def renew(self) -> None:
        """Make it empty and durable: no earlier write is pending."""
        self._unmount()
        if not self._is_mountable():
            self.kind = "a plain directory: no loop file can be mounted here"
            for path in self.mount.iterdir():
                shutil.rmtree(path)
        sync(self._image.parent)

    def close(self) -> None:
        """Unmount it; may be called twice."""
        self._unmount()
        self._image.unlink(missing_ok=True)

    def _is_mountable(self) -> bool:
        if os.geteuid() != 0:
            return False
        with open(self._image, "ab") as image:
            os.posix_fallocate(image.fileno(), 0, self._size)
        journal = min(JOURNAL, self._size // 8) // MIB
        subprocess.run([*MKFS, "-J", f"size={journal}", str(self._image)], check=True, stdout=subprocess.DEVNULL)
        sync(self._image.parent)
        mounted = subprocess.run([*MOUNT, str(self._image), str(self.mount)], check=False, capture_output=True)
        self._is_mounted = mounted.returncode == 0
        return self._is_mounted

    def _unmount(self) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while self._is_mounted:
            ended = subprocess.run(["umount", str(self.mount)], check=False, capture_output=True, text=True)
            self._is_mounted = ended.returncode != 0
            if self._is_mounted and time.monotonic() > deadline:
                raise RuntimeError(ended.stderr.strip())
            time.sleep(0.1 if self._is_mounted else 0)


def sync(path: Path) -> None:
    """Make everything on the file system of a path durable, as ``sync -f`` does."""
    subprocess.run(["sync", "-f", str(path)], check=True)
