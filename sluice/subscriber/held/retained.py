"""``left`` of a Distribution on a Subscriber: what its revisions placed, the extracted one hasn't, and still stands (C9).

So that ``synchronize`` takes it away also where it was written into the blueprint after the revision that lacked it, and a directory
once nothing foreign is in it any more. Written into the journal with the plan and made the Distribution's at commit. Where it is
missing, damaged or full, less is taken away, never more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from sluice.durable import replace_atomically
from sluice.model.manifest import EntryKind
from sluice.subscriber.held.directory import DistributionDirectory

LEFT_MAX = 200_000
"""Most paths that are remembered."""
NAME = "left"


def read_left(held: DistributionDirectory) -> dict[str, EntryKind]:
    """By real path."""
    try:
        lines = (held.directory / NAME).read_bytes().splitlines()
        found = {path: EntryKind(kind) for kind, path in map(json.loads, lines)}
    except (OSError, ValueError, TypeError):
        return {}
    return {path: kind for path, kind in found.items() if isinstance(path, str) and path.startswith("/")}


def note_left(held: DistributionDirectory, left: Mapping[str, EntryKind]) -> None:
    """In the journal of the extraction under way, where it isn't the Distribution's already."""
    kept = dict(islice(sorted(left.items()), LEFT_MAX))
    if kept != read_left(held):
        lines = [json.dumps([kind.value, path], separators=(",", ":")) + "\n" for path, kind in kept.items()]
        replace_atomically(_noted(held), "".join(lines).encode())


def keep_left(held: DistributionDirectory) -> None:
    """At commit; may be repeated."""
    try:
        data = _noted(held).read_bytes()
    except FileNotFoundError:
        return
    replace_atomically(held.directory / NAME, data)


def _noted(held: DistributionDirectory) -> Path:
    return held.journal / NAME
