"""Paths below a Root, and files and directories at them."""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3

from sluice.model.manifest import EntryKind
from sluice.ports import PathStat, Root


def below(directory: str, name: str) -> str:
    """Join a path and a name below it; either may be empty."""
    return f"{directory.rstrip('/')}/{name}" if directory and name else directory or name


def full(root: Root, path: str) -> str:
    """Return the absolute path."""
    return f"{root.path.rstrip('/')}/{path}" if path else root.path


def is_below(path: str, top: str) -> bool:
    """Whether an absolute path lies below another."""
    return path.startswith(f"{top.rstrip('/')}/")


def overlap(one: str, other: str) -> bool:
    """Whether two absolute paths are the same, or one lies below the other."""
    return one == other or is_below(one, other) or is_below(other, one)


def parents(path: str) -> Iterator[str]:
    """Yield every directory above an absolute path, the nearest first."""
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path


def walk(root: Root, directory: str, most: int | None = None) -> Iterator[PathStat]:
    """Yield everything below a directory, each directory before its contents; nothing is listed before it is asked for.

    Args:
        most: Most names that are read; None: all.
    """
    directories = [directory]
    for each in directories:  # grows while it is walked
        listed = root.list(each, most)
        most = None if most is None else most - len(listed)
        for found in listed:
            yield found
            if found.kind is EntryKind.DIRECTORY:
                directories.append(found.path)


def is_private(directory: Root) -> bool:
    """Whether a staging directory is ours, and ours alone: others may have put one of theirs at its name."""
    found = directory.find("")
    return found is not None and is_private_stat(found)


def is_private_stat(found: PathStat) -> bool:
    """The same by its status. One that was made in a setgid directory has that bit too."""
    return found.is_ours and found.mode & 0o777 == 0o700


def hash_file(root: Root, path: str, size: int) -> str:
    """Return the BLAKE3 of a file on disk if it has ``size`` bytes; of a longer one only as much is read as shows that."""
    total, remaining = blake3(), size
    for piece in root.read(path):
        total.update(piece)
        remaining -= len(piece)
        if remaining < 0:
            break
    return total.hexdigest()
