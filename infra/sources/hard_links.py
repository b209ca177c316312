"""Find the files of a source that are one file on disk: hard links within one destination are kept (docs/formats.md section 2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from infra.sources.beneath import Opener
from sluice.model.manifest import Entry, EntryKind

_PATH = os.O_PATH | os.O_NOFOLLOW


def mark_hard_links(entries: list[Entry], places: Sequence[tuple[int, ...]], links: Callable[[int], int]) -> None:
    """Mark each entry that is one file with an earlier one.

    Args:
        entries: Of one destination, sorted; changed in place.
        places: Inode and device of each.
        links: Returns how many names the file of an entry has, by its index: some file systems give one inode number to several files.
    """
    first: dict[tuple[int, ...], int] = {}
    for at, (entry, place) in enumerate(zip(entries, places, strict=True)):
        if entry.kind is not EntryKind.FILE:
            continue
        one = first.setdefault(place, at)
        # Whatever differs between the two was changed while the source was read: the next build sees them as they are.
        if one != at and entry == replace(entries[one], path=entry.path) and links(at) > 1:
            entries[at] = replace(entry, link=entries[one].path)


def links_across(destinations: Sequence[Sequence[tuple[tuple[int, int], str]]]) -> int:
    """Count the names of files that have another name in an earlier destination, where they become files of their own.

    Args:
        destinations: Of each, the files: inode and device, and path on disk; one path in two destinations is no hard link.
    """
    first: dict[tuple[int, int], tuple[int, str]] = {}
    found = 0
    for number, files in enumerate(destinations if len(destinations) > 1 else ()):
        for place, path in files:
            before, known = first.setdefault(place, (number, path))
            found += before != number and known != path
    return found


def links_of(opener: Opener, root: int, path: str) -> int:
    """Return how many names the file at a path below an open directory has; 0 if it is gone by now."""
    try:
        fd = opener.open(root, path, _PATH)
    except OSError:
        return 0
    try:
        return os.fstat(fd).st_nlink
    finally:
        os.close(fd)
