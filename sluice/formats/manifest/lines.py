"""Entries of a manifest as lines, and the rules they keep (docs/formats.md section 2).

One entry has one line: the writer writes exactly the lines that the reader accepts. A line that breaks a rule is a StoreCorruptError.
Owner, extended attributes and hard link are in a last element, which only entries with them have; ``document.py`` says in which version.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from json.encoder import encode_basestring
from typing import NoReturn

from sluice.errors import StoreCorruptError, TrustError
from sluice.formats.canonical import Fields, canonical_bytes
from sluice.model.manifest import TIME_MAX, Entry, EntryKind, Extras

PATH_MAX = 4096
"""Most bytes of a path below a destination."""
PART_MAX = 255
"""Most bytes of one part of a path."""
TARGET_MAX = 4096
"""Most bytes of a symbolic link's text."""
MODE_MAX = 0o7777
SIZE_MAX = 2**63 - 1
XATTR_NAME_MAX = 255
"""Most bytes of an extended attribute's name."""
XATTR_VALUE_MAX = 64 * 1024
"""Most bytes of one extended attribute's value."""
XATTRS_MAX = 1024 * 1024
"""Most bytes of all names and values of an entry."""
EXTRAS_MAX = 2 * XATTRS_MAX
"""Most bytes of an entry's last element."""
CACHED = 16
"""Number of last elements that are cached: neighbouring entries mostly have the same."""

NO_EXTRAS: Extras = ("", (), "")

_TEXT = r'"([^"\\\x00-\x1f]*+)"'
_ESCAPED = r'"((?:[^"\\\x00-\x1f]|\\.)*+)"'
_NUMBER = r"(0|[1-9][0-9]{0,18})"
_TIME = r"(0|-?[1-9][0-9]{0,18})"
_DIGEST = r'"([0-9a-f]{64})"'
_EXTRAS = r"(?:,(\{.*\}))?"
_FAST = {
    "f": re.compile(rf'\["f",{_TEXT},{_NUMBER},{_TIME},{_NUMBER},{_DIGEST}{_EXTRAS}\]'),
    "d": re.compile(rf'\["d",{_TEXT},{_NUMBER},{_TIME}{_EXTRAS}\]'),
    "l": re.compile(rf'\["l",{_TEXT},{_TEXT},{_NUMBER}{_EXTRAS}\]'),
}
_SLOW = {kind: re.compile(pattern.pattern.replace(_TEXT, _ESCAPED)) for kind, pattern in _FAST.items()}
_NOTHING = re.compile("(?!)")
_NO_NAMES = frozenset({"", ".", ".."})
_OWNER = re.compile(r"[A-Za-z0-9_.$-]{1,64}:[A-Za-z0-9_.$-]{1,64}")
_XATTR = re.compile(r"user\..+|security\.capability|system\.posix_acl_(access|default)", re.DOTALL)


def entry_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the line of each entry, without its newline."""
    text, file, directory = encode_basestring, EntryKind.FILE, EntryKind.DIRECTORY
    for entry in entries:
        more = f",{extras_text(*entry.extras)}" if entry.owner or entry.xattrs or entry.link else ""
        if entry.kind is file:
            yield f'["f",{text(entry.path)},{entry.mode},{entry.mtime_ns},{entry.size},"{entry.digest}"{more}]'
        elif entry.kind is directory:
            yield f'["d",{text(entry.path)},{entry.mode},{entry.mtime_ns}{more}]'
        else:
            yield f'["l",{text(entry.path)},{text(entry.target)},{entry.mode}{more}]'


def parse_lines(lines: Iterable[str]) -> Iterator[Entry]:
    """Yield the entry of each line, each well-formed by itself. Raises StoreCorruptError."""
    file_match, file_kind = _FAST["f"].fullmatch, EntryKind.FILE
    for line in lines:
        kind = line[2:3]
        match = file_match(line) if kind == "f" else _FAST.get(kind, _NOTHING).fullmatch(line)
        values = match.groups() if match else _unescaped(kind, line)
        extras = parse_extras(values[-1]) if values[-1] is not None else NO_EXTRAS
        if kind == "f":
            yield Entry(file_kind, values[0], int(values[1]), int(values[2]), int(values[3]), values[4], "", *extras)
        elif kind == "d":
            yield Entry(EntryKind.DIRECTORY, values[0], int(values[1]), int(values[2]), 0, "", "", *extras)
        else:
            yield Entry(EntryKind.SYMLINK, values[0], int(values[2]), 0, 0, "", values[1], *extras)


def checked(entries: Iterable[Entry], sizes: dict[str, int], *, is_directory: bool) -> tuple[Entry, ...]:
    """Check one destination's entries against the rules that go beyond one line's form, and return them.

    Args:
        sizes: The size of each content so far, over all destinations; it grows.
    Raises:
        StoreCorruptError: An entry out of place, a duplicate, or one over a limit.
    """
    found: list[Entry] = []
    append = found.append
    file_kind, directory_kind = EntryKind.FILE, EntryKind.DIRECTORY
    directories: set[str] = set()
    before: str | None = None
    for entry in entries:
        path = entry.path
        if before is not None:
            parent, slash, name = path.rpartition("/")
            if path <= before or parent not in directories or name in _NO_NAMES or (slash and not parent):
                _wrong(path, "is a duplicate, out of order, in no directory of the manifest or impossible by its name")
            if len(path) > PART_MAX or not path.isascii():
                _check_length(path)
        elif path or (entry.kind is directory_kind) is not is_directory or entry.kind is EntryKind.SYMLINK:
            _wrong(path, "is in the place of its destination's own")
        before = path
        if entry.kind is file_kind:
            if sizes.setdefault(entry.digest, entry.size) != entry.size or entry.size > SIZE_MAX:
                _wrong(path, "gives a content another size than an earlier one")
        elif entry.kind is directory_kind:
            directories.add(path)
        elif not entry.target or len(entry.target.encode()) > TARGET_MAX or entry.xattrs:
            _wrong(path, "has an impossible link text, or attributes that links can't have")
        if entry.link and not is_hard_link(found, entry):
            _wrong(path, "is a hard link to something that isn't the same file, or doesn't come before it")
        if entry.mode > MODE_MAX or not -TIME_MAX <= entry.mtime_ns <= TIME_MAX:
            _wrong(path, "has a mode or time out of range")
        append(entry)
    if not found:
        raise StoreCorruptError("a manifest's destination has no entry of its own")
    return tuple(found)


def is_hard_link(before: Sequence[Entry], entry: Entry) -> bool:
    """Whether ``entry.link`` names a file among those sorted before it that it can be one with: equal in all but the path."""
    at = bisect_left(before, entry.link, key=lambda each: each.path)
    return at < len(before) and entry.kind is EntryKind.FILE and before[at] == replace(entry, path=entry.link, link="")


@lru_cache(maxsize=CACHED)
def parse_extras(text: str) -> Extras:
    """Read owner, extended attributes and hard link from an entry's last element. Raises StoreCorruptError."""
    try:
        with Fields.parse(text.encode(), limit=EXTRAS_MAX, what="an entry's last element") as fields:
            owner = fields.text("o") if fields.optional("o") else ""
            values = fields.any("x") if fields.optional("x") else {}
            link = fields.text("h", limit=PATH_MAX) if fields.optional("h") else ""
    except TrustError as error:
        raise StoreCorruptError(f"not a manifest: {error.message}") from error
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise StoreCorruptError("a manifest's entry has extended attributes that aren't texts")
    try:
        xattrs = tuple((name, base64.b64decode(value, validate=True)) for name, value in sorted(values.items()))
    except (binascii.Error, ValueError) as error:
        raise StoreCorruptError("a manifest's entry has an extended attribute that isn't base64") from error
    if owner and not _OWNER.fullmatch(owner):
        raise StoreCorruptError(f"a manifest's entry: {owner!r:.200} isn't user:group")
    for name, value in xattrs:
        if not _XATTR.fullmatch(name) or "\0" in name or len(name.encode()) > XATTR_NAME_MAX or len(value) > XATTR_VALUE_MAX:
            raise StoreCorruptError(f"a manifest's entry: extended attribute {name!r:.200} isn't one that may be distributed, or too long")
    if sum(len(name.encode()) + len(value) for name, value in xattrs) > XATTRS_MAX:
        raise StoreCorruptError(f"a manifest's entry has more than {XATTRS_MAX} bytes of extended attributes")
    extras = owner, xattrs, link
    if extras == NO_EXTRAS or extras_text(*extras) != text:
        raise StoreCorruptError("a manifest's entry has a last element that isn't canonical")
    return extras


@lru_cache(maxsize=CACHED)
def extras_text(owner: str, xattrs: tuple[tuple[str, bytes], ...], link: str) -> str:
    """Return an entry's last element, which it has if it has an owner, extended attributes or a hard link."""
    found: dict[str, object] = {"o": owner} if owner else {}
    if xattrs:
        found["x"] = {name: base64.b64encode(value).decode() for name, value in xattrs}
    if link:
        found["h"] = link
    return canonical_bytes(found).decode()


def _unescaped(kind: str, line: str) -> tuple[str, ...]:
    """Return the values of a line with escaped characters in its texts, which must be escaped as in canonical JSON."""
    match = _SLOW.get(kind, _NOTHING).fullmatch(line)
    if match is None:
        _wrong(line, "isn't an entry")
    values = list(match.groups())
    for at in (0, 1) if kind == "l" else (0,):
        raw = f'"{values[at]}"'
        try:
            values[at] = json.loads(raw)
        except json.JSONDecodeError:
            _wrong(line, "isn't JSON")
        if encode_basestring(values[at]) != raw or "\0" in values[at]:
            _wrong(line, "has a text that isn't canonical, or NUL")
    return tuple(values)


def _check_length(path: str) -> None:
    raw = path.encode()
    if len(raw) > PATH_MAX or any(len(part) > PART_MAX for part in raw.split(b"/")):
        _wrong(path, "has a path or part that is too long")
    if not unicodedata.is_normalized("NFC", path):
        _wrong(path, "has a path that isn't NFC")


def _wrong(line: str, problem: str) -> NoReturn:
    raise StoreCorruptError(f"a manifest's entry {problem}: {line[:200]!r}")
