"""The signed metadata that a sender hands on: whose, and with which keys, it need not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sluice.trust.targets import Target


class SignedMetadata(Protocol):
    """Metadata of one Distributor as it stands."""

    def listing(self, distribution: str) -> Mapping[str, Target]:
        """What is signed of a Distribution, by target path; empty if nothing is."""
        ...

    def files_for(self, distribution: str, held: Mapping[str, int]) -> Mapping[str, bytes]:
        """Files that a Subscriber needs beyond the versions that it holds, by role."""
        ...

    def held_files(self, distribution: str, held: Mapping[str, int]) -> Mapping[str, bytes]:
        """Files that a Subscriber holds, as far as they are here, by role."""
        ...
