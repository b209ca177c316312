"""The removals alone, for a dry run of an older sender, which asks no more (C9): by the rule that is applied then. Changes nothing.

Nobody signed the question, so a wrong or hostile one may name any directory as mirrored: no more names are looked at than it has itself,
and COUNT_MAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from sluice.errors import SluiceError
from sluice.formats.rehearsals import COUNT_MAX, Removals
from sluice.model.manifest import Manifest
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.destinations import LocatedDestinations
from sluice.subscriber.extract.former import read_former
from sluice.subscriber.extract.mounts import check_mounts, mount_points
from sluice.subscriber.extract.previous import PreviousState
from sluice.subscriber.extract.removals import MoreThanMostError, Remover
from sluice.subscriber.held.state import DistributionState


def rehearse_removals(context: ExtractionContext, manifest: Manifest, destinations: Sequence[str]) -> Removals:
    """Return the real paths that would be removed, in order, or the problem that would stop the extraction; none if there are too many.

    Args:
        manifest: Of the revision that would be extracted; paths, kinds and ``synchronize`` count.
        destinations: Rendered.
    """
    try:
        paths = _removals(context, manifest, destinations)
    except MoreThanMostError:
        return Removals((), COUNT_MAX + 1)
    except SluiceError as error:
        return Removals((), 0, error.message)
    return Removals(tuple(paths), len(paths))


def _removals(context: ExtractionContext, manifest: Manifest, destinations: Sequence[str]) -> Sequence[str]:
    with (
        closing(DistributionState(context.held).tree(context.filesystem)) as tree,
        read_former(context, manifest) as former,
        closing(LocatedDestinations(context.filesystem, manifest, destinations)) as located,
    ):
        previous = PreviousState.read(context.held, tree, former)
        previous = previous.with_mounts(mount_points(context.filesystem, previous, located))
        for at in located:
            check_mounts(at.top, context, previous)
        return sorted(Remover(context, located, COUNT_MAX).find(previous).kinds)
