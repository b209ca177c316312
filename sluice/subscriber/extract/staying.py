"""Whose mode, owner and time directories have that stay where they are (ADR 0021): a part of the planner. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from sluice.model.manifest import Entry
from sluice.model.site import DirectoryMode
from sluice.ports import PathStat, Root
from sluice.subscriber.extract.areas import StagingAreas
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.destinations import LocatedDestination, LocatedDestinations
from sluice.subscriber.extract.metadata import Metadata
from sluice.subscriber.extract.others import OtherDestination, known_destinations
from sluice.subscriber.extract.plan import Plan
from sluice.subscriber.extract.steps import MetadataStep
from sluice.subscriber.held.paths import full


class StayingDirectories:
    """Those of one plan, to which it adds their steps once everything that comes and goes is planned.

    Args:
        now_ns: Time of directories whose names change and that no manifest names.
    """

    def __init__(
        self, context: ExtractionContext, located: LocatedDestinations, areas: StagingAreas, metadata: Metadata, plan: Plan, now_ns: int
    ) -> None:
        self._context = context
        self._located = located
        self._areas = areas
        self._metadata = metadata
        self._plan = plan
        self._now_ns = now_ns
        self._found: dict[tuple[int, str], PathStat] = {}
        """By destination number and entry path."""

    def add(self, at: LocatedDestination, entry: Entry, found: PathStat) -> None:
        """Note a directory of the manifest that is there already."""
        self._found[at.number, entry.path] = found

    def keep(self, root: Root, found: PathStat) -> None:
        """Leave a foreign directory as it is, but for the time of a change of its names: programs that watch it must notice.

        All comes back if the extraction is undone.
        """
        self._plan.foreign.add(full(root, found.path))
        if found.is_mendable and self._areas.changes_time_of(root, found.path):
            mtime_ns = self._now_ns if self._areas.changes_names_in(root, found.path) else found.mtime_ns
            area = self._areas.area_for(root, found.path)
            self._plan.metadata.append(MetadataStep(area.number, found.path, True, found.mode, mtime_ns, found.mode, found.mtime_ns))

    def mend(self, at: LocatedDestination) -> None:
        """Mend directories that stay, also those whose time changes only because names in them do; the deepest first."""
        for entry in reversed(at.destination.entries):
            found = self._found.get((at.number, entry.path))
            if found is None or not found.is_mendable:
                continue  # somebody else's, in which we may only place: its mode and time are theirs
            name, touched = full(at.root, found.path), self._areas.changes_time_of(at.root, found.path)
            step = self._metadata.step(at, entry, found, touched=touched)
            differs = step is not None and (step.mode != step.mode_before or step.owner is not None)
            stays = name in self._plan.stood or (differs and self._is_placed_by_others(name))
            if stays and at.destination.directory_mode == DirectoryMode.KEEP:
                self._plan.stood[name] = entry.kind
                self.keep(at.root, found)
            elif step is not None:
                self._plan.metadata.append(step)

    def keep_times_of_holders(self) -> None:
        """Keep the times of directories around a destination in which nothing but staging comes and goes, and those of all for undo."""
        planned = {(step.area, step.path) for step in self._plan.metadata}
        for area in list(self._areas.all):
            if area.is_used and area.holder is not None and (area.number, area.holder_path) not in planned:
                self.keep(area.root, area.holder)

    def _is_placed_by_others(self, name: str) -> bool:
        (place,) = self._context.filesystem.places([name])
        return any(each.counts_as_placed(place) for each in self._others)

    @cached_property
    def _others(self) -> Sequence[OtherDestination]:
        return known_destinations(self._context, self._located.manifest.renamed_from)
