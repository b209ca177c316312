"""Owner and extended attributes of what stands in a source, as a blueprint asks for them (B2).

They are looked at with each new list of entries. A change of theirs moves the time of a file's last change, by which the next scan
notices it.
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
_PLACE = os.O_PATH | os.O_NOFOLLOW
_NAME = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
"""What a manifest takes as a name; of others the number is distributed."""


class Attributes:
    """Of everything in one source; names are looked up once."""

    def __init__(self, source: FileSource, opener: Opener, root: int) -> None:
        self._source = source
        self._opener = opener
        self._root = root
        self._names: dict[tuple[Callable[[int], str], int], str] = {}
        given = source.xattrs
        self._given: Xattrs = () if isinstance(given, str) else tuple((name, value.encode()) for name, value in sorted(given.items()))
        self._looks = KEEP in (source.owner, source.xattrs)

    def of(self, path: str, kind: EntryKind, *, shown: str) -> tuple[str, Xattrs]:
        """``user:group`` and attributes of what stands at a path below the source's root. Raises OSError, SourceError."""
        owner = "" if self._source.owner == KEEP else self._source.owner
        xattrs = self._given if kind is EntryKind.FILE else ()
        if not self._looks:
            return owner, xattrs
        place = self._opener.open(self._root, path, _PLACE)
        try:
            if self._source.owner == KEEP:
                found = os.fstat(place)
                owner = f"{self._name(_user, found.st_uid)}:{self._name(_group, found.st_gid)}"
            if self._source.xattrs == KEEP and kind is not EntryKind.SYMLINK:
                xattrs = xattrs_of(f"/proc/self/fd/{place}")
        finally:
            os.close(place)
        for name, _ in xattrs:
            if not _is_text(name):
                raise SourceError(
                    f"{shown_path(shown)} has an extended attribute whose name is no UTF-8", remedy="rename it, or leave xattrs: out"
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
