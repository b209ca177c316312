"""One open directory of this machine: the Root port."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from infra.filesystem.local.calls import sync_filesystem
from infra.filesystem.local.directories import Directories
from infra.filesystem.local.limits import limits_of
from infra.filesystem.local.locks import locked_paths
from infra.filesystem.local.metadata import flags_of, owner_refused, set_all, xattrs_of
from infra.filesystem.local.mounts import mounts_below
from infra.filesystem.local.seam import translate_errors
from infra.filesystem.local.sparse import SparseWriter
from infra.filesystem.local.swap import settle, swap
from sluice.errors import DestinationError
from sluice.model.limits import Limits
from sluice.model.manifest import EntryKind
from sluice.ports import LockedPath, Owner, PathStat, Root, Xattrs

PIECE = 1024 * 1024
"""Most bytes read at once."""
_READ = os.O_RDONLY | os.O_NONBLOCK  # NONBLOCK: opening a pipe must not block
_PATH = os.O_PATH  # needs no right to read, and opens no device
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_KINDS = {stat.S_IFREG: EntryKind.FILE, stat.S_IFDIR: EntryKind.DIRECTORY, stat.S_IFLNK: EntryKind.SYMLINK}


class LocalRoot:
    """The Root port over a directory descriptor, which it owns. Not for several threads at once."""

    def __init__(self, fd: int, path: str, *, use_openat2: bool, use_exchange: bool = True) -> None:
        self.names = Directories(fd, use_openat2=use_openat2)
        self._path = path
        self._use_exchange = use_exchange

    @property
    def path(self) -> str:
        """See the port."""
        return self._path

    def find(self, path: str) -> PathStat | None:
        """See the port."""
        with self._errors(path):
            try:
                directory, name = self.names.at(path)
                return _path_stat(path, os.stat(name, dir_fd=directory, follow_symlinks=False))
            except FileNotFoundError:
                return None

    def list(self, path: str, most: int | None = None) -> Sequence[PathStat]:
        """See the port."""
        prefix, found = f"{path}/" if path else "", list[PathStat]()
        opened = self.names.opened(path, _READ | os.O_DIRECTORY)
        with self._errors(path), suppress(FileNotFoundError), opened as fd, os.scandir(fd) as names:
            for item in islice(names, most):
                with suppress(FileNotFoundError):
                    found.append(_path_stat(prefix + item.name, os.stat(item.name, dir_fd=fd, follow_symlinks=False)))
        return found

    def is_writable(self, path: str) -> bool:
        """See the port."""
        with self._errors(path):
            return os.access(".", os.W_OK | os.X_OK, dir_fd=self.names.directory(path), effective_ids=True)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See the port."""
        with self._errors(path), self.names.opened(path, _READ) as fd:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise DestinationError(f"{self._name(path)} isn't a regular file", remedy="remove it, or choose another destination")
            if offset:
                os.lseek(fd, offset, os.SEEK_SET)
            expected, done = found.st_size - offset, 0
            while length is None or done < length:
                wanted = min(PIECE, max(expected - done, 0) + 1)
                if length is not None:
                    wanted = min(wanted, length - done)
                piece = os.read(fd, wanted)
                if piece:
                    done += len(piece)
                    yield piece
                if len(piece) < wanted:
                    return

    def read_link(self, path: str) -> str:
        """See the port."""
        with self._errors(path):
            directory, name = self.names.at(path)
            return os.readlink(name, dir_fd=directory)

    def xattrs(self, path: str) -> Xattrs:
        """See the port."""
        with self._errors(path), self.names.opened(path, _PATH) as fd:
            return xattrs_of(f"/proc/self/fd/{fd}")

    def flags(self, path: str) -> str:
        """See the port."""
        with suppress(OSError, DestinationError), self.names.opened(path, _READ) as fd:
            return flags_of(fd)
        return ""

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
        """See the port."""
        with self._errors(path), self.names.opened(path, _CREATE, 0o600) as fd:
            content = SparseWriter(fd)
            for piece in pieces:
                content.write(piece)
            content.finish()
            times = (mtime_ns, mtime_ns)
            set_all(fd, mode=mode, times_ns=times, owner=owner, xattrs=xattrs, where=self._name(path))
            if durable:
                os.fsync(fd)

    def make_directory(self, path: str) -> None:
        """See the port."""
        with self._errors(path):
            directory, name = self.names.at(path)
            os.mkdir(name, 0o700, dir_fd=directory)

    def make_hard_link(self, path: str, existing: str) -> None:
        """See the port."""
        with self._errors(path):
            (directory, name), (source, first) = self.names.at(path), self.names.at(existing)
            os.link(first, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)

    def make_symlink(self, path: str, target: str, *, owner: Owner | None = None) -> None:
        """See the port."""
        with self._errors(path):
            directory, name = self.names.at(path)
            os.symlink(target, name, dir_fd=directory)
            if owner is not None:
                try:
                    os.chown(name, *owner, dir_fd=directory, follow_symlinks=False)
                except PermissionError as error:
                    raise owner_refused(owner, self._name(path)) from error

    def set_metadata(self, path: str, *, mode: int, mtime_ns: int, owner: Owner | None = None, xattrs: Xattrs | None = None) -> None:
        """See the port."""
        with self._errors(path), self.names.opened(path, _PATH) as fd:
            found, where = os.fstat(fd), self._name(path)
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                raise DestinationError(f"{where} is neither a file nor a directory", remedy="remove it, or choose another destination")
            if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
                raise DestinationError(f"{where} has other hard links", remedy="remove them, then repeat")
            times = (found.st_atime_ns, mtime_ns)
            set_all(f"/proc/self/fd/{fd}", mode=mode, times_ns=times, owner=owner, xattrs=xattrs, where=where)

    def swap(self, path: str, other: Root, other_path: str, *, occupied: bool) -> None:
        """See the port."""
        target, where = self._forget_both(path, other, other_path)
        with translate_errors(where):
            names = self.names.at(path), target.names.at(other_path)
            self._use_exchange = swap(*names, where, occupied=occupied, use_exchange=self._use_exchange)

    def settle(self, path: str, other: Root, other_path: str) -> None:
        """See the port."""
        target, where = self._forget_both(path, other, other_path)
        with translate_errors(where):
            settle(self.names.at(path), target.names.at(other_path), where)

    def remove(self, path: str) -> None:
        """See the port."""
        found = self.find(path)
        if found is None:
            return
        with self._errors(path):
            if found.kind is not EntryKind.DIRECTORY:
                directory, name = self.names.at(path)
                os.unlink(name, dir_fd=directory)
                return
            directories = [path]
            for each in directories:  # grows while it is walked
                directories += self._empty(each)
            for each in reversed(directories):
                self.names.forget(each)
                directory, name = self.names.at(each)
                os.rmdir(name, dir_fd=directory)

    def _empty(self, path: str) -> Sequence[str]:
        """Remove everything in a directory but its directories, whose paths are returned."""
        fd, account = self.names.directory(path), os.geteuid()
        if account != 0 and os.fstat(fd).st_uid == account:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)
        with self.names.opened(path, _READ | os.O_DIRECTORY) as fd:
            deeper = []
            with os.scandir(fd) as names:
                for item in names:
                    if item.is_dir(follow_symlinks=False):
                        deeper.append(f"{path}/{item.name}")
                    else:
                        os.unlink(item.name, dir_fd=fd)
            return deeper

    def sync_directories(self, paths: Iterable[str], *, instead: Root | None = None) -> None:
        """See the port."""
        for path in paths:
            with self._errors(path):
                try:
                    with self.names.opened(path, _READ | os.O_DIRECTORY) as fd:
                        os.fsync(fd)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except PermissionError:  # its mode keeps its owner, or another account, from reading it
                    (instead or self).sync_filesystem()

    def sync_filesystem(self) -> None:
        """See the port."""
        with self._errors(""), self.names.opened("", _READ | os.O_DIRECTORY) as fd:
            sync_filesystem(fd)

    def open_below(self, path: str) -> LocalRoot:
        """See the port."""
        with self._errors(path):
            fd = os.dup(self.names.directory(path))
        return LocalRoot(fd, self._name(path), use_openat2=self.names.use_openat2, use_exchange=self._use_exchange)

    def mounts(self) -> Sequence[str]:
        """See the port."""
        with self._errors(""):
            return mounts_below(self._path)

    def locked(self, paths: Iterable[str], *, replaced: bool) -> Sequence[LockedPath]:
        """See the port."""
        with self._errors(""):
            return list(locked_paths(self.names, paths, replaced=replaced))

    def free(self) -> int | None:
        """See the port."""
        with self._errors(""):
            status = os.fstatvfs(self.names.fd)
        return status.f_bavail * status.f_frsize if status.f_blocks else None

    def free_files(self) -> int | None:
        """See the port."""
        with self._errors(""):
            status = os.fstatvfs(self.names.fd)
        return status.f_favail if status.f_files else None

    def limits(self) -> Limits:
        """See the port."""
        with self._errors(""):
            return limits_of(self.names.fd)

    def close(self) -> None:
        """See the port."""
        self.names.close()

    def _name(self, path: str) -> str:
        return f"{self._path.rstrip('/')}/{path}" if path else self._path

    def _errors(self, path: str) -> translate_errors:
        return translate_errors(self._name(path))

    def _forget_both(self, path: str, other: Root, other_path: str) -> tuple[LocalRoot, str]:
        """Close directories at two names that are to be swapped; returns the other root, and the second name for errors."""
        if not isinstance(other, LocalRoot):
            raise DestinationError(f"{other.path} is on another kind of file system")
        self.names.forget(path)
        other.names.forget(other_path)
        return other, f"{other.path.rstrip('/')}/{other_path}"


def _path_stat(path: str, status: os.stat_result) -> PathStat:
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    mode = 0 if kind is EntryKind.SYMLINK else stat.S_IMODE(status.st_mode)
    account, size = os.geteuid(), status.st_size
    is_ours = status.st_uid == account
    return PathStat(
        path,
        kind,
        mode,
        status.st_mtime_ns,
        size,
        status.st_dev,
        status.st_ino,
        status.st_nlink,
        is_ours,
        is_ours or account == 0,
        status.st_ctime_ns,
        (status.st_uid, status.st_gid),
    )
