"""Where operations are put under fault: a memory file system for kills, ext4 images for power cuts, all within one's own mounts.

A power cut is a copy of an image's file while the file system on it is in use: what the kernel has given to the device by then. With
commits of the journal 300 seconds apart and no early allocation, that is next to nothing but what was synced; ``commit`` does what a
kernel may do at any time, and the worst of it: names become durable, data doesn't. Mounts are private to the
process and vanish with it, loop devices with them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.soak.running import Violation

IMAGE_BYTES = 80 * 1024 * 1024
OPTIONS = "loop,noatime,data=ordered,commit=300,noauto_da_alloc"
_NEW_MOUNTS = 0x00020000
_PROBE = ".commit"
_libc = ctypes.CDLL(None, use_errno=True)


def own_mounts(base: Path) -> None:
    """From here on this process's mounts are its own; ``base`` gets a memory file system, and ``live`` in it one of its own.

    So ``live`` is always a mount point, as it is for power cuts: an extraction would notice one that came since.
    """
    if _libc.unshare(_NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _call("mount", "--make-rprivate", "/")
    for place in (base, base / "live"):
        place.mkdir(exist_ok=True)
        _call("mount", "-t", "tmpfs", "-o", "mode=0755,size=4g", "soak", str(place))


def replace_tree(source: Path, place: Path) -> None:
    """Make ``place`` what ``source`` is, with times, modes and links."""
    empty(place)
    _call("cp", "-a", f"{source}/.", str(place))


def empty(place: Path) -> None:
    """Remove what is in it."""
    place.mkdir(mode=0o755, exist_ok=True)
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


class Image:
    """One ext4 file system in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, tree: Path, path: Path, place: Path) -> Image:
        """Made anew with the content of ``tree``; ``place`` is where it is mounted for that."""
        with path.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        _call("mkfs.ext4", "-q", "-F", "-m", "0", "-N", "2048", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(path))
        image = cls(path)
        with image.mounted(place):
            shutil.rmtree(place / "lost+found")
            (place / _PROBE).write_bytes(b"")
            replace_tree_into(tree, place)
        return image

    @contextmanager
    def mounted(self, place: Path) -> Iterator[None]:
        """Used at ``place``; its journal is replayed first where it was copied in use."""
        try:
            _call("mount", "-o", OPTIONS, str(self.path), str(place))
        except subprocess.CalledProcessError as error:
            raise Violation(f"the file system can't be mounted after the cut: {error.stderr!r}") from error
        try:
            yield
        finally:
            _call("umount", str(place))

    def copy(self, path: Path) -> Image:
        """Copy what lies in its file now; holes stay holes."""
        with self.path.open("rb") as source, path.open("wb") as target:
            target.truncate(IMAGE_BYTES)
            at = 0
            while at < IMAGE_BYTES:
                try:
                    at = os.lseek(source.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break
                end = os.lseek(source.fileno(), at, os.SEEK_HOLE)
                os.lseek(source.fileno(), at, os.SEEK_SET)
                os.lseek(target.fileno(), at, os.SEEK_SET)
                while at < end:
                    done = os.sendfile(target.fileno(), source.fileno(), at, end - at)
                    if not done:
                        break
                    at += done
        return Image(path)


def replace_tree_into(tree: Path, place: Path) -> None:
    """Copy the content of ``tree`` to what is mounted at ``place``."""
    _call("cp", "-a", f"{tree}/.", str(place))


def commit(place: Path) -> None:
    """Have the journal of the file system at ``place`` committed, without the data of any file of the operation."""
    with suppress(FileNotFoundError):
        fd = os.open(place / _PROBE, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, b".")
            os.fsync(fd)
        finally:
            os.close(fd)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, close_fds=True)
