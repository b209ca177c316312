"""The Store port: a Distributor's revisions and their contents. Adapter: ``infra/store/``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sluice.model.damage import Damage, Examination
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber


@dataclass(frozen=True, slots=True)
class TedFile:
    """A ``.ted`` of a revision at the Distributor."""

    revision: RevisionNumber
    base: RevisionNumber | None
    path: str
    """On this machine."""
    name: str
    """``distfile.ted``, ``from-B.N.ted`` or ``from-B.N.small.ted``: the last part of its TUF target; empty for a supplement."""
    index: bytes
    payload: int
    """Bytes; they begin at offset 8 of the file."""
    small: bool = False
    """A delta for agents with little memory."""


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes a Distribution takes on the Distributor's disk."""

    revisions: int
    """Its own directory: manifests and ``.ted`` files."""
    contents: int
    """Packs with contents of its kept revisions; a pack shared with other Distributions counts in each."""
    own_contents: int
    """Of them, packs with contents that no other Distribution refers to: what is freed with its last revision."""


class ContentSink(Protocol):
    """Takes contents in, each once."""

    def expect(self, size: int) -> None:
        """Announce about ``size`` bytes of new content, before anything is put. Raises NoSpaceError (C13)."""

    def holds(self, digest: str) -> bool:
        """Whether this content is in the store already."""

    def put(self, digest: str, size: int, pieces: Iterable[bytes]) -> None:
        """Keep a content. What ``pieces`` raises passes through, and nothing is kept then; the caller answers for the digest."""


class PackRepair(ContentSink, Protocol):
    """Takes in contents that were lost, and no others; they are kept when the context ends well."""

    @property
    def lost(self) -> Mapping[str, int]:
        """Sizes by digest of the contents that haven't been put in again yet."""


class Draft(ContentSink, Protocol):
    """One Distribution of a Store while its lock is held: the writing side. Leftovers of killed processes were removed before."""

    def remember(self, memory: bytes) -> None:
        """Keep a scan's memory for the next one (``Store.scan_memory``)."""

    def add_revision(
        self, manifest: Manifest, bases: Sequence[RevisionNumber | None], *, progress: Callable[[int, int], None] | None = None
    ) -> Sequence[TedFile]:
        """Make a revision visible, whole or not at all, with its ``.ted`` for each of ``bases`` (None: the whole one).

        For a base that goes once the revision is kept (C3), a small delta is made too: it couldn't be made afterwards.

        Args:
            progress: Called with (done, total) of the bytes of each delta's new contents.
        Raises:
            StoreCorruptError: A content of the manifest isn't in the store, or no longer has its digest.
            NoSpaceError: The disk is full; nothing is visible.
        """

    def ensure_ted(
        self,
        revision: RevisionNumber,
        base: RevisionNumber | None,
        *,
        small: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> TedFile:
        """Do as the Store's, under the lock that is held already."""

    def remove(self, revisions: Sequence[RevisionNumber]) -> None:
        """Delete revisions, and later the contents that only they referred to."""


class RevisionReader(Protocol):
    """Kept revisions of Distributions, read."""

    def revisions(self, distribution: str) -> Sequence[RevisionNumber]:
        """Return the kept revisions, oldest first."""

    def manifest(self, distribution: str, revision: RevisionNumber) -> Manifest:
        """Return a kept revision's manifest. Raises NotFoundError, StoreCorruptError."""

    def manifest_bytes(self, distribution: str, revision: RevisionNumber) -> bytes:
        """Return the bytes that are signed."""

    def teds(self, distribution: str, revision: RevisionNumber) -> Sequence[TedFile]:
        """Return the ``.ted`` files made so far; a damaged one is as good as none: ``ensure_ted`` makes it again."""


class TedStore(RevisionReader, Protocol):
    """A store as a sender needs it: every ``.ted`` of a kept revision, made if it is missing."""

    def ensure_ted(
        self,
        distribution: str,
        revision: RevisionNumber,
        base: RevisionNumber | None,
        *,
        small: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> TedFile:
        """Return the ``.ted`` from ``base``, made now if it is missing; then it is kept. Takes the Distribution's lock.

        If several ask at once, it is made once.

        Args:
            base: One of ``bases``; None: everything.
            small: A delta for agents with little memory.
            progress: Called with (done, total) of the bytes of new contents.
        Raises:
            BaseDiffersError: No delta can lead from ``base`` to it: only everything will do.
        """

    def bases(self, distribution: str, revision: RevisionNumber, *, small: bool = False) -> Sequence[RevisionNumber]:
        """Return the revisions from which a delta was or can be made, oldest first: kept older ones, and those whose delta was made
        before they went (C3). Empty if every revision is sent whole (C4).
        """

    def supplement(
        self, distribution: str, revision: RevisionNumber, base: RevisionNumber | None, digests: Sequence[str]
    ) -> AbstractContextManager[TedFile]:
        """Make a supplement: these contents of a revision or its base, in this order, as a ``.ted`` that lasts as long as the context.

        Its index is unsigned: its receiver knows the contents by their digests in signed manifests.

        Raises:
            NotFoundError: The revision isn't kept, or a content isn't in the store or isn't referred to by either.
            StoreCorruptError: A content no longer has its digest.
            NoSpaceError: Less than ``min_free`` would remain free.
        """


class Store(TedStore, Protocol):
    """The Distributor's revisions of its Distributions (docs/formats.md sections 1 to 4)."""

    def lock(self, distribution: str) -> AbstractContextManager[Draft]:
        """Hold the Distribution's lock and clear up after killed processes. Raises StoreLockedError if another process holds it."""

    def scan_memory(self, distribution: str) -> bytes:
        """Return what the last scan remembered for the next; empty if nothing was. Not to be believed: the reader checks it."""

    def disk_used(self, distributions: Collection[str]) -> Mapping[str, DiskUse]:
        """Return bytes on disk of each (C6). Reads the whole store once, however many are asked for."""

    def examine(self, distributions: Collection[str] = (), *, progress: Callable[[int, int], None] | None = None) -> Examination:
        """Read everything again and hash it: packs, manifests, ``.ted`` files. Nothing is changed.

        Args:
            distributions: Only the parts of these; empty: all of the store.
            progress: Called with (done, total) of the bytes to read.
        """

    def repair_packs(self, damages: Sequence[Damage]) -> AbstractContextManager[PackRepair]:
        """Repair the packs that ``examine`` found damaged: their sound contents are saved, contents put in are kept, then they go.

        Raises:
            StoreLockedError: Builds are under way and don't end, so that damaged packs can't go yet; nothing is lost.
        """

    def set_aside(self, distribution: str, revision: RevisionNumber, name: str) -> str | None:
        """Rename a ``.ted`` that is damaged to ``.corrupt`` (E4), so that ``ensure_ted`` makes it again; None if it is sound, or gone."""
