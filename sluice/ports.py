"""The outside world as the domain sees it. Adapters live in ``infra/`` (and ``agents/`` for what runs on a Subscriber).

One small port per kind of I/O. Adapters translate foreign exceptions into ``sluice.errors`` at one seam each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from sluice.model.manifest import Destination, EntryKind, Manifest
from sluice.model.order import Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distribution, Priority, Subscriber
from sluice.model.state import Built, CurrentState, Event, LedgerSnapshot, ReceiptStored, RecordedEvent
from sluice.model.ticket import Occupied, Started, Ticket, Waiting

Progress = Callable[[int, int], None]
"""Called with (done, total) in the unit its receiver names; cheap, may be called often."""


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class Stream(Protocol):
    """A conversation's bytes in both directions, to one agent."""

    def write(self, data: bytes | memoryview) -> None:
        """Write everything. Raises ConnectionLostError or TransportTimeoutError."""
        ...

    def read(self, size: int) -> bytes:
        """One to ``size`` bytes; ``b""`` at the end. Raises ConnectionLostError or TransportTimeoutError."""
        ...

    def readable(self) -> bool:
        """Whether a read would return at once; never blocks."""
        ...

    def close(self) -> None:
        """End the conversation; may be called twice."""
        ...


class Transport(Protocol):
    """A way to Subscribers: SSH or local."""

    def connect(self, subscriber: Subscriber, *, timeout: float) -> Stream:
        """Start ``sluice-agent serve`` on the Subscriber and hold its stdin and stdout.

        Args:
            timeout: Seconds without progress until any call on the stream raises TransportTimeoutError.
        Raises:
            UnreachableError, HostKeyError, AuthenticationError, AgentMissingError, TransportTimeoutError.
        """
        ...


@dataclass(frozen=True, slots=True)
class TedFile:
    """A ``.ted`` of a revision at the Distributor."""

    revision: RevisionNumber
    base: RevisionNumber | None
    path: str
    """On this machine."""
    name: str
    """``distfile.ted`` or ``from-B.N.ted``: the last part of its TUF target."""
    index: bytes
    payload: int
    """Bytes; they begin at offset 8 of the file."""


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes a Distribution takes on the Distributor's disk."""

    revisions: int
    """Its own directory: manifests and ``.ted`` files."""
    contents: int
    """Packs with contents of its kept revisions; a pack shared with other Distributions counts in each."""


class ContentSink(Protocol):
    """Takes contents in, each once."""

    def expect(self, size: int) -> None:
        """Said before anything is put: about ``size`` bytes of new content follow. Raises NoSpaceError (C13)."""
        ...

    def holds(self, digest: str) -> bool:
        """Whether this content is there already."""
        ...

    def put(self, digest: str, size: int, pieces: Iterable[bytes]) -> None:
        """Keep a content. What ``pieces`` raises passes through, and nothing is kept then; the caller answers for the digest."""
        ...


class Draft(ContentSink, Protocol):
    """One Distribution of a Store while its lock is held: the writing side. What a killed process left was removed before."""

    def remember(self, memory: bytes) -> None:
        """Keep what the next scan wants back (``Store.scan_memory``)."""
        ...

    def add_revision(self, manifest: Manifest, bases: Sequence[RevisionNumber | None]) -> Sequence[TedFile]:
        """Make a revision visible, whole or not at all, with its ``.ted`` for each of ``bases`` (None: for everybody).

        Raises:
            StoreCorruptError: A content of the manifest isn't held, or no longer has its digest.
            NoSpaceError: The disk is full; nothing is visible.
        """
        ...

    def ensure_ted(self, revision: RevisionNumber, base: RevisionNumber | None) -> TedFile:
        """As the Store's, under the lock held already."""
        ...

    def remove(self, revisions: Sequence[RevisionNumber]) -> None:
        """Delete revisions, and later the contents that only they had."""
        ...


class Store(Protocol):
    """The Distributor's revisions of its Distributions (docs/formats.md sections 1 to 4)."""

    def lock(self, distribution: str) -> AbstractContextManager[Draft]:
        """Hold the Distribution's lock and clear up after killed processes. Raises StoreLockedError if another process holds it."""
        ...

    def scan_memory(self, distribution: str) -> bytes:
        """What the last scan left for the next; empty if nothing did. Not to be believed: the reader checks it."""
        ...

    def disk_used(self, distribution: str) -> DiskUse:
        """Bytes on disk (C6)."""
        ...

    def revisions(self, distribution: str) -> Sequence[RevisionNumber]:
        """Kept ones, oldest first."""
        ...

    def manifest(self, distribution: str, revision: RevisionNumber) -> Manifest:
        """Of a kept revision. Raises NotFoundError, StoreCorruptError."""
        ...

    def manifest_bytes(self, distribution: str, revision: RevisionNumber) -> bytes:
        """The bytes that are signed."""
        ...

    def teds(self, distribution: str, revision: RevisionNumber) -> Sequence[TedFile]:
        """Those made so far."""
        ...

    def ensure_ted(self, distribution: str, revision: RevisionNumber, base: RevisionNumber | None) -> TedFile:
        """The ``.ted`` from ``base``, made now if it is missing. Takes the Distribution's lock."""
        ...


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


class Found(NamedTuple):
    """What stands at a path below a root."""

    path: str
    kind: EntryKind | None
    """None: a device, a socket or a pipe."""
    mode: int
    """Permission bits; 0 for symlinks."""
    mtime_ns: int
    size: int
    device: int
    inode: int
    links: int
    """Hard links to it."""
    is_ours: bool
    """Whether the agent's account owns it."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where a destination lies once the trusted links on the way to it are followed."""

    directory: str
    """The deepest directory on the way that exists, without links; ``Filesystem.open_root`` takes it."""
    below: str
    """The destination relative to it: its name, after the names of parents that are missing. Empty: the file system's root."""

    @property
    def path(self) -> str:
        """The destination's absolute path without links."""
        return f"{self.directory.rstrip('/')}/{self.below}"


class Filesystem(Protocol):
    """Destinations on a Subscriber, treated as hostile: nothing here follows a link below a root.

    Everything raises DestinationError (a link in the way, no right, ...), LockedTargetError (F2) or NoSpaceError.
    """

    def locate(self, path: str, *, is_directory: bool) -> Located:
        """Resolve a destination; nothing is created. Links count on the way only where nobody but root and the agent could set them.

        Args:
            path: Absolute.
            is_directory: A trusted link at the very end is followed; a single file replaces it.
        """
        ...

    def open_root(self, directory: str) -> Root:
        """Open an existing directory by its absolute path without links."""
        ...


class Root(Protocol):
    """An open directory. Every ``path`` is relative to it, with ``/`` between its parts; the empty path is the directory itself."""

    @property
    def path(self) -> str:
        """Its absolute path when it was opened: for messages and the journal."""
        ...

    def find(self, path: str) -> Found | None:
        """What stands there, a link as itself; None if nothing does."""
        ...

    def list(self, path: str) -> Sequence[Found]:
        """What stands in a directory, in no order."""
        ...

    def is_writable(self, path: str) -> bool:
        """Whether its mode lets the agent's account change names in a directory."""
        ...

    def read(self, path: str) -> Iterator[bytes]:
        """A regular file's content in pieces of at most 1 MiB; DestinationError if it is anything else."""
        ...

    def read_link(self, path: str) -> str:
        """A symlink's text."""
        ...

    def write_file(self, path: str, pieces: Iterable[bytes | memoryview], *, mode: int, mtime_ns: int, durable: bool) -> None:
        """Create a file where nothing stands; with ``durable`` its content survives a power cut (its name needs ``sync_directories``)."""
        ...

    def make_directory(self, path: str) -> None:
        """Create a directory where nothing stands, 0700 until ``set_metadata``."""
        ...

    def make_symlink(self, path: str, target: str) -> None:
        """Create a symlink where nothing stands."""
        ...

    def set_metadata(self, path: str, *, mode: int, mtime_ns: int) -> None:
        """Of a file or directory, whose own time it is; DestinationError for anything else."""
        ...

    def swap(self, path: str, other: Root, other_path: str, *, occupied: bool) -> None:
        """Give ``other_path`` what stands here at ``path``; what stood there stands here afterwards, or nothing does.

        Atomic where the file system can exchange names, else by link and rename: a file or symlink there is never missing. Both
        roots are of one file system and this one is the caller's alone.

        Args:
            occupied: Whether something is expected there: a hint that saves a call.
        """
        ...

    def settle(self, path: str, other: Root, other_path: str) -> None:
        """Finish or forget a ``swap`` during which the process died; harmless after a whole one."""
        ...

    def remove(self, path: str) -> None:
        """Remove what stands there, a directory with everything in it; harmless if nothing does."""
        ...

    def sync_directories(self, paths: Iterable[str]) -> None:
        """Make the names and metadata of directories durable; one that is gone is passed over."""
        ...

    def sync_filesystem(self) -> None:
        """Make everything on its file system durable, at once: cheaper than one by one from about 64 files."""
        ...

    def open_below(self, path: str) -> Root:
        """A directory below as a root of its own; it stays that one if its name is given to another."""
        ...

    def mounts(self) -> Sequence[str]:
        """Paths below at which other file systems are mounted."""
        ...

    def free(self) -> int:
        """Bytes that may be written."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class Ledger(Protocol):
    """The truth over all flow runs: events, current state, built revisions, sequences, receipts, cancel flags, send queue.

    Used by many threads and processes at once; every call is one transaction and durable when it returns. All calls raise
    LedgerError: the database can't be reached, is full, or stayed locked beyond the bounds. Times are aware and in UTC.
    Source: TED's reporting database.
    """

    def record(
        self, event: Event, change: Callable[[CurrentState], CurrentState] | None = None, *, built: Built | None = None
    ) -> CurrentState | None:
        """Append an event and, in the same transaction, change the current state of its Subscriber and Distribution.

        Args:
            change: From the state as it stands to the new one; a transition of ``CurrentState`` or ``rules.retry``. Pure: it
                may be called again. Needs ``event.subscriber`` and ``event.distribution``; ``flow_run`` is taken from the event.
            built: The revision the event says was built, to be the Distribution's latest. Recording it twice is harmless.
        Returns:
            The new state; None without ``change``.
        """
        ...

    def events(self, *, subscriber: str = "", distribution: str = "", after: int = 0, limit: int = 1000) -> Sequence[RecordedEvent]:
        """Events with a number above ``after``, oldest first; empty names match all."""
        ...

    def state(self, subscriber: str, distribution: str) -> CurrentState:
        """As it stands; all defaults for a pair that was never recorded."""
        ...

    def built(self, distribution: str) -> Built | None:
        """The latest revision recorded as built."""
        ...

    def snapshot(self) -> LedgerSnapshot:
        """Everything ``rules.reasons`` reads, of one moment."""
        ...

    def next_sequence(self, distributor: str, subscriber: str) -> int:
        """The number of the next order: from 1, strictly increasing, never given twice, also after a crash."""
        ...

    def accept_receipt(self, receipt: Receipt, envelope: str, event: Event) -> ReceiptStored:
        """Keep a verified receipt verbatim, apply it to the current state and record ``event``, in one transaction.

        The same Subscriber, Distributor and sequence again changes nothing (KNOWN, or CONFLICT where the envelope differs:
        the first stays and an event says so).

        Args:
            envelope: As received, JSON.
        """
        ...

    def receipt(self, distributor: str, subscriber: str, sequence: int) -> str | None:
        """The envelope, as received; None if there is none."""
        ...

    def request_cancel(self, name: str, *, at: datetime, by: str = "") -> None:
        """Ask that what waits under ``name`` (a Distribution or Channel) stops and what runs finishes (I10)."""
        ...

    def cancel_requested(self, name: str) -> bool:
        """Whether that was asked since ``name`` last started; read before each target."""
        ...

    def clear_cancel(self, name: str) -> None:
        """``name`` starts anew."""
        ...

    def enqueue(
        self,
        sender: str,
        subscriber: str,
        distribution: str,
        revision: RevisionNumber,
        priority: Priority,
        holder: str,
        *,
        lease_seconds: float,
        now: datetime,
    ) -> Ticket | Occupied:
        """Claim a pair of Subscriber and Distribution, before its host is called. Stands in nobody's way until ``try_start``.

        Args:
            sender: The Distributor, or the parent that forwards.
            holder: The flow run's id.
        Returns:
            The ticket; or Occupied while another live one has the pair, be it the same holder's.
        """
        ...

    def try_start(self, ticket: Ticket, *, limit: int | None, lease_seconds: float, now: datetime) -> Started | Waiting:
        """Ask for a slot, once the host answers; ask again while Waiting. Each call keeps the lease alive.

        Strict priorities, first come first served within one, at most ``limit`` over all flow runs of the sender
        (``rules/dispatch.py``). Cheap while nothing changed: a read.

        Args:
            limit: The sender's ``max_concurrent``; None is UNLIMITED_IN_PROCESS for each holder.
        Raises:
            LeaseLostError: The lease ran out and the place was given away; enter again.
        """
        ...

    def renew(self, ticket: Ticket, *, lease_seconds: float, now: datetime) -> Ticket:
        """Keep a ticket's lease alive, at least every third of its length. Raises LeaseLostError as above."""
        ...

    def finish(self, ticket: Ticket) -> None:
        """Give slot and claim back; also before waiting for a retry (D10). Harmless where they were lost or given back."""
        ...

    def close(self) -> None:
        """Release connections; the ledger may not be used afterwards."""
        ...
