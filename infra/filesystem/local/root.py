"""One open directory of this machine: the Root port."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from infra.filesystem.local.calls import sync_filesystem
from infra.filesystem.local.directories import Directories
from infra.filesystem.local.locks import locked_paths
from infra.filesystem.local.metadata import owner_refused, set_all, xattrs_of
from infra.filesystem.local.mounts import mounts_below
from infra.filesystem.local.seam import translated
from infra.filesystem.local.sparse import SparseWriter
from infra.filesystem.local.swap import UNSUPPORTED, exchange, exchange_by_link, move, settle
from sluice.errors import DestinationError, SluiceError
from sluice.model.manifest import EntryKind
from sluice.ports import LockedPath, Owner, PathStat, Root, Xattrs

PIECE = 1024 * 1024
"""Most bytes read at once."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a pipe must not hold us
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # needs no right to read, and opens no device
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {stat.S_IFREG: EntryKind.FILE, stat.S_IFDIR: EntryKind.DIRECTORY, stat.S_IFLNK: EntryKind.SYMLINK}
_SWAP_TRIES = 64
"""How often something may appear or vanish at a name while we swap."""


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
        try:
            directory, name = self.names.at(path)
            return _found(path, os.stat(name, dir_fd=directory, follow_symlinks=False))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(error, path) from error

    def list(self, path: str, most: int | None = None) -> Sequence[PathStat]:
        """See the port."""
        prefix, found = f"{path}/" if path else "", list[PathStat]()
        try:
            fd = self.names.open(path, _READ | os.O_DIRECTORY)
            try:
                with os.scandir(fd) as names:
                    for item in islice(names, most):
                        with suppress(FileNotFoundError):
                            found.append(_found(prefix + item.name, os.stat(item.name, dir_fd=fd, follow_symlinks=False)))
            finally:
                os.close(fd)
            return found
        except FileNotFoundError:
            return found
        except OSError as error:
            raise self._error(error, path) from error

    def is_writable(self, path: str) -> bool:
        """See the port."""
        try:
            return os.access(".", os.W_OK | os.X_OK, dir_fd=self.names.directory(path), effective_ids=True)
        except OSError as error:
            raise self._error(error, path) from error

    def read(self, path: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See the port."""
        fd = -1
        try:
            fd = self.names.open(path, _READ)
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise DestinationError(f"{self._name(path)} is no regular file", remedy="remove it, or choose another destination")
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
        except OSError as error:
            raise self._error(error, path) from error
        finally:
            if fd >= 0:
                os.close(fd)

    def read_link(self, path: str) -> str:
        """See the port."""
        try:
            directory, name = self.names.at(path)
            return os.readlink(name, dir_fd=directory)
        except OSError as error:
            raise self._error(error, path) from error

    def xattrs(self, path: str) -> Xattrs:
        """See the port."""
        try:
            fd = self.names.open(path, _PLACE)
            try:
                return xattrs_of(f"/proc/self/fd/{fd}")
            finally:
                os.close(fd)
        except OSError as error:
            raise self._error(error, path) from error

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
        try:
            fd = self.names.open(path, _CREATE, 0o600)
            try:
                content = SparseWriter(fd)
                for piece in pieces:
                    content.write(piece)
                content.finish()
                times = (mtime_ns, mtime_ns)
                set_all(fd, mode=mode, times_ns=times, owner=owner, xattrs=xattrs, where=self._name(path))
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._error(error, path) from error

    def make_directory(self, path: str) -> None:
        """See the port."""
        try:
            directory, name = self.names.at(path)
            os.mkdir(name, 0o700, dir_fd=directory)
        except OSError as error:
            raise self._error(error, path) from error

    def make_symlink(self, path: str, target: str, *, owner: Owner | None = None) -> None:
        """See the port."""
        try:
            directory, name = self.names.at(path)
            os.symlink(target, name, dir_fd=directory)
            if owner is not None:
                try:
                    os.chown(name, *owner, dir_fd=directory, follow_symlinks=False)
                except PermissionError as error:
                    raise owner_refused(owner, self._name(path)) from error
        except OSError as error:
            raise self._error(error, path) from error

    def set_metadata(self, path: str, *, mode: int, mtime_ns: int, owner: Owner | None = None, xattrs: Xattrs | None = None) -> None:
        """See the port."""
        try:
            fd = self.names.open(path, _PLACE)
            try:
                found = os.fstat(fd)
                if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                    raise DestinationError(f"{self._name(path)} is neither a file nor a directory")
                if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
                    raise DestinationError(f"{self._name(path)} has other names", remedy="remove them, then repeat")
                set_all(
                    f"/proc/self/fd/{fd}",
                    mode=mode,
                    times_ns=(found.st_atime_ns, mtime_ns),
                    owner=owner,
                    xattrs=xattrs,
                    where=self._name(path),
                )
            finally:
                os.close(fd)
        except OSError as error:
            raise self._error(error, path) from error

    def swap(self, path: str, other: Root, other_path: str, *, occupied: bool) -> None:
        """See the port."""
        target = _local(other)
        self.names.forget(path)
        target.names.forget(other_path)
        where = f"{target.path.rstrip('/')}/{other_path}"
        try:
            here, there = self.names.at(path), target.names.at(other_path)
            for _ in range(_SWAP_TRIES):
                try:
                    if not occupied:
                        move(here, there)
                    elif self._use_exchange:
                        exchange(here, there)
                    else:
                        exchange_by_link(here, there)
                    return
                except FileExistsError:
                    if occupied:
                        raise
                    occupied = True
                except FileNotFoundError:
                    if not occupied:
                        raise
                    occupied = False
                except OSError as error:
                    if not (occupied and self._use_exchange and error.errno in UNSUPPORTED):
                        raise
                    self._use_exchange = False
        except OSError as error:
            raise translated(error, where) from error
        raise DestinationError(f"{where} appears and vanishes while it is placed")

    def settle(self, path: str, other: Root, other_path: str) -> None:
        """See the port."""
        target = _local(other)
        self.names.forget(path)
        target.names.forget(other_path)
        try:
            settle(self.names.at(path), target.names.at(other_path))
        except OSError as error:
            raise translated(error, f"{target.path.rstrip('/')}/{other_path}") from error

    def remove(self, path: str) -> None:
        """See the port."""
        found = self.find(path)
        if found is None:
            return
        try:
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
        except OSError as error:
            raise self._error(error, path) from error

    def _empty(self, path: str) -> Sequence[str]:
        """Unlink what is in a directory but its directories; their paths."""
        fd = self.names.directory(path)
        if os.geteuid() != 0:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)
        fd = self.names.open(path, _READ | os.O_DIRECTORY)
        try:
            deeper = []
            with os.scandir(fd) as names:
                for item in names:
                    if item.is_dir(follow_symlinks=False):
                        deeper.append(f"{path}/{item.name}")
                    else:
                        os.unlink(item.name, dir_fd=fd)
            return deeper
        finally:
            os.close(fd)

    def sync_directories(self, paths: Iterable[str]) -> None:
        """See the port."""
        for path in paths:
            try:
                fd = self.names.open(path, _READ | os.O_DIRECTORY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except PermissionError:  # a directory that its owner can't read
                self.sync_filesystem()
            except OSError as error:
                raise self._error(error, path) from error

    def sync_filesystem(self) -> None:
        """See the port."""
        try:
            fd = self.names.open("", _READ | os.O_DIRECTORY)
            try:
                sync_filesystem(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._error(error, "") from error

    def open_below(self, path: str) -> LocalRoot:
        """See the port."""
        try:
            fd = os.dup(self.names.directory(path))
        except OSError as error:
            raise self._error(error, path) from error
        return LocalRoot(fd, self._name(path), use_openat2=self.names.use_openat2, use_exchange=self._use_exchange)

    def mounts(self) -> Sequence[str]:
        """See the port."""
        try:
            return mounts_below(self._path)
        except OSError as error:
            raise self._error(error, "") from error

    def locked(self, paths: Iterable[str], *, replaced: bool) -> Sequence[LockedPath]:
        """See the port."""
        try:
            return list(locked_paths(self.names, paths, replaced=replaced))
        except OSError as error:
            raise self._error(error, "") from error

    def free(self) -> int:
        """See the port."""
        try:
            status = os.fstatvfs(self.names.fd)
        except OSError as error:
            raise self._error(error, "") from error
        return status.f_bavail * status.f_frsize

    def close(self) -> None:
        """See the port."""
        self.names.close()

    def _name(self, path: str) -> str:
        return f"{self._path.rstrip('/')}/{path}" if path else self._path

    def _error(self, error: OSError, path: str) -> SluiceError:
        return translated(error, self._name(path))


def _local(root: Root) -> LocalRoot:
    if not isinstance(root, LocalRoot):
        raise DestinationError(f"{root.path} is on another kind of file system")
    return root


def _found(path: str, status: os.stat_result) -> PathStat:
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
