"""High-water marks: the highest versions that a Subscriber accepted from one Distributor, and its last order for each Distribution.

Kept apart from the metadata directory, durably, so that a replay is refused even if the metadata was wiped or emptied by a power cut
(python-tuf doesn't fsync). A mark only rises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.durable import replace_atomically
from sluice.errors import ReplayedError
from sluice.formats.canonical import Fields, canonical_bytes
from sluice.model.order import Act, Order

FILE_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HighWater:
    """The current marks."""

    versions: Mapping[str, int] = field(default_factory=dict)
    sequences: Mapping[str, int] = field(default_factory=dict)
    """Last order by Distribution: orders for different ones may overtake each other on the way."""

    def check_versions(self, versions: Mapping[str, int], *, distributor: str) -> None:
        """Raise ReplayedError if a role's version is below its mark."""
        for role, version in sorted(versions.items()):
            mark = self.versions.get(role, 0)
            if version < mark:
                raise ReplayedError(
                    f"metadata of Distributor {distributor}: {role} has version {version}, but {mark} was accepted before",
                    remedy="repeat `sluice send`; if the Distributor was restored from a backup, restore a newer trust directory",
                )

    def check_sequence(self, order: Order) -> None:
        """Raise ReplayedError unless the order's number is above the last one's for its Distribution: the remedy gives another order."""
        about, mark = order.distribution, self.sequences.get(order.distribution, 0)
        if order.sequence <= mark:
            repeated = {
                Act.EXTRACT: f"sluice extract {order.subscriber} --distribution {about}",
                Act.RELEASE: f"sluice release {about} --to {order.subscriber}",
            }
            raise ReplayedError(
                f"order {order.sequence} to {order.act} {about} is not above order {mark}, which was accepted before",
                remedy=f"run: {repeated[order.act]}",
            )

    def raised(self, *, versions: Mapping[str, int] | None = None, sequences: Mapping[str, int] | None = None) -> HighWater:
        """Return the marks after accepting these."""
        return HighWater(_highest(self.versions, versions or {}), _highest(self.sequences, sequences or {}))


def _highest(marks: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    return {key: max(marks.get(key, 0), others.get(key, 0)) for key in marks.keys() | others.keys()}


def read_high_water(path: Path) -> HighWater:
    """Read the marks from disk; a missing file means none. A damaged one is an error, never taken for none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return HighWater()
    with Fields.parse(data, limit=FILE_MAX, what=str(path)) as fields:
        fields.constant("version", 1)
        return HighWater(_marks(fields.any("versions"), path), _marks(fields.any("sequences"), path))


def _marks(value: Any, path: Path) -> dict[str, int]:
    fields = Fields(value, what=str(path))
    return {key: fields.number(key) for key in value}


def write_high_water(path: Path, marks: HighWater) -> None:
    """Write the marks to disk, durably."""
    replace_atomically(path, canonical_bytes({"version": 1, "versions": dict(marks.versions), "sequences": dict(marks.sequences)}))
