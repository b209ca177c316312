"""Decide which removals somebody must allow before a revision is built (C9). Pure.

Unusual is a directory without files that had some, and a synchronized destination that would lose more than its limit. A source that
isn't mounted, or a deletion by mistake, looks like that, and would be carried out on every Subscriber.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sluice.model.manifest import Destination, EntryKind, Manifest
from sluice.model.site import FileSource, Synchronize


@dataclass(frozen=True, slots=True)
class UnusualRemoval:
    """Files that the last revision has and the next would lack."""

    number: int
    """Of the ``files:`` entry, from 0."""
    removed: int
    of: int
    is_emptied: bool
    """Whether none is left in the source."""


def unusual_removals(sources: Sequence[FileSource], before: Manifest, after: Manifest) -> Iterator[UnusualRemoval]:
    """Yield what must be allowed before the manifest of ``sources`` may follow another one.

    Destinations are compared by template. One that left the blueprint is its author's word, and the Subscriber's own limit's.
    """
    left = {path for destination in after.destinations for path in _files(destination)}
    former: dict[str, list[Destination]] = {}
    for destination in before.destinations:
        former.setdefault(_top(destination), []).append(destination)
    for number, (source, destination) in enumerate(zip(sources, after.destinations, strict=True)):
        olds = former.get(_top(destination), [])
        if not olds or not destination.is_directory or source.max_removals.percent == 100:
            continue
        had = set(_files(olds.pop(0)))
        removed = len(had - left)
        is_emptied = bool(had) and not any(_files(destination))
        if is_emptied or (source.synchronize is not Synchronize.NO and not source.max_removals.allows(removed, of=len(had))):
            yield UnusualRemoval(number, removed, len(had), is_emptied)


def _top(destination: Destination) -> str:
    return destination.template.rstrip("/")


def _files(destination: Destination) -> Iterator[str]:
    """Yield everything in a destination but directories, as the text of its path."""
    top = _top(destination)
    return (f"{top}/{entry.path}" for entry in destination.entries if entry.kind is not EntryKind.DIRECTORY)
