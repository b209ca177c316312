"""What an extraction is planned with, beside the manifest and the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluice.ports import PathStat, Root
from sluice.subscriber.extract.previous import PreviousState
from sluice.subscriber.held.paths import full, hash_file
from sluice.subscriber.held.stat_cache import StatCache


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The Distribution's state, and limits of the caller."""

    previous: PreviousState
    """Everything that was placed before."""
    cache: StatCache
    """Of extracted files that needn't be read again."""
    now_ns: int
    """Time of new directories that no manifest names."""
    copy_all: bool = False
    """Replace every file and link, also equal ones."""
    allow_removals: bool = False
    """Remove also more than ``max_removals``."""
    may_read: Callable[[str], bool] = lambda _digest: True
    """Whether a file may be read to compare it with this digest; else it counts as another."""
    most: int | None = None
    """Names in mirrored directories that may be looked at beside the manifest's; None: any number."""

    def digest(self, root: Root, found: PathStat, *, read: Callable[[], object]) -> str:
        """Return the digest of a file: as known by its stat, or of its content, and ``read`` is called then."""
        digest = self.cache.digest(full(root, found.path), found)
        if not digest:
            digest = hash_file(root, found.path, found.size)
            read()
        return digest
