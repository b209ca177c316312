"""Trees with odd names, kinds, modes and times, by chance, and whatever may become of them."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

SECOND = 10**9
ODD_NAMES = (
    *(" leading", "trailing ", "two  spaces", "new\nline", "tab\t", "\x01\x7f", "-rf", "--help", "*", "?", "[a-z]", "$(reboot)", "`id`"),
    *("'", '"', "semi;colon", "a|b", "a>b", "%s%n", "#comment", "~", "~root", "!keep", "{a,b}", "&", "=", "+", "@", ",", ":", "..data"),
    *("...", ".hidden", ".sluice-", ".sluice-look-alike", ".sluice-oslo.hq.other", ".tmp-1", "lost+found", ".git", "con", "nul.txt"),
    *("dot.", "é", "e\u0301", "ﬁ", "\u212a", "ß", "İ", "日本語", "😀", "\u202egpj", "\u200b", "\u0301", "CASE", "case", "Case", "x" * 255),
    *("ü" * 127, "😀" * 63, "y" * 254 + "."),
)
PLAIN_NAMES = ("a", "b", "c", "one", "two", "etc", "conf.d", "cache.tmp", "keep", "bin", "lib", "readme.txt")
REFUSED_NAMES = ("back\\slash", "dev-a\\x2db.mount", "not-utf8-\udcff", "\udc80")
"""Names that a source may have and that can't be distributed, or not everywhere."""
STAGING = ".sluice-oslo.hq.zone"
"""The name of this Distribution's own staging directory."""
MODES = (0o644, 0o755, 0o600, 0o640, 0o700, 0o750, 0o444, 0o555, 0, 0o1777, 0o2775, 0o4755, 0o6711, 0o7777)
TIMES = (
    *(0, 1, -1, SECOND - 1, -SECOND, -86_400 * 365 * 30 * SECOND, -86_400 * 365 * 68 * SECOND, 1_700_000_000_123_456_789, 2**31 * SECOND),
    *(2**31 * SECOND - 1, 2**32 * SECOND, 9_000_000_000 * SECOND + 7),
)
ACL = "system.posix_acl_access"


def name_of(chance: Random) -> str:
    """A name, plain or odd."""
    return chance.choice(PLAIN_NAMES if chance.random() < 0.55 else ODD_NAMES)


def mode_of(chance: Random) -> int:
    return chance.choice(MODES) if chance.random() < 0.7 else chance.randrange(0o10000)


def time_of(chance: Random) -> int:
    return chance.choice(TIMES) if chance.random() < 0.6 else chance.randrange(2_000_000_000 * SECOND)


def content_of(chance: Random) -> bytes:
    kind = chance.random()
    if kind < 0.15:
        return b""
    if kind < 0.4:
        return chance.choice((b"x", b"the same everywhere\n", b"\n" * 5000))
    return chance.randbytes(chance.choice((1, 20, 300, 5000)))


TARGETS = ("a", "../a", ".", "..", "/nowhere", "/etc", "a/b", "no such name", "self\n", "/" + "t" * 1000, "//", "e\u0301")
"""Texts of links in sources, which nobody follows."""


def acl_of(chance: Random, mode: int) -> bytes:
    """An access control list with one more user; the mode's group bits are its mask."""
    entries = [(1, mode >> 6 & 7, 2**32 - 1), (2, chance.randrange(8), 1), (4, chance.randrange(8), 2**32 - 1)]
    entries += [(16, mode >> 3 & 7, 2**32 - 1), (32, mode & 7, 2**32 - 1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


def file_at(path: Path, chance: Random, content: bytes | None = None) -> None:
    """Make a file, sometimes with a hole; mode and time come last (``stamp``)."""
    if content is None and chance.random() < 0.03:
        with path.open("wb") as file:
            file.write(b"begins")
            file.truncate(300_000)
            file.seek(299_990)
            file.write(b"ends")
    else:
        path.write_bytes(content_of(chance) if content is None else content)


def special_at(path: Path, kind: str) -> None:
    """Make a pipe, a socket or a device."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    else:
        with socket.socket(socket.AF_UNIX) as made:
            above = os.open(path.parent, os.O_PATH)
            try:
                made.bind(f"/proc/self/fd/{above}/s")  # its address may have no more than 108 bytes
                os.rename("s", path.name, src_dir_fd=above, dst_dir_fd=above)
            finally:
                os.close(above)


def grow(top: Path, chance: Random, *, most: int = 12) -> None:
    """Make a tree at a free path."""
    top.mkdir()
    extend(top, chance, chance.randrange(most + 1))
    stamp(paths_in(top), chance)


def extend(top: Path, chance: Random, number: int, targets: Sequence[str] = TARGETS) -> list[Path]:
    """Add so many things to a tree, if their names are free; of links there are hard ones too."""
    made = []
    for _ in range(number):
        directory = chance.choice([path for path in paths_in(top) if is_directory(path)])
        name = chance.choice(REFUSED_NAMES) if chance.random() < 0.006 else STAGING if chance.random() < 0.004 else name_of(chance)
        path = directory / name
        if os.path.lexists(path) or len(os.fsencode(path)) > 1500:
            continue
        files = [each for each in paths_in(top) if is_file(each)]
        kind = chance.random()
        if kind < 0.32:
            path.mkdir()
        elif kind < 0.45:
            path.symlink_to(chance.choice(targets))
        elif kind < 0.52 and files:
            path.hardlink_to(chance.choice(files))
        else:
            file_at(path, chance)
        made.append(path)
    return made


def change(top: Path, chance: Random) -> None:
    """Let some things happen to a tree: edits, moves, other kinds, other metadata, more and less of everything."""
    touched: list[Path] = []
    for _ in range(chance.randrange(1, 7)):
        paths = [path for path in paths_in(top) if path != top]
        if not paths:
            break
        path = chance.choice(paths)
        what = chance.choice(("edit", "edit", "move", "remove", "kind", "stamp", "stamp"))
        was_directory = is_directory(path)
        if what == "stamp":
            touched.append(path)
        elif what == "edit" and is_file(path):
            file_at(path, chance)
        elif what == "move":
            directories = [each for each in paths_in(top) if is_directory(each) and not each.is_relative_to(path)]
            free = chance.choice(directories) / name_of(chance)
            if not os.path.lexists(free) and len(os.fsencode(free)) < 1500:
                path.rename(free)
        elif what in ("remove", "kind"):
            remove(path)
            if what == "kind" and was_directory:
                file_at(path, chance)
                touched.append(path)
            elif what == "kind" and chance.random() < 0.5:
                path.mkdir()
                touched += [path, *extend(path, chance, 2)]
            elif what == "kind":
                path.symlink_to(chance.choice(TARGETS))
    touched += extend(top, chance, chance.randrange(4))
    stamp([path for path in touched if os.path.lexists(path)], chance)


def stamp(paths: Iterable[Path], chance: Random, owners: tuple[int, ...] = (0,)) -> None:
    """Give modes, owners, attributes and times by chance; whatever a file system can't have is left out."""
    for path in sorted(paths, reverse=True):
        if chance.random() < 0.5:
            os.chown(path, chance.choice(owners), chance.choice(owners), follow_symlinks=False)
        kind = kind_of(path)
        if kind == stat.S_IFLNK:
            continue
        if chance.random() < 0.12 and kind in (stat.S_IFREG, stat.S_IFDIR):
            with suppress(OSError):
                os.setxattr(path, f"user.{chance.choice('abc')}", chance.randbytes(3))
        mode = mode_of(chance)
        if kind == stat.S_IFDIR and chance.random() < 0.5:
            mode = 0o755
        if mode & 0o777 == 0o700 and path.name.startswith(".sluice-oslo."):
            mode = 0o750  # else an agent would take it for staging that it left itself
        os.chmod(path, mode)
        if chance.random() < 0.06 and kind in (stat.S_IFREG, stat.S_IFDIR):
            with suppress(OSError):
                os.setxattr(path, ACL, acl_of(chance, mode))
        when = time_of(chance)
        os.utime(path, ns=(when, when))


def kind_of(path: Path) -> int:
    """A path's own kind, as in a mode; 0: nothing is there."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def is_directory(path: Path) -> bool:
    return kind_of(path) == stat.S_IFDIR


def is_file(path: Path) -> bool:
    return kind_of(path) == stat.S_IFREG


def is_link(path: Path) -> bool:
    return kind_of(path) == stat.S_IFLNK


def paths_in(top: Path) -> list[Path]:
    """A tree's paths, itself first; in an order that depends on names alone."""
    found = [top]
    for path in found:  # grows while it is walked
        if is_directory(path):
            found += sorted(path / name for name in os.listdir(path))
    return found


def remove(path: Path) -> None:
    """Remove whatever it is."""
    if is_directory(path):
        shutil.rmtree(path)
    else:
        path.unlink()


def cannot_be_distributed(top: Path) -> list[Path]:
    """Paths whose names no manifest can have, or two have the same there."""
    found, seen = list[Path](), set[str]()
    for path in paths_in(top)[1:]:
        name = str(path.relative_to(top))
        normal = unicodedata.normalize("NFC", name)
        try:
            is_text = bool(normal.encode())
        except UnicodeEncodeError:
            is_text = False
        if not is_text or "\\" in name or normal in seen:
            found.append(path)
        seen.add(normal)
    return found
