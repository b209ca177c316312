"""The outside world as the domain sees it. Adapters live in ``infra/`` (and ``agents/`` for what runs on a Subscriber).

One small port per kind of I/O. Adapters translate foreign exceptions into ``sluice.errors`` at one seam each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sluice.model.manifest import Entry, Manifest
from sluice.model.revision import RevisionNumber
from sluice.model.site import Subscriber

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


class Store(Protocol):
    """The Distributor's revisions of its Distributions (docs/formats.md sections 1 to 4)."""

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
class Found:
    """What stands at a path below a destination."""

    entry: Entry
    """With an empty digest: contents aren't read."""
    device: int
    inode: int
    ctime_ns: int
    writable: bool
    """False where the file is immutable or locked against us (F2)."""


class Filesystem(Protocol):
    """Destinations on a Subscriber, treated as hostile: nothing here follows a link below a root.

    A root is an absolute destination path, opened once; every ``path`` is relative to it and uses ``/``. All calls raise
    DestinationError for links in the way, LockedTargetError for locked targets, NoSpaceError.
    """

    def open_root(self, path: str, *, create: bool) -> Root:
        """Open the directory ``path``, creating it and missing parents if asked."""
        ...


class Root(Protocol):
    """An open directory of a destination, or its staging directory."""

    def find(self, path: str) -> Found | None:
        """What stands there; None if nothing."""
        ...

    def walk(self, path: str) -> Iterator[Found]:
        """Everything below ``path``, a directory before what it holds; links aren't followed."""
        ...

    def read(self, path: str) -> Iterator[bytes]:
        """A regular file's content in pieces; DestinationError if it is anything else."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class Mailer(Protocol):
    """Notices by mail (C7)."""

    def send(self, to: Sequence[str], subject: str, text: str) -> None:
        """Hand one message to the server. Raises TransportError."""
        ...
