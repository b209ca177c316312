"""The result of verifying a Distributor's store: how much was read, which parts are damaged, and which revisions need them (E4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sluice.model.revision import RevisionNumber

AffectedRevision = tuple[str, RevisionNumber]
"""A Distribution and one of its kept revisions, which needs a damaged part."""


class Part(StrEnum):
    """The kind of file or content that is damaged."""

    PACK = "pack"
    """Contents in it no longer have their digest."""
    INDEX = "pack index"
    """The positions of a pack's contents can't be read: none of them can be found."""
    CONTENT = "content"
    """No pack contains it."""
    MANIFEST = "manifest"
    TED = ".ted file"


@dataclass(frozen=True, slots=True)
class Damage:
    """One file or content that isn't as it was written."""

    part: Part
    path: str
    """The file; empty for a content that no pack contains."""
    problem: str
    """A description of the damage and its position, without a full stop."""
    concerns: tuple[AffectedRevision, ...] = ()
    """Revisions that can't be made, sent or built upon because of it; empty if no kept revision needs it."""
    lost: tuple[tuple[str, int], ...] = ()
    """Digest and size of each content that a kept revision needs and that can't be read from here."""

    @property
    def is_of_contents(self) -> bool:
        """Whether it lost contents, rather than a file of a revision."""
        return self.part in (Part.PACK, Part.INDEX, Part.CONTENT)


@dataclass(frozen=True, slots=True)
class Examination:
    """One verification of a store, or of some Distributions' part of it."""

    packs: int
    contents: int
    """Number of contents whose digest was computed again."""
    manifests: int
    teds: int
    bytes: int
    """Read from disk."""
    damages: tuple[Damage, ...]
