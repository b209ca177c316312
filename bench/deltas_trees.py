"""Compare two trees, and make the list of changes that every per-file method is charged.

A method that makes one patch a file doesn't say which files there are: its patches need a list beside them. It is
defined once, for all of them, in ``file_list`` (docs/bench.md says the same in words).
"""

from __future__ import annotations

import filecmp
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backports import zstd

LEVEL = 19
"""Level of zstd, for the list and for new files."""


@dataclass(frozen=True, slots=True)
class Node:
    """The file, directory or symlink at a path."""

    kind: str
    """``f``, ``d`` or ``l``."""
    mode: int
    """Permission bits; 0 for a symlink."""
    mtime: int
    """Nanoseconds."""
    size: int
    """0 if it isn't a file."""
    target: str
    """Target of a symlink."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Sorted paths; each is in one of these."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """Files with other bytes."""
    touched: tuple[str, ...]
    """Other mode, time or symlink target; the same bytes."""
    old: Mapping[str, Node]
    new: Mapping[str, Node]

    @property
    def changed_bytes(self) -> int:
        """Return the bytes of the old files that changed."""
        return sum(self.old[path].size for path in self.changed)


def look(root: Path) -> dict[str, Node]:
    """Map the path of everything below to its node, decoded as the file system's names; the root itself is ``.``."""
    found = {".": _node(root)}
    for parent, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(parent, name)
            found[str(path.relative_to(root))] = _node(path)
    return found


def compare(old_root: Path, new_root: Path) -> Changes:
    """Compare two trees; files of the same size are read."""
    old, new = look(old_root), look(new_root)
    changed, touched = [], []
    for path in sorted(old.keys() & new.keys()):
        if old[path].kind == new[path].kind == "f" and not filecmp.cmp(old_root / path, new_root / path, shallow=False):
            changed.append(path)
        elif old[path] != new[path]:
            touched.append(path)
    return Changes(tuple(sorted(new.keys() - old.keys())), tuple(sorted(old.keys() - new.keys())), tuple(changed), tuple(touched), old, new)


def file_list(changes: Changes, sizes: Mapping[str, int]) -> bytes:
    """Make the list that a receiver needs beside the patches, as columns in one zstd -19 frame.

    One entry for each path that is new, gone, has other bytes, or another mode, time or target; sorted by path. Columns: what happened and
    the kind; paths; modes where new or other; times, as nanoseconds' difference to the entry's time before (a new one: to the entry
    above); patch sizes; symlink targets. No digests.

    Args:
        sizes: Bytes of the patch or compressed content of each new or changed file.
    """
    listed = {"+": changes.added, "-": changes.removed, "=": changes.changed, "t": changes.touched}
    entries = sorted((path, what) for what, found in listed.items() for path in found)
    kinds, paths, modes, times, lengths, targets = [], [], [], [], [], []
    above = 0
    for path, what in entries:
        paths.append(path)
        kinds.append(what + (changes.old if what == "-" else changes.new)[path].kind)
        if what == "-":
            continue
        node, before = changes.new[path], changes.old.get(path)
        modes.append("" if before is not None and before.mode == node.mode else f"{node.mode:o}")
        times.append(str(node.mtime - (before.mtime if before else above)))
        above = node.mtime
        if path in sizes:
            lengths.append(str(sizes[path]))
        if node.kind == "l" and (before is None or before.target != node.target):
            targets.append(node.target)
    columns = ("".join(kinds), *("\n".join(column) for column in (paths, modes, times, lengths, targets)))
    return zstd.compress("\0".join(columns).encode(errors="surrogateescape"), options={zstd.CompressionParameter.compression_level: LEVEL})


def sent_files(changes: Changes) -> Iterator[tuple[str, bool]]:
    """List (path, whether it is new) of every file whose bytes must be sent."""
    yield from ((path, True) for path in changes.added if changes.new[path].kind == "f")
    yield from ((path, False) for path in changes.changed)


def differences(there: Path, wanted: Path) -> list[str]:
    """List paths that differ, except times of directories and links: empty if a peer did its work."""
    changes = compare(there, wanted)
    pairs = {path: (changes.old[path], changes.new[path]) for path in changes.touched}
    touched = [path for path, (old, new) in pairs.items() if old.kind == "f" or replace(old, mtime=new.mtime) != new]
    return sorted({*changes.added, *changes.removed, *changes.changed, *touched})


def _node(path: Path) -> Node:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return Node("l", 0, found.st_mtime_ns, 0, os.readlink(path))
    kind, size = ("d", 0) if stat.S_ISDIR(found.st_mode) else ("f", found.st_size)
    return Node(kind, stat.S_IMODE(found.st_mode), found.st_mtime_ns, size, "")
