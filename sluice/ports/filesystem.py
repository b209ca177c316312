"""The Filesystem port: destinations on a Subscriber. Adapters: ``infra/filesystem/``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sluice.errors import DestinationError
from sluice.model.limits import Limits
from sluice.model.manifest import EntryKind

Owner = tuple[int, int]
"""Numeric ids of user and group."""
Xattrs = tuple[tuple[str, bytes], ...]
"""Extended attributes in name order: the ``user.`` ones, capabilities and POSIX ACLs."""


class PathStat(NamedTuple):
    """The file, directory or symlink at a path below a root."""

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
    """Number of its hard links."""
    is_ours: bool
    """Whether the agent's account owns it."""
    is_mendable: bool
    """Whether the agent's account may set its mode and time."""
    ctime_ns: int
    """When its content or metadata changed last, by the file system's clock; no program can set it."""
    owner: Owner


@dataclass(frozen=True, slots=True)
class ResolvedPath:
    """A destination's location once the trusted links on the way to it are followed."""

    directory: str
    """The deepest directory on the way that exists, without links; ``Filesystem.open_root`` takes it."""
    below: str
    """The destination relative to it: its name, after the names of parents that are missing. Empty: the file system's root."""

    @property
    def path(self) -> str:
        """The destination's absolute path without links."""
        return f"{self.directory.rstrip('/')}/{self.below}"


MOUNT_POINT = "a mount point"
"""``LockedPath.why`` of a path that waiting doesn't free."""


class LockedPath(NamedTuple):
    """A path that can't be replaced or changed now (F2)."""

    path: str
    """Below the root."""
    why: str
    """The cause, for a person: ``held by pid 123``, ``immutable``, ``append-only``, MOUNT_POINT."""


def mounted_error(where: str) -> DestinationError:
    """Return the error of a mount point, a file or a directory, that would have to be replaced or removed."""
    return DestinationError(
        f"{where} is a mount point: while something is mounted there, nothing can take its place",
        remedy="choose another destination, or exclude it from the Distribution",
    )


class Filesystem(Protocol):
    """Destinations on a Subscriber, treated as hostile: nothing here follows a link below a root.

    Everything raises DestinationError (a link in the way, no right, ...), LockedTargetError (F2) or NoSpaceError.
    """

    def locate(self, path: str, *, is_directory: bool) -> ResolvedPath:
        """Resolve a destination; nothing is created. Links on the way are followed only if just root
        or the agent's account could set them.

        Args:
            path: Absolute.
            is_directory: A trusted link at the very end is followed; a single file replaces it.
        """

    def places(self, paths: Sequence[str]) -> Sequence[str]:
        """Return where absolute paths without links lie on their file systems: two that a bind mount makes one lie at the same place.

        Returns:
            The number of the file system and a path on it, to be compared as absolute paths are; the path itself if it can't be told.
        """

    def open_root(self, directory: str) -> Root:
        """Open an existing directory by its absolute path without links."""

    def owner(self, text: str) -> Owner:
        """Return the ids of ``user:group`` on this Subscriber: by name, or by number if no account has it as a name."""


class Root(Protocol):
    """An open directory. Every ``path`` is relative to it, with ``/`` between its parts; the empty path is the directory itself."""

    @property
    def path(self) -> str:
        """Its absolute path when it was opened, for messages and the journal."""

    def find(self, path: str) -> PathStat | None:
        """Return the status of a path without following a link; None if it doesn't exist."""

    def list(self, path: str, most: int | None = None) -> Sequence[PathStat]:
        """Return the entries of a directory, in no order; entries that vanish meanwhile, or the directory itself, are skipped.

        Args:
            most: Most names that are read; None: all.
        """

    def is_writable(self, path: str) -> bool:
        """Whether its mode lets the agent's account change names in a directory."""

    def read(self, path: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a regular file's content in pieces of at most 1 MiB; DestinationError if it is anything else.

        Args:
            offset: First byte.
            length: Most bytes; None: to the end, wherever that is meanwhile.
        """

    def read_link(self, path: str) -> str:
        """Return a symlink's text."""

    def xattrs(self, path: str) -> Xattrs:
        """Return the extended attributes of a file or directory; none if its file system has none."""

    def flags(self, path: str) -> str:
        """Return the letters that lsattr shows of what chattr set on a regular file, in their order; empty if it can't be told."""

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
        """Create a file at a free path; long runs of zeros take no space if the file system has holes.

        Args:
            durable: Its content survives a power cut (its name needs ``sync_directories``).
            xattrs: All that it has afterwards; None: those that new files inherit from its directory.
        """

    def make_directory(self, path: str) -> None:
        """Create a directory at a free path, 0700 until ``set_metadata``."""

    def make_hard_link(self, path: str, existing: str) -> None:
        """Give a file another name at a free path; DestinationError if its file system can't."""

    def make_symlink(self, path: str, target: str, *, owner: Owner | None = None) -> None:
        """Create a symlink at a free path."""

    def set_metadata(self, path: str, *, mode: int, mtime_ns: int, owner: Owner | None = None, xattrs: Xattrs | None = None) -> None:
        """Set the metadata of a directory or of a file with one name; DestinationError for anything else.

        Args:
            owner: None keeps it.
            xattrs: All that it has afterwards; None keeps them.
        """

    def swap(self, path: str, other: Root, other_path: str, *, occupied: bool) -> None:
        """Exchange ``path`` here with ``other_path`` there; ``path`` is free afterwards if ``other_path`` was.

        Atomic if the file system can exchange names, else by link and rename: a file or symlink there is never missing. Both
        roots are of one file system and this one is the caller's alone.

        Args:
            occupied: Whether ``other_path`` is expected to exist: a hint that saves a call.
        """

    def settle(self, path: str, other: Root, other_path: str) -> None:
        """Finish or forget a ``swap`` during which the process died; harmless after a whole one."""

    def remove(self, path: str) -> None:
        """Remove a path, a directory with everything in it; harmless if it doesn't exist."""

    def sync_directories(self, paths: Iterable[str], *, instead: Root | None = None) -> None:
        """Make the names and metadata of directories durable; one that is gone is skipped.

        Args:
            instead: A directory on the same file system, which is synced as a whole through it if the account can't read one of them.
        """

    def sync_filesystem(self) -> None:
        """Make everything on its file system durable at once: cheaper than file by file from about 64 files on."""

    def open_below(self, path: str) -> Root:
        """Open a directory below as a root of its own, which stays that directory if its name is given to another."""

    def mounts(self) -> Sequence[str]:
        """Return the paths below at which other file systems are mounted."""

    def locked(self, paths: Iterable[str], *, replaced: bool) -> Sequence[LockedPath]:
        """Return the paths that are locked now, in their order; nothing is opened or locked for it. One that is gone is skipped.

        Args:
            replaced: Each path itself, not its contents, is to be replaced or removed: exclusive locks of processes and mount points count.
                Else its mode, its time or the names in it will change: only attributes count.
        """

    def free(self) -> int | None:
        """Return the bytes that may be written; None if the file system doesn't tell: ramfs, a tmpfs without a limit, some of FUSE."""

    def free_files(self) -> int | None:
        """Return the files (inodes) that may be made; None if the file system doesn't count them."""

    def limits(self) -> Limits:
        """Return which names, sizes, links and times its file system can hold, as far as that is known without writing there."""

    def close(self) -> None:
        """Release it."""
