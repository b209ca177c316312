"""Find destinations: follow those links on the way to one that can be trusted."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from infra.filesystem.local.calls import kernel_opens_beneath, open_beneath
from infra.filesystem.local.directories import DIRECTORY, open_part_by_part
from infra.filesystem.local.metadata import may_give, numbers_of, owner_refused
from infra.filesystem.local.mounts import places_of
from infra.filesystem.local.root import LocalRoot
from infra.filesystem.local.seam import translate
from sluice.errors import DestinationError
from sluice.ports import Owner, ResolvedPath

LINKS_MAX = 40
"""Most links on the way to one destination: the kernel's own limit."""


class LocalFilesystem:
    """The Filesystem port on this machine.

    A link on the way to a destination is followed only if it is owned by root or by the agent's account, and is in a directory
    in which only they can change names (owned by one of them; not writable for others, or sticky). Anything else is refused: another
    account that can set the link would choose where root writes.

    Args:
        use_openat2: False opens part by part, as on kernels before 5.6. None asks the kernel.
    """

    def __init__(self, *, use_openat2: bool | None = None) -> None:
        self._use_openat2 = kernel_opens_beneath() if use_openat2 is None else use_openat2

    def locate(self, path: str, *, is_directory: bool) -> ResolvedPath:
        """See the port."""
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise DestinationError(f"the destination {path!r} isn't an absolute path without ..", remedy="name an absolute path")
        walk = _Walk()
        try:
            return walk.follow(_parts(path), path, follow_last=is_directory)
        except OSError as error:
            raise translate(error, f"{walk.path} on the way to {path}") from error
        finally:
            walk.close()

    def places(self, paths: Sequence[str]) -> Sequence[str]:
        """See the port."""
        return places_of(paths)

    def open_root(self, directory: str) -> LocalRoot:
        """See the port."""
        fd = -1
        try:
            fd = os.open("/", DIRECTORY)
            if below := "/".join(_parts(directory)):
                top, fd = fd, open_beneath(fd, below, DIRECTORY) if self._use_openat2 else open_part_by_part(fd, below)
                os.close(top)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            raise translate(error, directory) from error
        return LocalRoot(fd, directory, use_openat2=self._use_openat2)

    def owner(self, text: str) -> Owner:
        """See the port."""
        owner = numbers_of(text)
        if not may_give(owner):
            raise owner_refused(owner)
        return owner


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


class _Walk:
    """A walk from the file system's root: the open directories down to the current one."""

    def __init__(self) -> None:
        self._open = [os.open("/", DIRECTORY)]
        self._names: list[str] = []

    @property
    def path(self) -> str:
        return "/" + "/".join(self._names)

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def follow(self, pending: list[str], whole: str, *, follow_last: bool) -> ResolvedPath:
        links = 0
        while pending:
            name = pending.pop(0)
            if name == "..":  # only out of a link's text
                self._up()
                continue
            try:
                kind = stat.S_IFMT(os.stat(name, dir_fd=self._open[-1], follow_symlinks=False).st_mode)
            except FileNotFoundError:
                if ".." in pending:
                    raise DestinationError(f"the destination {whole} leads through a link to a directory that doesn't exist") from None
                return ResolvedPath(self.path, "/".join([name, *pending]))
            if kind == stat.S_IFLNK and (pending or follow_last):
                links += 1
                target = self._trusted_link(name, whole)
                if links > LINKS_MAX:
                    raise DestinationError(f"the destination {whole} leads through more than {LINKS_MAX} links")
                if target.startswith("/"):
                    while self._names:
                        self._up()
                pending = _parts(target) + pending
            elif not pending:
                return ResolvedPath(self.path, name)
            else:
                self._open.append(os.open(name, DIRECTORY, dir_fd=self._open[-1]))
                self._names.append(name)
        # The root itself, or a link that ends in "..": the current directory is the destination.
        name = self._names[-1] if self._names else ""
        self._up()
        return ResolvedPath(self.path, name)

    def _up(self) -> None:
        if self._names:
            self._names.pop()
            os.close(self._open.pop())

    def _trusted_link(self, name: str, whole: str) -> str:
        ours = (0, os.geteuid())
        directory = os.fstat(self._open[-1])
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._open[-1])
        try:
            link = os.fstat(fd)
            is_safe = directory.st_uid in ours and (not directory.st_mode & 0o022 or directory.st_mode & stat.S_ISVTX)
            if not stat.S_ISLNK(link.st_mode) or link.st_uid not in ours or not is_safe:
                raise DestinationError(
                    f"the destination {whole} leads through the link {self.path.rstrip('/')}/{name}, which others could have set",
                    remedy="name the real directory as destination, or let root own the link and its directory",
                )
            return os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)
