"""A signed target: length and digest of a manifest or a ``.ted``'s index, on both sides of trust."""

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
        """Return the target of these bytes."""
        return cls(len(data), hashlib.sha256(data).hexdigest())

    def fits(self, data: bytes) -> bool:
        """Whether these bytes have the target's length and digest."""
        return self == Target.of(data)


Listing = Mapping[str, Target]
"""Targets of one Distribution that can be sent now, by path."""
