"""Decide what a manifest says of removals from a destination (C9). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sluice.model.manifest import Destination, Entry
from sluice.model.removals import USUAL
from sluice.model.site import FileSource, Synchronize


def destination_of(source: FileSource, entries: Iterable[Entry] = (), *, is_directory: bool = True) -> Destination:
    """Return the destination of a ``files:`` entry.

    It has only what concerns a Subscriber: no limit if nothing is removed, and excludes only of a mirror, as nothing else removes
    what was never distributed.
    """
    synchronizes = source.synchronize is not Synchronize.NO
    return Destination(
        source.destination,
        is_directory,
        tuple(entries),
        source.synchronize.value,
        source.exclude if source.synchronize is Synchronize.MIRROR else (),
        source.max_removals if synchronizes else USUAL,
    )


def limits_removals(destination: Destination) -> bool:
    """Whether a destination says more of removals than that it synchronizes."""
    return bool(destination.exclude) or destination.max_removals != USUAL
