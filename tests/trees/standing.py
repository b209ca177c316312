"""Whatever stands on a host before a Distribution comes, and whatever its people do to what was placed."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from tests.trees.growing import (
    content_of,
    extend,
    file_at,
    is_directory,
    is_file,
    is_link,
    kind_of,
    mode_of,
    name_of,
    paths_in,
    remove,
    special_at,
    stamp,
    time_of,
)

NOBODY = 65534
_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10
"""Of ioctl, and chattr's +i."""
KINDS = ("directory", "empty", "file", "same", "link", "dangling", "loop", "pipe", "socket", "device", "hard link")
WEIGHTS = (30, 10, 14, 12, 8, 5, 2, 3, 3, 3, 5)


class Host:
    """The host's part of the disk: ``root`` is looked at as a whole, ``root/elsewhere`` is where links lead.

    Args:
        user: The account of the agent; people's things are its, root's and others'.
    """

    def __init__(self, root: Path, chance: Random, user: int) -> None:
        self.root, self.elsewhere, self._chance = root, root / "elsewhere", chance
        self._hostility = chance.choice((0.0, 0.1, 0.1, 0.4, 1.0))
        """How often something stands in the place of another kind."""
        self._owners = (0, 0, 1, NOBODY) if user == 0 else (user, user, user, 0, 1)
        self._targets = (str(self.elsewhere), f"{self.elsewhere}/file", f"{self.elsewhere}/directory", ".", f"{root}/nowhere")
        """None leads out of this host: as root an agent follows root's links on the way to a destination."""
        root.mkdir()
        os.chown(root, user, user)
        self.elsewhere.mkdir()
        (self.elsewhere / "file").write_bytes(b"of somebody\n")
        (self.elsewhere / "directory").mkdir()
        (self.elsewhere / "directory" / "below").write_bytes(b"of somebody else\n")
        self._stamp([self.elsewhere / "file", self.elsewhere / "directory"])
        os.chown(self.elsewhere, user, user)

    def parent(self) -> Path:
        """A directory, or whatever stands in its place, in which a destination may be."""
        chance, path = self._chance, self.root
        for _ in range(chance.randrange(1, 4)):
            path = path / name_of(chance)
            if kind_of(path):
                if is_directory(path):
                    continue
                return path
            if not os.path.isdir(path.parent):
                continue
            kind = chance.random() * (0.5 + self._hostility / 2)
            if kind < 0.5:
                path.mkdir()
                os.chown(path, *[chance.choice(self._owners)] * 2)
                path.chmod(chance.choice((0o755, 0o755, 0o755, 0o700, 0o2775, 0o1777, 0o555, 0o777, mode_of(chance) | 0o500)))
                when = time_of(chance)
                os.utime(path, ns=(when, when))
            elif kind < 0.62:
                path.symlink_to(chance.choice((*self._targets, "elsewhere", ".", "elsewhere/directory")))
                os.chown(path, *[chance.choice(self._owners)] * 2, follow_symlinks=False)
            elif kind < 0.66:
                file_at(path, chance)
            elif kind < 0.8:
                break  # it and those below it are missing
        return path

    def put(self, path: Path, like: Path | None, *, depth: int = 0) -> None:
        """Put something at a free path, which resembles ``like`` or not at all."""
        chance = self._chance
        is_like_directory = like is not None and is_directory(like)
        kind = chance.choices(KINDS, WEIGHTS)[0]
        if like is not None and chance.random() >= self._hostility:
            kind = "directory" if is_like_directory else chance.choice(("file", "same", "hard link")) if is_file(like) else "same"
        if kind in ("directory", "empty"):
            path.mkdir()
            if kind == "directory":
                for below in sorted(like.iterdir()) if like is not None and is_like_directory else ():
                    if chance.random() < 0.3:
                        self.put(path / below.name, below, depth=depth + 1)
                extend(path, chance, chance.randrange(3), self._targets)
        elif kind == "same" and like is not None and is_link(like):
            path.symlink_to(os.readlink(like))
        elif kind == "same" and like is not None and is_file(like):
            path.write_bytes(like.read_bytes())
        elif kind in ("pipe", "socket", "device"):
            special_at(path, kind)
        elif kind in ("link", "dangling", "loop"):
            where = {"link": self._targets, "dangling": (f"{self.root}/nowhere/at all", "nowhere")}
            path.symlink_to(chance.choice(where.get(kind, (path.name,))))
        elif kind == "hard link":
            path.hardlink_to(self.elsewhere / "file")
        else:
            file_at(path, chance)
        self._stamp(paths_in(path) if depth == 0 else [])

    def meddle(self, tops: Sequence[Path]) -> None:
        """Let people do some things to what is at the destinations."""
        chance, touched = self._chance, list[Path]()
        for _ in range(chance.randrange(1, 6)):
            there = [path for top in tops if os.path.lexists(top) for path in paths_in(top)]
            if not there:
                return
            path = chance.choice(there)
            what = chance.choice(("edit", "remove", "kind", "stamp", "add", "add", "replace"))
            if what == "edit" and is_file(path):
                path.write_bytes(content_of(chance))
            elif what == "stamp":
                touched.append(path)
            elif what == "add" and is_directory(path):
                touched += extend(path, chance, chance.randrange(1, 3), self._targets)
            elif what == "replace" and is_file(path):  # as editors save
                data = path.read_bytes()
                path.unlink()
                path.write_bytes(data)
                touched.append(path)
            elif what in ("remove", "kind"):
                remove(path)
                if what == "kind":
                    self.put(path, None)
        self._stamp([path for path in touched if os.path.lexists(path)])

    def held(self, tops: Sequence[Path]) -> Held:
        """Hold one of the files and directories that are at the destinations."""
        there = [path for top in tops for path in ([top.parent, *paths_in(top)] if kind_of(top) else [])]
        there = [path for path in there if is_file(path) or is_directory(path)] or [self.elsewhere]
        path = self._chance.choice(there)
        return Held(path, is_locked=is_file(path) and self._chance.random() < 0.5)

    def _stamp(self, paths: Sequence[Path]) -> None:
        stamp(paths, self._chance, self._owners)


class Held:
    """While it is entered, a path is immutable, or a file has a lock; may be entered again."""

    def __init__(self, path: Path, *, is_locked: bool) -> None:
        self._path, self._is_locked = path, is_locked
        self._fd = -1

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_RDONLY)
        if self._is_locked:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        else:
            self._set(_IMMUTABLE)

    def __exit__(self, *_: object) -> None:
        if not self._is_locked:
            self._set(0)
        os.close(self._fd)

    def _set(self, flag: int) -> None:
        now = struct.unpack("i", fcntl.ioctl(self._fd, _GET_FLAGS, bytes(4)))[0]
        fcntl.ioctl(self._fd, _SET_FLAGS, struct.pack("i", now & ~_IMMUTABLE | flag))


def clear_the_way(wanted: Mapping[str, str]) -> None:
    """Remove whatever is in the place of another kind."""
    kinds = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "link": stat.S_IFLNK}
    for path, kind in sorted(wanted.items()):
        if kind_of(Path(path)) not in (0, kinds[kind]):
            remove(Path(path))
