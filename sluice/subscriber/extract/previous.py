"""What earlier revisions of a Distribution placed on this Subscriber, and what stood there before them.

A path is placed if the extracted manifest has it, or it is retained, unless it is a directory that stood before, or a mount that came or
went since has something else there (``mounts.py``). Everything else is foreign: it belongs to somebody else, whatever the new manifest has
at its path.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sluice.model.manifest import Destination, EntryKind
from sluice.model.revision import RevisionNumber
from sluice.subscriber.extract.former import Former
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.subscriber.held.path_lists import MOUNTED, RETAINED, STOOD
from sluice.subscriber.held.paths import parents
from sluice.subscriber.held.tree import ExtractedTree


@dataclass(frozen=True, slots=True)
class PreviousState:
    """Everything that earlier revisions placed, by real path."""

    revision: RevisionNumber | None
    """The extracted one, under the present name."""
    tops: Sequence[tuple[str, Destination]]
    """The extracted revision's destinations."""
    extracted: Mapping[str, EntryKind]
    """Kind of each of its entries."""
    retained: Mapping[str, EntryKind]
    """Paths that revisions before it placed and that remain."""
    stood: Collection[str]
    """Directories of the extracted revision that stood before it was extracted for the first time."""
    mounts: frozenset[str]
    """The root and the mount points above, at and below its destinations as it was last extracted; none: it isn't known."""
    changed: frozenset[str] = frozenset()
    """Mount points that came or went since."""

    @classmethod
    def read(cls, held: DistributionDirectory, tree: ExtractedTree, former: Former | None) -> PreviousState:
        """From disk; what was placed under a former name is included."""
        own = cls(tree.revision, tree.tops(), tree.placed, RETAINED.read(held), frozenset(STOOD.read(held)), frozenset(MOUNTED.read(held)))
        return own if former is None else own._joined(cls.read(former.held, former.tree, None))

    def _joined(self, before: PreviousState) -> PreviousState:
        """Return both as one: a directory that one of the two placed isn't foreign to the other."""
        stood = {path for path in self.stood if not before.has_placed(path, EntryKind.DIRECTORY)}
        stood |= {path for path in before.stood if not self.has_placed(path, EntryKind.DIRECTORY)}
        mounts = [each.mounts for each in (before, self) if each.extracted or each.retained]
        return PreviousState(
            self.revision,
            (*before.tops, *self.tops),
            {**before.extracted, **self.extracted},
            {**before.retained, **self.retained},
            frozenset(stood),
            frozenset().union(*mounts) if all(mounts) else frozenset(),
        )

    def with_mounts(self, present: frozenset[str]) -> PreviousState:
        """Return what counts as placed with the mount points that are there now; none: it can't be told."""
        return replace(self, changed=self.mounts ^ present if self.mounts and present else frozenset())

    def is_elsewhere(self, path: str) -> bool:
        """Whether a mount that came or went since has something else at a real path."""
        return bool(self.changed) and not self.changed.isdisjoint((path, *parents(path)))

    def has_placed(self, path: str, kind: EntryKind | None) -> bool:
        """Whether something of this kind was placed at a real path, and so may be changed."""
        is_kind = kind is not None and (self.extracted.get(path) or self.retained.get(path)) is kind
        return is_kind and path not in self.stood and not self.is_elsewhere(path)
