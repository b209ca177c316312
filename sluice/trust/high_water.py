"""High-water marks: the highest versions and the last order a Subscriber accepted from one Distributor.

Kept apart from the metadata directory, durably, so that a replay is refused also where the metadata was wiped or a power cut
left it empty (python-tuf doesn't fsync). A mark only rises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sluice.durable import replace_atomically
from sluice.errors import ReplayedError
from sluice.formats.canonical import Fields, canonical_bytes, parse_canonical

FILE_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HighWater:
    """The marks as they stand."""

    versions: Mapping[str, int] = field(default_factory=dict)
    sequence: int = 0

    def check_versions(self, versions: Mapping[str, int], *, distributor: str) -> None:
        """Raise ReplayedError where a role's version is below its mark."""
        for role, version in sorted(versions.items()):
            mark = self.versions.get(role, 0)
            if version < mark:
                raise ReplayedError(
                    f"metadata of Distributor {distributor}: {role} has version {version}, but {mark} was accepted before",
                    remedy="send the newest; if the Distributor was restored from a backup, push trust again with `sluice trust push --reset`",
                )

    def check_sequence(self, sequence: int, *, distributor: str) -> None:
        """Raise ReplayedError unless ``sequence`` is above the last order's."""
        if sequence <= self.sequence:
            raise ReplayedError(
                f"order {sequence} of Distributor {distributor} is not above {self.sequence}, which was accepted before",
                remedy="give the order again",
            )

    def raised(self, versions: Mapping[str, int], sequence: int = 0) -> HighWater:
        """The marks after accepting these."""
        merged = dict(self.versions)
        for role, version in versions.items():
            merged[role] = max(version, merged.get(role, 0))
        return HighWater(merged, max(self.sequence, sequence))


def read_high_water(path: Path) -> HighWater:
    """From disk; a missing file is no marks. A damaged one is an error: it is never taken for none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return HighWater()
    fields = Fields(parse_canonical(data, limit=FILE_MAX, what=str(path)), what=str(path))
    fields.constant("version", 1)
    versions = fields.any("versions")
    sequence = fields.number("sequence")
    fields.done()
    roles = Fields(versions, what=str(path))
    return HighWater({role: roles.number(role) for role in list(versions)}, sequence)


def write_high_water(path: Path, marks: HighWater) -> None:
    """To disk, durably."""
    replace_atomically(path, canonical_bytes({"version": 1, "versions": dict(marks.versions), "sequence": marks.sequence}))
