"""The File type's source: files and directories of the Distributor's own disk, read in place (B2).

A file is known by its stat (size, times, inode, device) and read only if that is new. A stat can't tell two changes within one tick of the
clock apart, so a file that changed as late as the scan itself is read once more by the next one. Only regular files, directories and
symbolic links are distributed; the source a blueprint names may itself be a link to one, links below it are kept as text.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_IMODE, S_ISDIR

from blake3 import blake3

from infra.sources.attributes import ACL, Attributes
from infra.sources.beneath import Opener
from infra.sources.hard_links import links_across, links_of, mark_hard_links
from infra.sources.listing import Listed, listings
from infra.sources.reading import read_file
from infra.sources.walk import CTIME, FIELDS, STALE, START, Memory, Stat, Walk, stat_fields, walk_directory
from sluice.errors import NameImpossibleError, SourceChangedError, SourceError, SourceMissingError
from sluice.formats.canonical import canonical_bytes
from sluice.model.manifest import Destination, Entry, EntryKind
from sluice.model.site import Distribution, FileSource
from sluice.ports import ContentSink, Progress, Scan
from sluice.rules.destinations import destination_of
from sluice.rules.excludes import ExcludeError, Excludes
from sluice.rules.names_on_disk import shown_path

RACY_NS = 2_000_000_000
"""Nanoseconds before a scan within which a second change may be invisible: the coarsest clock of a file system."""
WALKS = 5
"""Walks of sources in which files come and go until one is given up."""
TARGET_MAX = 4096
"""Most bytes of a link's text."""

_KINDS = {S_IFREG: EntryKind.FILE, S_IFDIR: EntryKind.DIRECTORY, S_IFLNK: EntryKind.SYMLINK}


class _VanishedError(Exception):
    """A path was found and is gone, or is something else."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(slots=True)
class _Reading:
    """Context and results of one scan."""

    walk: Walk
    opener: Opener
    known: dict[Stat, bytes]
    sink: ContentSink
    progress: Callable[[int], None]
    digests: dict[int, bytes] = field(default_factory=dict)
    """By the index of the file's stat in the walk."""
    files_read: int = 0

    def stat(self, at: int) -> Stat:
        """Return the stat at an index of the walk."""
        mode, size, mtime, ctime, inode, device = self.walk.stats[at : at + FIELDS]
        return mode, size, mtime, ctime, inode, device

    def known_digest(self, at: int) -> bytes | None:
        """Return the digest of a file whose content is in the store, so that it needn't be read."""
        digest = self.known.get(self.stat(at))
        return digest if digest is not None and self.sink.holds(digest.hex()) else None


class FilesSource:
    """Implements ``sluice.ports.Source`` for Distributions of type file."""

    def __init__(self, *, now_ns: Callable[[], int] = time.time_ns, opener: Opener | None = None) -> None:
        self._now_ns = now_ns
        self._opener = opener or Opener()

    def scan(
        self, distribution: Distribution, memory: bytes, *, sink: ContentSink, entries: bool, progress: Progress | None = None
    ) -> Scan:
        """See ``sluice.ports.Source``."""
        for walks in range(1, WALKS + 1):
            try:
                return self._scan(distribution, memory, sink, entries, progress)
            except _VanishedError as error:
                if walks == WALKS:
                    raise SourceChangedError(
                        f"{error.path} vanished while the source was read, as others did in each of {WALKS} walks",
                        remedy="exclude it, or build again when nothing changes the source",
                    ) from error
        raise AssertionError("the last walk returns or raises")

    def _scan(self, distribution: Distribution, memory: bytes, sink: ContentSink, entries: bool, progress: Progress | None) -> Scan:
        started = self._now_ns()
        key = _key(distribution)
        before = Memory.from_bytes(memory)
        walk = Walk()
        unmatched: list[tuple[str, str]] = []
        for source in distribution.files:
            with _opened(source) as (root, name):
                unmatched += [(str(source.source), each) for each in _walk_source(walk, self._opener, source, root, name)]
        if before is not None and not entries and before.matches(walk, key):
            return Scan(None, memory, before.files, before.directories, before.symlinks, before.size, unmatched=tuple(unmatched))
        listed = listings(walk, distribution)
        reading = _Reading(walk, self._opener, before.digests() if before else {}, sink, lambda size: None)
        files = [item.at for items in listed for item in items if S_IFMT(walk.stats[item.at]) == S_IFREG]
        unknown = [at for at in files if reading.known_digest(at) is None]
        reading.progress = _count_up(progress, sum(walk.stats[at + 1] for at in unknown))
        sink.expect(sum(walk.stats[at + 1] for at in unknown))
        destinations = tuple(_destination(s, items, reading) for s, items in zip(distribution.files, listed, strict=True))
        kinds = [entry.kind for destination in destinations for entry in destination.entries]
        after = Memory(
            key,
            walk.names_as_bytes(),
            _without_racy(walk, started - RACY_NS, self._now_ns() + RACY_NS).stats_as_bytes(),
            b"".join(reading.digests[at] for at in sorted(files)),
            files=len(files),
            directories=kinds.count(EntryKind.DIRECTORY),
            symlinks=kinds.count(EntryKind.SYMLINK),
            size=sum(entry.size for destination in destinations for entry in destination.entries),
        )
        return Scan(
            destinations,
            after.to_bytes(),
            after.files,
            after.directories,
            after.symlinks,
            after.size,
            reading.files_read,
            tuple(unmatched),
            _links_across(distribution, walk, listed),
            frozenset(before.lost_devices(walk)) if before is not None and before.key == key else frozenset(),
        )


def _links_across(distribution: Distribution, walk: Walk, listed: Sequence[Sequence[Listed]]) -> int:
    files = [[(item, walk.stats[item.at : item.at + FIELDS]) for item in items] for items in listed]
    return links_across(
        [
            [((stat[4], stat[5]), f"{source.source}/{item.disk}") for item, stat in items if S_IFMT(stat[0]) == S_IFREG]
            for source, items in zip(distribution.files, files, strict=True)
        ]
    )


def _key(distribution: Distribution) -> bytes:
    asked = [
        [str(s.source), list(s.exclude), s.mode, s.synchronize.value, s.owner, s.xattrs if isinstance(s.xattrs, str) else dict(s.xattrs)]
        for s in distribution.files
    ]
    return blake3(canonical_bytes([distribution.case_sensitive_only, asked])).digest()


@contextmanager
def _opened(source: FileSource) -> Iterator[tuple[int, str]]:
    """Open the source directory and give no name, or the directory of a source file and the file's name."""
    with _translate_errors(source.source):
        path = os.path.realpath(source.source, strict=True)
        name = "" if os.path.isdir(path) else os.path.basename(path)
        root = os.open(os.path.dirname(path) if name else path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield root, name
    finally:
        os.close(root)


@contextmanager
def _translate_errors(path: PurePosixPath) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise SourceMissingError(f"{path} doesn't exist", remedy="mount it or put it back, or correct source: in the blueprint") from error
    except OSError as error:
        raise _failure(str(path), error) from error


def _failure(shown: str, error: OSError) -> Exception:
    """Return the error for an OSError at a path that was found. Every OSError comes here or to ``_translate_errors``."""
    shown = shown_path(shown)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENXIO):
        return _VanishedError(shown)
    if error.errno == errno.ENAMETOOLONG:
        return NameImpossibleError(f"{shown}: the path is too long", remedy="shorten it, or exclude it")
    return SourceMissingError(f"{shown} can't be read: {error.strerror}", remedy="give this account the right to read it, or exclude it")


def _walk_source(walk: Walk, opener: Opener, source: FileSource, root: int, name: str) -> tuple[str, ...]:
    """Append everything in a source to a walk, and return the excludes that matched nothing."""
    try:
        excludes = Excludes(source.exclude)
    except ExcludeError as error:
        raise SourceError(f"exclude: {error.what}", remedy=error.remedy) from error
    with _translate_errors(source.source):
        found = os.stat(name or ".", dir_fd=root, follow_symlinks=False)
    walk.names.append(START)
    walk.stats += stat_fields(found)
    if S_ISDIR(found.st_mode):
        walk_directory(
            walk,
            root,
            opener,
            excludes=excludes,
            failed=lambda path, error: _failure(f"{source.source}/{path}".rstrip("/"), error),
        )
    return excludes.unmatched()


def _destination(source: FileSource, items: list[Listed], reading: _Reading) -> Destination:
    mode = None if source.mode == "keep" else int(source.mode, 8)
    with _opened(source) as (root, name):
        attributes = Attributes(source, reading.opener, root)
        entries = [_entry(item, root, name, source, mode, reading, attributes) for item in items]
        places = [reading.stat(item.at)[4:] for item in items]
        mark_hard_links(entries, places, lambda at: links_of(reading.opener, root, items[at].disk))
    return destination_of(source, tuple(entries), is_directory=not name)


def _entry(item: Listed, root: int, name: str, source: FileSource, mode: int | None, reading: _Reading, attributes: Attributes) -> Entry:
    at = item.at
    found = reading.stat(at)
    kind = _KINDS[S_IFMT(found[0])]
    disk = (name or ".") if item.disk == START else item.disk
    shown = f"{source.source}/{item.disk}" if item.path else str(source.source)
    try:
        owner, xattrs = attributes.read(disk, kind, shown=shown)
        if kind is EntryKind.DIRECTORY:
            return Entry(kind, item.path, S_IMODE(found[0]), found[2], owner=owner, xattrs=xattrs)
        if kind is EntryKind.SYMLINK:
            target = _target(reading.opener.read_link(root, disk), shown)
            return Entry(kind, item.path, S_IMODE(found[0]), 0, target=target, owner=owner)
        digest = reading.known_digest(at)
        if digest is None:
            found, digest = read_file(reading.opener, root, disk, shown=shown, sink=reading.sink)
            reading.walk.stats[at : at + FIELDS] = found
            reading.files_read += 1
            reading.progress(found[1])
    except OSError as error:
        raise _failure(shown, error) from error
    reading.digests[at] = digest
    bits = S_IMODE(found[0]) if mode is None else mode
    if mode is not None:  # an ACL contains a part of the mode
        xattrs = tuple(each for each in xattrs if each[0] != ACL)
    return Entry(kind, item.path, bits, found[2], found[1], digest.hex(), owner=owner, xattrs=xattrs)


def _target(text: str, shown: str) -> str:
    try:
        long = len(text.encode("utf-8")) > TARGET_MAX
    except UnicodeEncodeError:
        raise NameImpossibleError(f"{shown_path(shown)}: the link's text isn't UTF-8", remedy="link it anew, or exclude it") from None
    if long or not text:
        raise NameImpossibleError(
            f"{shown_path(shown)}: the link's text is empty or longer than {TARGET_MAX} bytes", remedy="link it anew, or exclude it"
        )
    return text


def _without_racy(walk: Walk, since: int, until: int) -> Walk:
    """Return the walk to remember, without stats of files that may have changed again unseen. Directories are walked anyway."""
    stats = walk.stats.copy()
    for at in range(0, len(stats), FIELDS):
        if (stats[at + CTIME] >= since or since <= stats[at + 2] <= until) and S_IFMT(stats[at]) != S_IFDIR:
            stats[at + CTIME] = STALE
    return Walk(walk.names, stats)


def _count_up(progress: Progress | None, total: int) -> Callable[[int], None]:
    if progress is None:
        return lambda size: None
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done = min(total, done + size)
        progress(done, total)

    return count
