"""What a look through a Distributor's store found: what was read, what is damaged there, and whom that concerns (E4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sluice.model.revision import RevisionNumber

Concerned = tuple[str, RevisionNumber]
"""A Distribution and one of its kept revisions."""


class Part(StrEnum):
    """What of the store a damage is in."""

    PACK = "pack"
    """Contents that lie there no longer have their digest."""
    INDEX = "pack index"
    """What lies where in a pack can't be read: none of its contents can be found."""
    CONTENT = "content"
    """No pack has it."""
    MANIFEST = "manifest"
    TED = ".ted file"


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that isn't as it was written."""

    part: Part
    path: str
    """The file; empty for a content that lies nowhere."""
    problem: str
    """What is wrong and where in it, without a full stop."""
    concerns: tuple[Concerned, ...] = ()
    """Revisions that can't be made, sent or built upon because of it; empty where nothing kept needs it."""
    lost: tuple[tuple[str, int], ...] = ()
    """Digest and size of each content that a kept revision needs and that can't be read here."""

    @property
    def is_of_contents(self) -> bool:
        """Whether contents are lost by it, rather than a file of a revision."""
        return self.part in (Part.PACK, Part.INDEX, Part.CONTENT)


@dataclass(frozen=True, slots=True)
class Examined:
    """One look through a store, or through what some Distributions have in it."""

    packs: int
    contents: int
    """Whose digest was computed anew."""
    manifests: int
    teds: int
    bytes: int
    """Read from disk."""
    damages: tuple[Damage, ...]
