"""What an extraction is planned with, beside the manifest and the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sluice.formats.rehearsals import Question
from sluice.model.manifest import Manifest
from sluice.model.order import Order
from sluice.model.site import Copy
from sluice.ports import PathStat, Root
from sluice.subscriber.extract.former import Former
from sluice.subscriber.extract.previous import PreviousState
from sluice.subscriber.held.paths import full, hash_file
from sluice.subscriber.held.stat_cache import EMPTY, StatCache
from sluice.subscriber.held.state import DistributionState
from sluice.subscriber.held.tree import ExtractedTree


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
    force: bool = False
    """Take for foreign what lies where mounts came or went."""
    allow_removals: bool = False
    """Remove also more than ``max_removals``."""
    may_read: Callable[[str], bool] = lambda _digest: True
    """Whether a file may be read to compare it with this digest; else it counts as another."""
    most: int | None = None
    """Names in mirrored directories that may be looked at beside the manifest's; None: any number."""

    @classmethod
    def read(
        cls,
        state: DistributionState,
        tree: ExtractedTree,
        former: Former | None,
        manifest: Manifest,
        asked: Order | Question,
        now: datetime,
    ) -> Knowledge:
        """Read what an extraction and its dry run are planned with."""
        # A check writes nothing that is as it should be, whatever `copy` says.
        is_check = bool(asked.verify) and tree.revision == manifest.revision
        return cls(
            PreviousState.read(state.directory, tree, former),
            EMPTY if manifest.verify or asked.verify else state.stat_cache(tree),
            int(now.timestamp()) * 10**9,
            copy_all=asked.force or (manifest.copy == Copy.ALL and not is_check),
            force=asked.force,
            allow_removals=asked.allow_removals,
        )

    def digest(self, root: Root, found: PathStat, *, read: Callable[[], object]) -> str:
        """Return the digest of a file: as known by its stat, or of its content, and ``read`` is called then."""
        digest = self.cache.digest(full(root, found.path), found)
        if not digest:
            digest = hash_file(root, found.path, found.size)
            read()
        return digest
