"""Manifest bytes (docs/formats.md section 2), and the digest that a Subscriber must read back (section 5).

One manifest has one byte string: the writer writes exactly the bytes that the reader accepts. Damage, an unknown version and an entry
out of place are StoreCorruptErrors: signatures are checked before, so to its readers a manifest is content at rest. Size, number of
entries and every field are bounded; nothing is believed about paths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from blake3 import blake3

from sluice.errors import StoreCorruptError, TrustError
from sluice.formats.canonical import Fields, canonical_bytes
from sluice.formats.manifest.lines import checked, entry_lines, parse_lines
from sluice.formats.orders import actions_from_json, actions_to_json
from sluice.model.action import ACTIONS_MAX
from sluice.model.manifest import Destination, EncodedManifest, Entry, EntryKind, Manifest
from sluice.model.recipe import DESTINATIONS_MAX
from sluice.model.removals import USUAL, RemovalLimit
from sluice.model.site import Copy, DirectoryMode, DistributionType, Synchronize
from sluice.rules.destinations import limits_removals, sets_directories
from sluice.rules.excludes import EXCLUDES_MAX, ExcludeError, pattern_parts

VERSION = 3
"""The newest; ``version_of`` says which one a manifest gets."""
MANIFEST_MAX = 512 * 1024 * 1024
"""Most bytes of a manifest."""
ENTRIES_MAX = 2_000_000
HEADER_MAX = 16 * 1024 * 1024
"""Most bytes of the header line."""


def encode(manifest: Manifest) -> EncodedManifest:
    """Encode a manifest once; a text that isn't Unicode raises UnicodeEncodeError."""
    data = manifest_bytes(manifest)
    return EncodedManifest(manifest, data, blake3(data).hexdigest())


def decode(data: bytes) -> EncodedManifest:
    """Read a manifest's bytes once, as ``parse_manifest``. Raises StoreCorruptError."""
    return EncodedManifest(parse_manifest(data), data, blake3(data).hexdigest())


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the one byte string of a manifest; a text that isn't Unicode raises UnicodeEncodeError."""
    lines = [header_bytes(manifest, [len(d.entries) for d in manifest.destinations], version_of(manifest)).decode()]
    for destination in manifest.destinations:
        lines += entry_lines(destination.entries)
    lines.append("")
    return "\n".join(lines).encode()


def parse_manifest(data: bytes, *, excluding: int = HEADER_MAX) -> Manifest:
    """Read a manifest and check every rule of section 2. Raises StoreCorruptError.

    Args:
        excluding: Most characters of all its excludes: fewer for a manifest that nobody signed, since each costs time.
    """
    if len(data) > MANIFEST_MAX:
        raise StoreCorruptError(f"a manifest of {len(data)} bytes is more than the {MANIFEST_MAX} allowed")
    header, newline, rest = data.partition(b"\n")
    if not newline:
        raise StoreCorruptError("a manifest ends within its header")
    manifest, counts, version = _parse_header(header, excluding)
    try:
        lines = rest.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise StoreCorruptError(f"the manifest of {_name(manifest)} isn't UTF-8") from error
    if lines.pop() or len(lines) != sum(counts):
        raise StoreCorruptError(f"the manifest of {_name(manifest)} has {len(lines)} whole lines, but its header says {sum(counts)}")
    destinations, at, sizes = [], 0, dict[str, int]()
    for destination, count in zip(manifest.destinations, counts, strict=True):
        entries = checked(parse_lines(lines[at : at + count]), sizes, is_directory=destination.is_directory)
        destinations.append(replace(destination, entries=entries))
        at += count
    manifest = replace(manifest, destinations=tuple(destinations))
    if version_of(manifest) != version:
        raise StoreCorruptError(f"the manifest of {_name(manifest)} says version {version}, which doesn't fit its entries")
    return manifest


def parse_header(line: bytes) -> tuple[Manifest, tuple[int, ...]]:
    """Read a manifest's first line alone, without its newline.

    Returns:
        The manifest with destinations that have no entries, and how many entries each destination has.
    Raises:
        StoreCorruptError: It isn't the header of a manifest of a version that is known.
    """
    manifest, counts, _ = _parse_header(line)
    return manifest, counts


def header_bytes(manifest: Manifest, counts: Sequence[int], version: int) -> bytes:
    """Return a manifest's first line, without its newline, for destinations of ``counts`` entries."""
    return canonical_bytes(_header(manifest, counts, version))


def has_hard_links(data: bytes) -> bool:
    """Whether a manifest's bytes have a hard link: nothing else in them is an object whose first key is ``h``."""
    return b',{"h":"' in data


def has_backslash(data: bytes) -> bool:
    """Whether a path of a manifest, given as its bytes, has a backslash. Raises StoreCorruptError."""
    escaped = [line for line in data.split(b"\n")[1:] if b"\\\\" in line] if b"\\\\" in data else []
    try:
        return any("\\" in entry.path for entry in parse_lines(line.decode() for line in escaped))
    except UnicodeDecodeError as error:
        raise StoreCorruptError("a manifest isn't UTF-8") from error


def read_back_digest(manifest: Manifest, digest_of: Callable[[int, Entry], str] | None = None) -> str:
    """Compute the receipt's ``read_back``: one digest over every file entry, in the manifest's order.

    Args:
        digest_of: Called with a destination's number (from 0) and a file entry; returns the BLAKE3 as read from disk. Without it the
            manifest's own digests are used, which gives the expected result.
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


def _parse_header(line: bytes, excluding: int = HEADER_MAX) -> tuple[Manifest, tuple[int, ...], int]:
    """Read a header as ``parse_header``, and its version."""
    try:
        with Fields.parse(line, limit=HEADER_MAX, what="a manifest's header") as fields:
            fields.constant("sluice", "manifest")
            version = fields.number("version", least=1, most=VERSION)
            manifest = Manifest(
                distribution=fields.name("distribution"),
                revision=fields.revision("revision"),
                type=fields.text("type"),
                destinations=(),
                pre_actions=actions_from_json(fields.items("pre_actions", limit=ACTIONS_MAX), templates=True),
                post_actions=actions_from_json(fields.items("post_actions", limit=ACTIONS_MAX), templates=True),
                copy=fields.text("copy"),
                rollback=fields.flag("rollback"),
                verify=fields.flag("verify"),
                max_revisions=fields.number("max_revisions", least=1) if fields.optional("max_revisions") else None,
                renamed_from=fields.name("renamed_from") if version > 2 and fields.optional("renamed_from") else "",
            )
            destinations = list[tuple[Destination, int]]()
            for item in fields.items("destinations", limit=DESTINATIONS_MAX):
                destinations.append(_destination(item, version, excluding))
                excluding -= sum(map(len, destinations[-1][0].exclude))
    except TrustError as error:
        raise StoreCorruptError(f"not a manifest: {error.message}") from error
    if manifest.renamed_from == manifest.distribution:
        raise StoreCorruptError(f"the manifest of {_name(manifest)} is renamed from its own name")
    if manifest.type not in set(DistributionType) or manifest.copy not in set(Copy):
        raise StoreCorruptError(f"the manifest of {_name(manifest)} has an unknown type or copy option")
    if sum(count for _, count in destinations) > ENTRIES_MAX:
        raise StoreCorruptError(f"the manifest of {_name(manifest)} has more than {ENTRIES_MAX} entries")
    manifest = replace(manifest, destinations=tuple(d for d, _ in destinations))
    counts = [count for _, count in destinations]
    if not _is_written_as(line, _header(manifest, counts, version)):
        raise StoreCorruptError(f"the manifest of {_name(manifest)} has a header that isn't canonical")
    return manifest, tuple(counts), version


def _header(manifest: Manifest, counts: Sequence[int], version: int) -> dict[str, Any]:
    return {
        "sluice": "manifest",
        "version": version,
        "distribution": manifest.distribution,
        "revision": str(manifest.revision),
        "type": manifest.type,
        "copy": manifest.copy,
        "rollback": manifest.rollback,
        "verify": manifest.verify,
        "max_revisions": manifest.max_revisions,
        "pre_actions": actions_to_json(manifest.pre_actions),
        "post_actions": actions_to_json(manifest.post_actions),
        "destinations": [_destination_json(d, count, version) for d, count in zip(manifest.destinations, counts, strict=True)],
    } | ({"renamed_from": manifest.renamed_from} if manifest.renamed_from else {})


def _is_written_as(line: bytes, value: dict[str, Any]) -> bool:
    try:
        return canonical_bytes(value) == line
    except UnicodeEncodeError:
        return False


def version_of(manifest: Manifest) -> int:
    """Return the lowest version that can express a manifest: older agents read 1."""
    if manifest.renamed_from or any(limits_removals(each) or sets_directories(each) for each in manifest.destinations):
        return 3
    if any(entry.link or "\\" in entry.path for destination in manifest.destinations for entry in destination.entries):
        return 3
    for destination in manifest.destinations:
        if destination.synchronize != Synchronize.NO or any(entry.owner or entry.xattrs for entry in destination.entries):
            return 2
    return 1


def _destination(value: Any, version: int, excluding: int) -> tuple[Destination, int]:
    with Fields(value, what="a manifest's destination") as fields:
        synchronize = fields.text("synchronize") if version > 1 else Synchronize.NO.value
        if synchronize not in set(Synchronize):
            raise StoreCorruptError(f"a manifest's destination says synchronize {synchronize!r:.80}")
        exclude: tuple[str, ...] = ()
        limit = USUAL
        if version > 2 and fields.optional("exclude"):
            given = fields.items("exclude", limit=EXCLUDES_MAX)
            if sum(len(each) for each in given if isinstance(each, str)) > excluding:
                raise StoreCorruptError("a manifest has more characters of excludes than are looked at unsigned")
            exclude = tuple(_exclude(each) for each in given)
        if version > 2 and fields.optional("max_removals"):
            with Fields(fields.any("max_removals"), what="a manifest's max_removals") as most:
                limit = RemovalLimit(most.number("percent", most=100), most.number("files", most=ENTRIES_MAX))
        mode = DirectoryMode.KEEP.value
        if version > 2 and fields.optional("directory_mode"):
            fields.constant("directory_mode", mode := DirectoryMode.SET.value)
        count = fields.number("entries", most=ENTRIES_MAX)
        return Destination(fields.text("template"), fields.flag("directory"), (), synchronize, exclude, limit, mode), count


def _exclude(value: Any) -> str:
    try:
        if isinstance(value, str) and "\0" not in value and pattern_parts(value):
            return value
    except ExcludeError as error:
        raise StoreCorruptError(f"a manifest's destination excludes what can't be: {error.what:.200}") from error
    raise StoreCorruptError("a manifest's destination excludes something that isn't a text")


def _destination_json(destination: Destination, count: int, version: int) -> dict[str, Any]:
    found: dict[str, Any] = {"template": destination.template, "directory": destination.is_directory, "entries": count}
    if version > 1:
        found["synchronize"] = destination.synchronize
    if version > 2 and destination.exclude:
        found["exclude"] = list(destination.exclude)
    if version > 2 and destination.max_removals != USUAL:
        found["max_removals"] = {"percent": destination.max_removals.percent, "files": destination.max_removals.files}
    if version > 2 and sets_directories(destination):
        found["directory_mode"] = destination.directory_mode
    return found


def _name(manifest: Manifest) -> str:
    return f"{manifest.distribution} {manifest.revision}"
