"""Paths below a Root, and what stands at them."""

from __future__ import annotations

from blake3 import blake3

from sluice.ports import Root


def below(directory: str, name: str) -> str:
    """A path below another; either may be empty."""
    return f"{directory}/{name}" if directory and name else directory or name


def full(root: Root, path: str) -> str:
    """The absolute path."""
    return f"{root.path.rstrip('/')}/{path}"


def is_private(directory: Root) -> bool:
    """Whether a staging directory is ours, and ours alone: at its name, others may have put one of theirs."""
    found = directory.find("")
    return found is not None and found.is_ours and found.mode == 0o700


def hash_file(root: Root, path: str, size: int) -> str:
    """BLAKE3 of a file as it stands on disk, if it has ``size`` bytes; of a longer one only as much is read as shows that."""
    total, left = blake3(), size
    for piece in root.read(path):
        total.update(piece)
        left -= len(piece)
        if left < 0:
            break
    return total.hexdigest()
