"""A signed target: what both sides of trust say of a manifest or a ``.ted``'s index."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """Length in bytes and SHA-256 in hex."""

    length: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Target:
        """The target these bytes are."""
        return cls(len(data), hashlib.sha256(data).hexdigest())

    def fits(self, data: bytes) -> bool:
        """Whether these bytes are the target."""
        return self == Target.of(data)


Listing = Mapping[str, Target]
"""Targets of one Distribution that can be sent now, by path."""
