"""The stat cache: files that nobody touched since the last extraction read them back needn't be read again (docs/formats.md section 6).

A row says: this inode, with this time of its last change, had the content that the manifest names. That time is the file system's own,
which nobody can set; a file that had changed just before it was read isn't recorded, because a further change could keep the same time.
Changes that keep that time go unnoticed until ``verify`` or a delta's reference is read: writes through a memory map on a file system in
memory, and on a network one other clients' writes while attributes are cached.
The file names the manifest it is about, so that one which a crash left behind fits no other. If it is missing, damaged or about another
manifest, files are read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from blake3 import blake3

from sluice.model.manifest import Destination, EntryKind
from sluice.ports import PathStat
from sluice.subscriber.held.paths import below

MARGIN_NS = 2 * 10**9
"""Least time between a file's last change and its reading: the coarsest clock of a file system."""
_MAGIC = b"SLUICES1"
_ROW = struct.Struct(">QQq")
_DIGEST = 32


class Row(NamedTuple):
    """One file as it was read back."""

    device: int
    inode: int
    ctime_ns: int


UNKNOWN = Row(0, 0, 0)
"""Row of a file that has to be read again."""


def row_of(found: PathStat, read_ns: int) -> Row:
    """Return the row of a file whose stat was taken before it was read at a time."""
    return Row(found.device, found.inode, found.ctime_ns) if found.ctime_ns + MARGIN_NS < read_ns else UNKNOWN


class StatRecorder:
    """Collects the rows of an extraction, in the order in which it reads back."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        """Create it before anything is compared.

        Args:
            clock_ns: Nanoseconds since the epoch, as file systems have them.
        """
        self._clock_ns = clock_ns
        self._begun_ns = clock_ns()
        self.rows: list[Row] = []

    def record_unchanged(self, found: PathStat, compared: PathStat) -> None:
        """Record a file whose content was right when it was compared. One that was mended since has another time: it is read next time."""
        self.rows.append(row_of(found, self._begun_ns) if found.ctime_ns == compared.ctime_ns else UNKNOWN)

    def record_before_read(self, found: PathStat | None) -> None:
        """Record a file, just before it is read."""
        self.rows.append(row_of(found, self._clock_ns()) if found is not None else UNKNOWN)


def stat_cache_bytes(manifest_digest: str, rows: Iterable[Row]) -> bytes:
    """Encode the file: a row for each file entry of the manifest that has this BLAKE3, in its order."""
    data = _MAGIC + bytes.fromhex(manifest_digest) + b"".join(_ROW.pack(*row) for row in rows)
    return data + blake3(data).digest()


def parse_stat_cache(data: bytes, manifest_digest: str) -> Sequence[Row]:
    """Decode the rows; none if the file is damaged or about another manifest."""
    head = _MAGIC + bytes.fromhex(manifest_digest)
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if not body.startswith(head) or (len(body) - len(head)) % _ROW.size or blake3(body).digest() != digest:
        return ()
    return [Row(*values) for values in _ROW.iter_unpack(body[len(head) :])]


class StatCache:
    """Rows by the path of their file.

    Args:
        tops: The manifest's destinations by their absolute paths without links; if one is left out, no row can be assigned.
    """

    def __init__(self, rows: Sequence[Row], tops: Sequence[tuple[str, Destination]]) -> None:
        self._known: dict[str, tuple[Row, int, int, str]] = {}
        files = [(top, e) for top, destination in tops for e in destination.entries if e.kind is EntryKind.FILE]
        for row, (top, entry) in zip(rows, files, strict=True) if len(rows) == len(files) else ():
            if row != UNKNOWN:
                self._known[below(top, entry.path)] = (row, entry.size, entry.mtime_ns, entry.digest)

    def digest(self, path: str, found: PathStat) -> str:
        """Return the digest of the file at a path; empty if it must be read."""
        known = self._known.get(path)
        if known is None or known[:3] != (Row(found.device, found.inode, found.ctime_ns), found.size, found.mtime_ns):
            return ""
        return known[3]


EMPTY = StatCache((), ())
"""Knows nothing: every file is read."""
