"""Manifest bytes (docs/formats.md section 2), and what a Subscriber must read back (section 5).

One manifest has one byte string: what this reader accepts, this writer writes back unchanged. Whatever doesn't fit, be it
damage, an unknown version or an entry out of place, is a StoreCorruptError: signatures are checked before, so to its readers a manifest
is content at rest. Size, number of entries and every field are bounded; nothing is believed about paths.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from json.encoder import encode_basestring
from typing import Any, NoReturn

from blake3 import blake3

from sluice.errors import NotFoundError, StoreCorruptError, TrustError
from sluice.formats.canonical import Fields, canonical_bytes, parse_canonical
from sluice.formats.orders import DESTINATIONS_MAX, actions_from_json, actions_to_json
from sluice.model.action import ACTIONS_MAX
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.names import name_is_valid
from sluice.model.revision import RevisionNumber
from sluice.model.site import Copy, DistributionType

VERSION = 1
MANIFEST_MAX = 512 * 1024 * 1024
"""Most bytes of a manifest."""
ENTRIES_MAX = 2_000_000
HEADER_MAX = 16 * 1024 * 1024
"""Most bytes of the header line."""
PATH_MAX = 4096
"""Most bytes of a path below a destination."""
PART_MAX = 255
"""Most bytes of one part of a path."""
TARGET_MAX = 4096
"""Most bytes of a symbolic link's text."""
MODE_MAX = 0o7777
SIZE_MAX = 2**63 - 1

_TEXT = r'"([^"\\\x00-\x1f]*+)"'
_ESCAPED = r'"((?:[^"\\\x00-\x1f]|\\.)*+)"'
_NUMBER = r"(0|[1-9][0-9]{0,18})"
_TIME = r"(0|-?[1-9][0-9]{0,18})"
_DIGEST = r'"([0-9a-f]{64})"'
_FILE = rf'\["f",{_TEXT},{_NUMBER},{_TIME},{_NUMBER},{_DIGEST}\]'
_DIRECTORY = rf'\["d",{_TEXT},{_NUMBER},{_TIME}\]'
_LINK = rf'\["l",{_TEXT},{_TEXT},{_NUMBER}\]'
_FAST = {"f": re.compile(_FILE), "d": re.compile(_DIRECTORY), "l": re.compile(_LINK)}
_SLOW = {kind: re.compile(pattern.pattern.replace(_TEXT, _ESCAPED)) for kind, pattern in _FAST.items()}
_NOTHING = re.compile("(?!)")
_NO_NAMES = frozenset({"", ".", ".."})


def manifest_bytes(manifest: Manifest) -> bytes:
    """The one byte string of a manifest; a text that isn't Unicode raises UnicodeEncodeError."""
    lines = [canonical_bytes(_header(manifest, [len(d.entries) for d in manifest.destinations])).decode()]
    text = encode_basestring
    for destination in manifest.destinations:
        for entry in destination.entries:
            if entry.kind is EntryKind.FILE:
                lines.append(f'["f",{text(entry.path)},{entry.mode},{entry.mtime_ns},{entry.size},"{entry.digest}"]')
            elif entry.kind is EntryKind.DIRECTORY:
                lines.append(f'["d",{text(entry.path)},{entry.mode},{entry.mtime_ns}]')
            else:
                lines.append(f'["l",{text(entry.path)},{text(entry.target)},{entry.mode}]')
    lines.append("")
    return "\n".join(lines).encode()


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest and check every rule of section 2. Raises StoreCorruptError."""
    if len(data) > MANIFEST_MAX:
        raise StoreCorruptError(f"a manifest of {len(data)} bytes is more than the {MANIFEST_MAX} allowed")
    header, newline, rest = data.partition(b"\n")
    if not newline:
        raise StoreCorruptError("a manifest ends within its header")
    manifest, counts = parse_header(header)
    try:
        lines = rest.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise StoreCorruptError(f"the manifest of {_name(manifest)} is no UTF-8") from error
    if lines.pop() or len(lines) != sum(counts):
        raise StoreCorruptError(f"the manifest of {_name(manifest)} has {len(lines)} whole lines where its header says {sum(counts)}")
    destinations, at, sizes = [], 0, dict[str, int]()
    for destination, count in zip(manifest.destinations, counts, strict=True):
        entries = _entries(lines[at : at + count], sizes, destination.is_directory)
        destinations.append(replace(destination, entries=entries))
        at += count
    return replace(manifest, destinations=tuple(destinations))


def parse_header(line: bytes) -> tuple[Manifest, tuple[int, ...]]:
    """Read a manifest's first line alone, without its newline.

    Returns:
        The manifest with destinations that have no entries, and how many entries each destination has.
    Raises:
        StoreCorruptError: It isn't the header of a manifest of this version.
    """
    try:
        value = parse_canonical(line, limit=HEADER_MAX, what="a manifest's header")
        fields = Fields(value, what="a manifest's header")
        fields.constant("sluice", "manifest")
        fields.constant("version", VERSION)
        manifest = Manifest(
            distribution=fields.text("distribution"),
            revision=RevisionNumber.parse(fields.text("revision")),
            type=fields.text("type"),
            destinations=(),
            pre_actions=actions_from_json(fields.items("pre_actions", limit=ACTIONS_MAX)),
            post_actions=actions_from_json(fields.items("post_actions", limit=ACTIONS_MAX)),
            copy=fields.text("copy"),
            rollback=fields.flag("rollback"),
            verify=fields.flag("verify"),
            max_revisions=_max_revisions(fields),
        )
        destinations = [_destination(item) for item in fields.items("destinations", limit=DESTINATIONS_MAX)]
        fields.done()
    except (TrustError, NotFoundError) as error:
        raise StoreCorruptError(f"no manifest: {error.message}") from error
    if not name_is_valid(manifest.distribution):
        raise StoreCorruptError(f"a manifest's header: {manifest.distribution!r:.80} is no name")
    if manifest.type not in set(DistributionType) or manifest.copy not in set(Copy):
        raise StoreCorruptError(f"the manifest of {_name(manifest)} has an unknown type or copy option")
    if sum(count for _, count in destinations) > ENTRIES_MAX:
        raise StoreCorruptError(f"the manifest of {_name(manifest)} has more than {ENTRIES_MAX} entries")
    manifest = replace(manifest, destinations=tuple(d for d, _ in destinations))
    counts = [count for _, count in destinations]
    if not _is_written_as(line, _header(manifest, counts)):
        raise StoreCorruptError(f"the manifest of {_name(manifest)} has a header that isn't canonical")
    return manifest, tuple(counts)


def read_back_digest(manifest: Manifest, digest_of: Callable[[int, Entry], str] | None = None) -> str:
    """The receipt's ``read_back``: one digest over every file entry, in the manifest's order.

    Args:
        digest_of: Called with a destination's number (from 0) and a file entry; the BLAKE3 as read from disk. Without it, the
            digests of the manifest itself: what a Subscriber must come to.
    """
    total = blake3()
    for number, destination in enumerate(manifest.destinations):
        lines = [
            f"{number} {entry.path} {entry.digest if digest_of is None else digest_of(number, entry)}\n"
            for entry in destination.entries
            if entry.kind is EntryKind.FILE
        ]
        total.update("".join(lines).encode())
    return total.hexdigest()


def _header(manifest: Manifest, counts: Sequence[int]) -> dict[str, Any]:
    return {
        "sluice": "manifest",
        "version": VERSION,
        "distribution": manifest.distribution,
        "revision": str(manifest.revision),
        "type": manifest.type,
        "copy": manifest.copy,
        "rollback": manifest.rollback,
        "verify": manifest.verify,
        "max_revisions": manifest.max_revisions,
        "pre_actions": actions_to_json(manifest.pre_actions),
        "post_actions": actions_to_json(manifest.post_actions),
        "destinations": [
            {"template": d.template, "directory": d.is_directory, "entries": count}
            for d, count in zip(manifest.destinations, counts, strict=True)
        ],
    }


def _is_written_as(line: bytes, value: dict[str, Any]) -> bool:
    try:
        return canonical_bytes(value) == line
    except UnicodeEncodeError:
        return False


def _destination(value: Any) -> tuple[Destination, int]:
    fields = Fields(value, what="a manifest's destination")
    found = Destination(fields.text("template"), fields.flag("directory"), ()), fields.number("entries", most=ENTRIES_MAX)
    fields.done()
    return found


def _max_revisions(fields: Fields) -> int | None:
    return fields.number("max_revisions", least=1) if fields.optional("max_revisions") else None


def _name(manifest: Manifest) -> str:
    return f"{manifest.distribution} {manifest.revision}"


def _entries(lines: list[str], sizes: dict[str, int], is_directory: bool) -> tuple[Entry, ...]:
    """One destination's entries. ``sizes`` is the size of each content seen so far, over all destinations."""
    found: list[Entry] = []
    append = found.append
    if not lines or lines[0][:6] != ('["d",""' if is_directory else '["f",""')[:6] or (len(lines) != 1 and not is_directory):
        raise StoreCorruptError("a manifest's destination doesn't begin with its own entry, or is a file with more than one")
    directories: set[str] = set()
    file_match, file_kind = _FAST["f"].fullmatch, EntryKind.FILE
    before = None
    for line in lines:
        kind = line[2:3]
        match = file_match(line) if kind == "f" else _FAST.get(kind, _NOTHING).fullmatch(line)
        values = match.groups() if match else _unescaped(kind, line)
        path = values[0]
        if before is not None:
            parent, slash, name = path.rpartition("/")
            if path <= before or parent not in directories or name in _NO_NAMES or (slash and not parent):
                _wrong(line, "is a duplicate, out of order, in no directory of the manifest or impossible by its name")
            if len(path) > PART_MAX or not path.isascii():
                _check_length(path, line)
        elif path:
            _wrong(line, "stands before the destination itself")
        before = path
        if kind == "f":
            size, digest = int(values[3]), values[4]
            entry = Entry(file_kind, path, int(values[1]), int(values[2]), size, digest)
            if sizes.setdefault(digest, size) != size or size > SIZE_MAX:
                _wrong(line, "gives a content another size than before")
        elif kind == "d":
            entry = Entry(EntryKind.DIRECTORY, path, int(values[1]), int(values[2]))
            directories.add(path)
        else:
            entry = Entry(EntryKind.SYMLINK, path, int(values[2]), 0, target=values[1])
            if not values[1] or len(values[1].encode()) > TARGET_MAX:
                _wrong(line, "has an impossible link text")
        if entry.mode > MODE_MAX or not -SIZE_MAX <= entry.mtime_ns <= SIZE_MAX:
            _wrong(line, "has a mode or time out of range")
        append(entry)
    return tuple(found)


def _unescaped(kind: str, line: str) -> tuple[str, ...]:
    """The values of a line with escaped characters in its texts, which must be escaped as canonical JSON does it."""
    match = _SLOW.get(kind, _NOTHING).fullmatch(line)
    if match is None:
        _wrong(line, "is no entry")
    values = list(match.groups())
    for at in (0, 1) if kind == "l" else (0,):
        raw = f'"{values[at]}"'
        try:
            values[at] = json.loads(raw)
        except json.JSONDecodeError:
            _wrong(line, "is no JSON")
        if encode_basestring(values[at]) != raw or "\0" in values[at]:
            _wrong(line, "has a text that isn't canonical, or NUL")
    if "\\" in values[0]:
        _wrong(line, "has a backslash in its path")
    return tuple(values)


def _check_length(path: str, line: str) -> None:
    raw = path.encode()
    if len(raw) > PATH_MAX or any(len(part) > PART_MAX for part in raw.split(b"/")):
        _wrong(line, "has a path or part that is too long")
    if not unicodedata.is_normalized("NFC", path):
        _wrong(line, "has a path that isn't NFC")


def _wrong(line: str, what: str) -> NoReturn:
    raise StoreCorruptError(f"a manifest's entry {what}: {line[:200]!r}")
