"""The signed metadata that a sender passes on, without knowing whose it is and by which keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sluice.trust.targets import Target


class SignedMetadata(Protocol):
    """The current metadata of one Distributor."""

    def listing(self, distribution: str) -> Mapping[str, Target]:
        """Return the signed targets of a Distribution, by path; empty if nothing is signed."""
        ...

    def files_for(self, distribution: str, held: Mapping[str, int]) -> Mapping[str, bytes]:
        """Return the files that a Subscriber needs beyond the versions that it holds, by role."""
        ...

    def held_files(self, distribution: str, held: Mapping[str, int]) -> Mapping[str, bytes]:
        """Return the files that a Subscriber holds, as far as they are here, by role."""
        ...
