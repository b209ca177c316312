"""The manifest: the paths of a revision's destinations. Data only; ``formats/manifest/document.py`` writes and reads its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sluice.model.action import Action
from sluice.model.removals import USUAL, RemovalLimit
from sluice.model.revision import RevisionNumber

TIME_MAX = 2**63 - 1
"""Most nanoseconds before or after the epoch: from the year 1677 to 2262."""
PLACEHOLDER = "#"
"""First character of the digest of an unknown content in an outline; its number follows, counted from 0 by first appearance."""


Extras = tuple[str, tuple[tuple[str, bytes], ...], str]
"""Owner, extended attributes and hard link of an entry."""


class EntryKind(StrEnum):
    """The kind of an entry."""

    FILE = "f"
    DIRECTORY = "d"
    SYMLINK = "l"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path below a destination.

    ``path`` is relative, ``/``-separated, NFC UTF-8, without ``.``, ``..`` or empty parts; the empty path is the destination
    itself (a single file, or the directory's own entry).
    """

    kind: EntryKind
    path: str
    mode: int
    """Permission bits only (0 to 0o7777)."""
    mtime_ns: int
    """Nanoseconds since the epoch; 0 for symlinks, whose time isn't kept."""
    size: int = 0
    """Bytes; files only."""
    digest: str = ""
    """BLAKE3 of the content, 64 hex digits; files only."""
    target: str = ""
    """Symlinks only: the link's text, unchanged."""
    owner: str = ""
    """``user:group`` by name, or by number if it has none; empty: the account that extracts."""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    """Extended attributes by name, in name order."""
    link: str = ""
    """Files only: the first path of those that are one file with it; empty for that first one, and for a file with one name."""

    @property
    def extras(self) -> Extras:
        """Everything that only some entries have."""
        return self.owner, self.xattrs, self.link


@dataclass(frozen=True, slots=True)
class Destination:
    """One ``files:`` entry of the blueprint as it was built."""

    template: str
    """The destination with its variables unrendered; the order carries the rendered one."""
    is_directory: bool
    entries: tuple[Entry, ...]
    """Sorted by path as bytes; a directory comes before its contents."""
    synchronize: str = "no"
    """A value of ``model.site.Synchronize``: which paths are removed from the directory (C9)."""
    exclude: tuple[str, ...] = ()
    """The blueprint's excludes if the directory is mirrored: paths that they match stay (``rules/excludes.py``)."""
    max_removals: RemovalLimit = USUAL
    """How much an extraction may remove unasked, if the destination synchronizes."""
    directory_mode: str = "keep"
    """A value of ``model.site.DirectoryMode``: whether directories that stood before get the source's mode."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about one revision but the values that differ by Subscriber, which are in the order."""

    distribution: str
    revision: RevisionNumber
    type: str
    destinations: tuple[Destination, ...]
    pre_actions: tuple[Action, ...] = ()
    post_actions: tuple[Action, ...] = ()
    copy: str = "differing"
    rollback: bool = True
    verify: bool = False
    max_revisions: int | None = 10
    renamed_from: str = ""
    """The Distribution's name before; empty: it had no other."""

    def contents(self) -> Iterator[tuple[str, int]]:
        """Yield each distinct content once as (digest, size), in order of first appearance: the order of a ``.ted`` stream."""
        seen: set[str] = set()
        for destination in self.destinations:
            for entry in destination.entries:
                if entry.kind is EntryKind.FILE and entry.digest not in seen:
                    seen.add(entry.digest)
                    yield entry.digest, entry.size


@dataclass(frozen=True, slots=True)
class EncodedManifest:
    """A manifest with the one byte string that it has, so that it is never encoded, parsed or hashed twice.

    Made by ``formats.manifest.document.encode`` and ``decode``.
    """

    manifest: Manifest
    data: bytes
    digest: str
    """BLAKE3 of ``data``, 64 hex digits."""
