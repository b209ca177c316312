"""The Source port: where a Distribution's files come from. Adapters: ``infra/sources/``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sluice.model.manifest import Destination
from sluice.model.site import Distribution
from sluice.ports.store import ContentSink

Progress = Callable[[int, int], None]
"""Called with (done, total) in the unit its receiver names; cheap, may be called often."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What stands in a Distribution's sources."""

    destinations: tuple[Destination, ...] | None
    """None: exactly what the memory given was made of."""
    memory: bytes
    """For the next scan; opaque."""
    files: int
    directories: int
    symlinks: int
    size: int
    """Bytes of all files."""
    files_read: int = 0
    """Files whose content was read; the others were known by their stat."""


class Source(Protocol):
    """Where a Distribution's files come from."""

    def scan(
        self, distribution: Distribution, memory: bytes, *, sink: ContentSink, entries: bool, progress: Progress | None = None
    ) -> Scan:
        """Find what is to be distributed and put the contents that ``sink`` lacks into it.

        Args:
            memory: A former scan's; saves reading what hasn't changed since. Anything else is as good as none.
            entries: Whether ``destinations`` is wanted also where nothing changed since.
            progress: Told (done, total) of the bytes to read.
        Raises:
            SourceMissingError, SourceChangedError, CaseCollisionError, NameImpossibleError, SourceError: The message names the path.
        """
        ...
