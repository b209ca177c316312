"""Lists of paths that a Distribution remembers beside its extracted manifest: a line of JSON for each, of its kind and its real path.

They are written into the journal with the plan and become the Distribution's at commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sluice.durable import replace_atomically
from sluice.formats.manifest.document import ENTRIES_MAX
from sluice.model.manifest import EntryKind
from sluice.subscriber.held.directory import DistributionDirectory

RETAINED_MAX = 200_000
"""Most retained paths that are remembered."""


@dataclass(frozen=True, slots=True)
class PathList:
    """One list; a missing or damaged one is empty."""

    name: str
    most: int
    """Most paths that are remembered."""

    def read(self, held: DistributionDirectory, *, from_journal: bool = False) -> dict[str, EntryKind]:
        """Return kinds by real path, of the Distribution, or of the extraction under way if that changes them."""
        try:
            lines = (self._in_journal(held) if from_journal else held.directory / self.name).read_bytes().splitlines()
            found = {path: EntryKind(kind) for kind, path in map(json.loads, lines)}
        except (OSError, ValueError, TypeError):
            return {}
        return {path: kind for path, kind in found.items() if isinstance(path, str) and path.startswith("/")}

    def write_to_journal(self, held: DistributionDirectory, paths: Mapping[str, EntryKind]) -> None:
        """Write it into the journal of the extraction under way, unless it is the Distribution's already."""
        kept = dict(islice(sorted(paths.items()), self.most))
        if kept != self.read(held) or self._in_journal(held).exists():
            replace_atomically(self._in_journal(held), _lines(kept))

    def write(self, held: DistributionDirectory, paths: Mapping[str, EntryKind]) -> None:
        """Make it the Distribution's without an extraction, unless it is that already."""
        if paths != self.read(held):
            replace_atomically(held.directory / self.name, _lines(dict(sorted(paths.items()))))

    def commit(self, held: DistributionDirectory, *, to: str = "") -> None:
        """Make the journal's list the Distribution's, or its list ``to``; may be repeated."""
        try:
            data = self._in_journal(held).read_bytes()
        except FileNotFoundError:
            return
        replace_atomically(held.directory / (to or self.name), data)

    def _in_journal(self, held: DistributionDirectory) -> Path:
        return held.journal / self.name


def _lines(paths: Mapping[str, EntryKind]) -> bytes:
    return "".join(json.dumps([kind.value, path], separators=(",", ":")) + "\n" for path, kind in paths.items()).encode()


RETAINED = PathList("left", RETAINED_MAX)
"""Placed by earlier revisions, missing from the extracted one, and still on disk (C9): ``synchronize`` removes them even if it was written
into the blueprint only after the revision that lacked them, and a directory goes once nothing foreign is in it any more. Without the list
less is removed, never more."""
STOOD = PathList("stood", ENTRIES_MAX)
"""Directories of the extracted manifest that stood before this Distribution placed anything there: they are somebody else's for ever.
An agent from before this list made none: to it everything in its manifest was placed."""
MOUNTED = PathList("mounted", ENTRIES_MAX)
"""The root, and the mount points above, at and below destinations, when the Distribution was last extracted. An agent from before this list
made none: mounts that came or went are then not noticed."""
KEPT = PathList("kept", RETAINED_MAX)
"""Retained paths as they are if an extraction without rollback fails: with everything that it placed. In its journal alone."""
