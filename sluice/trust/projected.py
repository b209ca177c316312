"""A Distributor's metadata as it would be after a publishing, for dry runs: nothing is written, and no key of the Distributor is used.

A random key that is forgotten at once signs it, so that only the metadata's size means anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import Signed

from sluice.trust.publish import Published, Publisher, lifetime_of
from sluice.trust.repository import EARLIER, Repository, signed_bytes
from sluice.trust.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, distribution_role, metadata_file
from sluice.trust.targets import Listing


class ProjectedPublisher(Publisher):
    """A Publisher whose publishings only it can read."""

    def __init__(self, working_directory: Path, *, distributor: str) -> None:
        super().__init__(working_directory, distributor=distributor)
        self._files = _Overlay(self._repository, distributor=distributor)

    def publish(self, listings: Callable[[], Mapping[str, Listing]], *, now: datetime, longest_interval: timedelta) -> Published:
        """Publish as ``Publisher.publish`` would, in memory; takes no lock."""
        lifetime = lifetime_of(TIMESTAMP, longest_interval)
        return self._files.of_one_set(lambda: self._publish(listings(), now, lifetime, Ed25519PrivateKey.generate()))

    def held_since(self, distribution: str, at: datetime) -> dict[str, int]:
        """Return the versions by role that a Subscriber holds which was sent this Distribution at a time. Versions whose files are gone
        count as not held.
        """
        return self._files.of_one_set(lambda: self._held_since(distribution, at))

    def _held_since(self, distribution: str, at: datetime) -> dict[str, int]:
        found = {ROOT: self._files.newest_root()}
        for role, newest in self._files.versions().items():
            is_sent = role in (TIMESTAMP, SNAPSHOT, TARGETS, distribution_role(distribution))
            for version in range(newest, max(0, newest - EARLIER - 1), -1) if is_sent else ():
                written = self._files.written(role, version)
                if written is not None and written <= at:
                    found[role] = version
                    break
        return found


class _Overlay(Repository):
    """A repository as it is, with files in memory that would be written to it."""

    def __init__(self, directory: Path, *, distributor: str) -> None:
        super().__init__(directory, distributor=distributor)
        self._written: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        return self._written.get(name) or super().read(name)

    def write(self, name: str, signed: Signed, key: Ed25519PrivateKey) -> None:
        self._written[name] = signed_bytes(signed, key)

    def written(self, role: str, version: int) -> datetime | None:
        name = metadata_file(role, None if role == TIMESTAMP else version)
        return None if name in self._written else super().written(role, version)

    def remove_unreferenced(self, versions: Mapping[str, int], snapshot: int) -> None:
        """Remove nothing: no file in memory is ever replaced."""
