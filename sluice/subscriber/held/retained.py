"""Retained paths: placed by earlier revisions of a Distribution, missing from the extracted one, and still on disk (C9).

They are remembered in ``left`` so that ``synchronize`` removes them even if it was written into the blueprint only after the revision that
lacked them, and so that a directory goes once nothing foreign is in it any more. The file is written into the journal with the plan and
becomes the Distribution's at commit. If it is missing, damaged or full, less is removed, never more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from sluice.durable import replace_atomically
from sluice.model.manifest import EntryKind
from sluice.subscriber.held.directory import DistributionDirectory

RETAINED_MAX = 200_000
"""Most paths that are remembered."""
NAME = "left"


def read_retained(held: DistributionDirectory) -> dict[str, EntryKind]:
    """Return kinds by real path."""
    try:
        lines = (held.directory / NAME).read_bytes().splitlines()
        found = {path: EntryKind(kind) for kind, path in map(json.loads, lines)}
    except (OSError, ValueError, TypeError):
        return {}
    return {path: kind for path, kind in found.items() if isinstance(path, str) and path.startswith("/")}


def write_retained_to_journal(held: DistributionDirectory, retained: Mapping[str, EntryKind]) -> None:
    """Write the file into the journal of the extraction under way, unless it is the Distribution's already."""
    kept = dict(islice(sorted(retained.items()), RETAINED_MAX))
    if kept != read_retained(held):
        lines = [json.dumps([kind.value, path], separators=(",", ":")) + "\n" for path, kind in kept.items()]
        replace_atomically(_in_journal(held), "".join(lines).encode())


def commit_retained(held: DistributionDirectory) -> None:
    """Make the journal's file the Distribution's; may be repeated."""
    try:
        data = _in_journal(held).read_bytes()
    except FileNotFoundError:
        return
    replace_atomically(held.directory / NAME, data)


def _in_journal(held: DistributionDirectory) -> Path:
    return held.journal / NAME
