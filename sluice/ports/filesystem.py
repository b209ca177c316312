"""The Filesystem port: destinations on a Subscriber. Adapters: ``infra/filesystem/``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sluice.model.manifest import EntryKind

Owner = tuple[int, int]
"""Numbers of user and group."""
Xattrs = tuple[tuple[str, bytes], ...]
"""Extended attributes in name order: those of a user's, capabilities and POSIX ACLs."""


class PathStat(NamedTuple):
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
    is_mendable: bool
    """Whether the agent's account may set its mode and time."""
    ctime_ns: int
    """When its content or anything about it changed last, by the file system's clock; nobody can set it."""
    owner: Owner


@dataclass(frozen=True, slots=True)
class ResolvedPath:
    """Where a destination lies once the trusted links on the way to it are followed."""

    directory: str
    """The deepest directory on the way that exists, without links; ``Filesystem.open_root`` takes it."""
    below: str
    """The destination relative to it: its name, after the names of parents that are missing. Empty: the file system's root."""

    @property
    def path(self) -> str:
        """The destination's absolute path without links."""
        return f"{self.directory.rstrip('/')}/{self.below}"


class LockedPath(NamedTuple):
    """Something that can't be replaced or changed now (F2)."""

    path: str
    """Below the root."""
    why: str
    """For a person: ``held by pid 123``, ``immutable``, ``append-only``, ``a mount point``."""


class Filesystem(Protocol):
    """Destinations on a Subscriber, treated as hostile: nothing here follows a link below a root.

    Everything raises DestinationError (a link in the way, no right, ...), LockedTargetError (F2) or NoSpaceError.
    """

    def locate(self, path: str, *, is_directory: bool) -> ResolvedPath:
        """Resolve a destination; nothing is created. Links count on the way only where nobody but root and the agent could set them.

        Args:
            path: Absolute.
            is_directory: A trusted link at the very end is followed; a single file replaces it.
        """
        ...

    def open_root(self, directory: str) -> Root:
        """Open an existing directory by its absolute path without links."""
        ...

    def owner(self, text: str) -> Owner:
        """``user:group`` as this Subscriber numbers them: by name, or by number where nobody has it as a name."""
        ...


class Root(Protocol):
    """An open directory. Every ``path`` is relative to it, with ``/`` between its parts; the empty path is the directory itself."""

    @property
    def path(self) -> str:
        """Its absolute path when it was opened: for messages and the journal."""
        ...

    def find(self, path: str) -> PathStat | None:
        """What stands there, a link as itself; None if nothing does."""
        ...

    def list(self, path: str, most: int | None = None) -> Sequence[PathStat]:
        """What stands in a directory, in no order; what vanishes meanwhile, a name or the directory itself, is passed over.

        Args:
            most: Names that are looked at; None: all.
        """
        ...

    def is_writable(self, path: str) -> bool:
        """Whether its mode lets the agent's account change names in a directory."""
        ...

    def read(self, path: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """A regular file's content in pieces of at most 1 MiB; DestinationError if it is anything else.

        Args:
            offset: Where it begins.
            length: Most bytes; None: to the end, wherever that is meanwhile.
        """
        ...

    def read_link(self, path: str) -> str:
        """A symlink's text."""
        ...

    def xattrs(self, path: str) -> Xattrs:
        """Of a file or directory; none where its file system has none."""
        ...

    def write_file(
        self,
        path: str,
        pieces: Iterable[bytes | memoryview],
        *,
        mode: int,
        mtime_ns: int,
        durable: bool,
        owner: Owner | None = None,
        xattrs: Xattrs | None = None,
    ) -> None:
        """Create a file where nothing stands; long runs of zeros take no space where the file system has holes.

        Args:
            durable: Its content survives a power cut (its name needs ``sync_directories``).
            xattrs: All that are there afterwards; None: those that its directory gives to what is new in it.
        """
        ...

    def make_directory(self, path: str) -> None:
        """Create a directory where nothing stands, 0700 until ``set_metadata``."""
        ...

    def make_symlink(self, path: str, target: str, *, owner: Owner | None = None) -> None:
        """Create a symlink where nothing stands."""
        ...

    def set_metadata(self, path: str, *, mode: int, mtime_ns: int, owner: Owner | None = None, xattrs: Xattrs | None = None) -> None:
        """Of a directory or a file with this one name; DestinationError for anything else.

        Args:
            owner: None leaves it.
            xattrs: All that are there afterwards; None leaves them.
        """
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

    def locked(self, paths: Iterable[str], *, replaced: bool) -> Sequence[LockedPath]:
        """Those that are locked now, in their order; nothing is opened or locked for it. One that is gone is passed over.

        Args:
            replaced: Each is to be replaced or removed, itself and not what it holds: exclusive locks of processes and mount points count.
                Else its mode, its time or the names in it will change: only attributes count.
        """
        ...

    def free(self) -> int:
        """Bytes that may be written."""
        ...

    def close(self) -> None:
        """Release it."""
        ...
