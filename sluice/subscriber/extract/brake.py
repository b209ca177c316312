"""The brake on removals (C9): an extraction that would take away most of a destination stops, until somebody allows it.

Compared are files and links, with those that are there: in a mirrored directory all of them, else those that this Distribution placed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sluice.errors import RemovalsError
from sluice.model.manifest import EntryKind
from sluice.rules.wording import counted
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.destinations import LocatedDestinations
from sluice.subscriber.extract.previous import PreviousState
from sluice.subscriber.extract.removals import RemovalSet
from sluice.subscriber.held.paths import parents


def require_usual(
    context: ExtractionContext,
    removals: RemovalSet,
    given_way: Mapping[str, EntryKind | None],
    located: LocatedDestinations,
    previous: PreviousState,
) -> None:
    """Raise RemovalsError if more than ``max_removals`` of a destination would go.

    Args:
        given_way: What goes besides, as another kind takes the place of the directory around it.
    """
    limits = {top: destination.max_removals for top, destination in previous.tops}
    limits |= {at.top: at.destination.max_removals for at in located}
    removed = _by_destination({**removals.kinds, **given_way}, limits)
    if not removed:
        return
    placed = {path: kind for path, kind in {**previous.retained, **previous.extracted}.items() if previous.has_placed(path, kind)}
    there = _by_destination(placed, limits) | (removals.mirrored + _by_destination(given_way, limits))
    for top, count in sorted(removed.items()):
        limit = limits[top]
        if not limit.allows(count, of=there[top]):
            raise RemovalsError(
                f"would remove {count} of {counted(there[top], 'file')} from {top}, "
                f"more than {limit.percent} % and more than {limit.files}: nothing was changed",
                remedy="look whether the source is complete and the destination the right one; to remove them, run: "
                f"sluice extract {context.subscriber} --distribution {context.held.name} --allow-removals",
            )


def _by_destination(kinds: Mapping[str, EntryKind | None], tops: Mapping[str, object]) -> Counter[str]:
    """Count everything but directories, by the destination around it."""
    found: Counter[str] = Counter()
    for path, kind in kinds.items():
        if kind is not EntryKind.DIRECTORY:
            found.update(next(([each] for each in (path, *parents(path)) if each in tops), []))
    return found
