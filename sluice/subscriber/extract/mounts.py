"""Mount points around and in destinations, compared with those at the last extraction.

What was placed below a mount point that is new, or below one that is gone, isn't there: other files may have its names. An extraction that
would meet them is refused; with ``force`` everything there counts as foreign. A mount that shows what would be there without it is none:
systemd makes such ones for a service. File systems aren't told apart by their numbers, which change with each boot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing

from sluice.errors import DestinationError
from sluice.ports import Filesystem
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.destinations import LocatedDestination
from sluice.subscriber.extract.previous import PreviousState
from sluice.subscriber.held.paths import below, is_below, parents


def all_mount_points(filesystem: Filesystem) -> Sequence[str]:
    """Return the real path of everything that is mounted, but for the root."""
    with closing(filesystem.open_root("/")) as root:
        return [f"/{point}" for point in root.mounts()]


def mount_points(filesystem: Filesystem, previous: PreviousState, located: Iterable[LocatedDestination]) -> frozenset[str]:
    """Return the root and all mount points above, at and below destinations, former ones too, by real path; none if it can't be told."""
    if filesystem.places(["/"])[0] == "/":
        return frozenset()
    tops = {*(top for top, _ in previous.tops), *(at.top for at in located)}
    above = {each for top in tops for each in (top, *parents(top))}
    near = [each for each in all_mount_points(filesystem) if each in above or not tops.isdisjoint(parents(each))]
    places = filesystem.places([*near, *(next(parents(each)) for each in near)])
    shown = zip(near, places[: len(near)], places[len(near) :], strict=True)
    return frozenset(["/", *(each for each, place, around in shown if place != below(around, each.rpartition("/")[2]))])


def check_mounts(top: str, context: ExtractionContext, previous: PreviousState) -> None:
    """Raise DestinationError if a mount that is new hides what was placed at a destination, or one that is gone took it away."""
    placed = {*previous.extracted, *previous.retained} - {*previous.stood} if previous.changed else ()
    for point in sorted(previous.changed):
        if any(is_below(path, point) and (path == top or is_below(path, top)) for path in placed):
            name = context.held.name
            forced = f"run: sluice extract {context.subscriber} --distribution {name} --force, which writes everything anew"
            if point in previous.mounts:
                raise DestinationError(
                    f"{point} isn't a mount point any more, and was one when {name} was last extracted to {top}: its files aren't there",
                    remedy=f"mount it again; if it shall stay away, {forced} to the file system that is there now",
                )
            raise DestinationError(
                f"{point} became a mount point after {name} was last extracted to {top}: the mount hides its files",
                remedy=f"unmount it; if it shall stay, {forced} and takes what is there for somebody else's",
            )
