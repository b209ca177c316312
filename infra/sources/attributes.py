"""Read owner and extended attributes of paths in a source, as a blueprint asks for them (B2).

They are read for each new list of entries. Changing them changes the file's ctime, by which the next scan notices it.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Callable
from contextlib import suppress

from infra.filesystem.local.metadata import xattrs_of
from infra.sources.beneath import Opener
from sluice.errors import SourceError
from sluice.model.manifest import EntryKind
from sluice.model.site import FileSource
from sluice.ports import Xattrs
from sluice.rules.names_on_disk import shown_path

KEEP = "keep"
ACL = "system.posix_acl_access"
_PATH = os.O_PATH | os.O_NOFOLLOW
_NAME = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
"""Names that a manifest takes; instead of others the number is distributed."""


class Attributes:
    """Reads the attributes of paths in one source; names are looked up once."""

    def __init__(self, source: FileSource, opener: Opener, root: int) -> None:
        self._source = source
        self._opener = opener
        self._root = root
        self._names: dict[tuple[Callable[[int], str], int], str] = {}
        given = source.xattrs
        self._fixed: Xattrs = () if isinstance(given, str) else tuple((name, value.encode()) for name, value in sorted(given.items()))
        self._reads_disk = KEEP in (source.owner, source.xattrs)

    def read(self, path: str, kind: EntryKind, *, shown: str) -> tuple[str, Xattrs]:
        """Return ``user:group`` and attributes of a path below the source's root. Raises OSError, SourceError."""
        owner = "" if self._source.owner == KEEP else self._source.owner
        xattrs = self._fixed if kind is EntryKind.FILE else ()
        if not self._reads_disk:
            return owner, xattrs
        fd = self._opener.open(self._root, path, _PATH)
        try:
            if self._source.owner == KEEP:
                found = os.fstat(fd)
                owner = f"{self._name(_user, found.st_uid)}:{self._name(_group, found.st_gid)}"
            if self._source.xattrs == KEEP and kind is not EntryKind.SYMLINK:
                xattrs = xattrs_of(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        for name, _ in xattrs:
            if not _is_text(name):
                raise SourceError(
                    f"{shown_path(shown)} has an extended attribute whose name isn't UTF-8", remedy="rename it, or leave xattrs: out"
                )
        return owner, xattrs

    def _name(self, look_up: Callable[[int], str], number: int) -> str:
        key = look_up, number
        if key not in self._names:
            name = ""
            with suppress(KeyError):
                name = look_up(number)
            self._names[key] = name if _NAME.fullmatch(name) else str(number)
        return self._names[key]


def _user(number: int) -> str:
    return pwd.getpwuid(number).pw_name


def _group(number: int) -> str:
    return grp.getgrgid(number).gr_name


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
