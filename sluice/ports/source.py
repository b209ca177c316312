"""The Source port: the origin of a Distribution's files. Adapters: ``infra/sources/``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sluice.model.manifest import Destination
from sluice.model.site import Distribution
from sluice.ports.store import ContentSink

Progress = Callable[[int, int], None]
"""Called with (done, total) in the unit that its receiver names; cheap, may be called often."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The result of one scan of a Distribution's sources."""

    destinations: tuple[Destination, ...] | None
    """None: exactly those that the given memory was made from."""
    memory: bytes
    """Memory for the next scan; opaque."""
    files: int
    directories: int
    symlinks: int
    size: int
    """Bytes of all files."""
    files_read: int = 0
    """Number of files whose content was read; the others were known by their stat."""
    unmatched: tuple[tuple[str, str], ...] = ()
    """Excludes that matched nothing, each with its source."""
    links_across: int = 0
    """Names of files that have another name in an earlier destination: hard links are kept within one."""
    lost_devices: frozenset[int] = frozenset()
    """Numbers, from 0, of the sources that had something on another file system at the last scan, which isn't there now."""


class Source(Protocol):
    """Scans the files of a Distribution."""

    def scan(
        self, distribution: Distribution, memory: bytes, *, sink: ContentSink, entries: bool, progress: Progress | None = None
    ) -> Scan:
        """Find the files to distribute and put the contents that ``sink`` lacks into it.

        Args:
            memory: A former scan's, which saves reading unchanged files. Anything else counts as none.
            entries: Whether ``destinations`` is wanted even if nothing changed since.
            progress: Called with (done, total) of the bytes to read.
        Raises:
            SourceMissingError, SourceChangedError, CaseCollisionError, NameImpossibleError, SourceError: The message names the path.
        """
