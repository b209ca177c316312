"""Walk a source tree fast, and remember the walk.

An unchanged tree, the most frequent case, is recognised here without looking at single files: names and stats of a walk are two flat
lists, compared as bytes with those of the last one. A memory that is damaged, or of another version or machine, is ignored.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from stat import S_IFDIR, S_IFMT, S_IFREG

from blake3 import blake3

from infra.sources.beneath import Opener
from sluice.rules.excludes import Excludes

FIELDS = 6
"""Numbers kept of each stat: mode, size, mtime_ns, ctime_ns, inode, device."""
MTIME = 2
CTIME = 3
"""Indexes of mtime_ns and ctime_ns among them."""
STALE = -1
"""The ctime of a file that may have changed again unseen: no real stat is equal to it."""
START = "."
"""The name of a source itself in a walk; no directory has it."""

_MAGIC = b"SLUICES1"
_HEADER = struct.Struct("<32s7Q")
_OPEN = os.O_RDONLY | os.O_DIRECTORY

Stat = tuple[int, int, int, int, int, int]


def stat_fields(found: os.stat_result) -> Stat:
    """Return the numbers of a stat that tell whether a file changed."""
    return (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)


@dataclass(slots=True)
class Walk:
    """Names and stats of everything in the sources, flat and in the disk's order.

    ``names`` has ``START`` for a source, ``PATH/`` before the names of that directory (``/`` for the source itself), and names;
    all but the ``PATH/`` have ``FIELDS`` numbers in ``stats``.
    """

    names: list[str] = field(default_factory=list)
    stats: list[int] = field(default_factory=list)

    def names_as_bytes(self) -> bytes:
        """Return the names as comparable bytes."""
        return "\0".join(self.names).encode("utf-8", "surrogateescape")

    def stats_as_bytes(self) -> bytes:
        """Return the stats as comparable bytes."""
        try:
            return array("q", self.stats).tobytes()
        except OverflowError:  # inodes of network file systems use all 64 bits, and times may be beyond
            return array("q", [(n + 2**63) % 2**64 - 2**63 for n in self.stats]).tobytes()


def walk_directory(walk: Walk, root: int, opener: Opener, *, excludes: Excludes, failed: Callable[[str, OSError], Exception]) -> None:
    """Append everything below the open directory ``root``; links aren't followed.

    Args:
        failed: Returns the exception to raise for an error at a path below the root.
    """
    append, stats = walk.names.append, walk.stats
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        append(prefix or "/")
        try:
            directory = opener.open(root, prefix or ".", _OPEN)
            try:
                with os.scandir(directory) as found:
                    for item in found:
                        try:
                            st = item.stat(follow_symlinks=False)
                        except FileNotFoundError:  # removed since it was listed: the walk is of a moment when it was gone
                            continue
                        mode = st.st_mode
                        is_directory = S_IFMT(mode) == S_IFDIR
                        name = item.name
                        if excludes.patterns and excludes.match(prefix + name, is_directory=is_directory):
                            continue
                        append(name)
                        stats += (mode, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino, st.st_dev)
                        if is_directory:
                            waiting.append(f"{prefix}{name}/")
            finally:
                os.close(directory)
        except OSError as error:
            raise failed(prefix, error) from error


@dataclass(frozen=True, slots=True)
class Memory:
    """Walk and digests of the last scan."""

    key: bytes
    """32 bytes: digest of the Distribution's settings; others have another key."""
    names: bytes
    stats: bytes
    known: bytes
    """32 bytes for each regular file, in the order of ``names``."""
    files: int
    directories: int
    symlinks: int
    size: int
    """Bytes of all files."""

    def to_bytes(self) -> bytes:
        """Encode the memory."""
        lengths = (len(self.names), len(self.stats), len(self.known))
        header = _HEADER.pack(self.key, *lengths, self.files, self.directories, self.symlinks, self.size)
        body = b"".join((header, self.names, self.stats, self.known))
        return _MAGIC + blake3(body).digest() + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Memory | None:
        """Decode a memory; None if it is damaged."""
        start = len(_MAGIC) + 32
        body = memoryview(data)[start:]
        if data[: len(_MAGIC)] != _MAGIC or len(body) < _HEADER.size or blake3(body).digest() != data[len(_MAGIC) : start]:
            return None
        key, names, stats, known, files, directories, symlinks, size = _HEADER.unpack_from(body)
        ends = list(accumulate((names, stats, known), initial=_HEADER.size))
        if ends[-1] != len(body):
            return None
        parts = [bytes(body[start:end]) for start, end in pairwise(ends)]
        return cls(key, parts[0], parts[1], parts[2], files, directories, symlinks, size)

    def lost_devices(self, walk: Walk) -> list[int]:
        """Return the numbers of the sources that had something on a file system of which a walk found nothing."""
        stats = array("q")
        stats.frombytes(self.stats)
        before = _devices(self.names.decode("utf-8", "surrogateescape").split("\0"), stats)
        return [number for number, (old, new) in enumerate(zip(before, _devices(walk.names, walk.stats), strict=False)) if old - new]

    def matches(self, walk: Walk, key: bytes) -> bool:
        """Whether a walk with the same settings found exactly this."""
        return key == self.key and walk.stats_as_bytes() == self.stats and walk.names_as_bytes() == self.names

    def digests(self) -> dict[Stat, bytes]:
        """Return the digest of each regular file by its stat: a file with the same inode and times has the same content, at any path."""
        stats = array("q")
        stats.frombytes(self.stats)
        numbers = iter(stats.tolist())
        files = [s for s in zip(*[numbers] * FIELDS, strict=True) if S_IFMT(s[0]) == S_IFREG]
        if min(stats, default=0) < 0:
            files = [(*s[:4], s[4] % 2**64, s[5] % 2**64) for s in files]
        return {stat: self.known[at : at + 32] for stat, at in zip(files, range(0, len(self.known), 32), strict=True)}


def _devices(names: Sequence[str], stats: Sequence[int]) -> list[set[int]]:
    """Return the devices of everything in each source of a walk."""
    found: list[set[int]] = []
    devices = iter(stats[FIELDS - 1 :: FIELDS])
    for name in names:
        if not name.endswith("/"):
            if name == START:
                found.append(set())
            found[-1].add(next(devices))
    return found
