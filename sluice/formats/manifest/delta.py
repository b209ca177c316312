"""Manifest deltas (docs/formats.md section 4): one manifest from another, without the digests of contents that only the new one has.

The reader of a delta computes those digests while it makes the contents, fills them in, and compares the finished manifest's bytes with
what was signed: so an outline is never more than a plan. Hostile bytes cost no more than the largest manifest would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sluice.errors import StoreCorruptError
from sluice.formats.manifest.columns import ColumnReader, ColumnWriter, Known
from sluice.formats.manifest.document import HEADER_MAX, header_bytes, parse_header
from sluice.formats.manifest.lines import checked
from sluice.formats.manifest.operations import OperationReader, OperationWriter, walk
from sluice.formats.manifest.shifts import Shifts, read_shifts, write_shifts
from sluice.formats.varint import Reader, put
from sluice.model.manifest import PLACEHOLDER, Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber

_HEADER_VERSION = 2
"""Which of its forms a header is compared in: the one that can say everything."""
_REVISION_MAX = 10**9


def manifest_delta(base: Manifest, new: Manifest) -> bytes:
    """What leads from ``base`` to ``new``, not compressed."""
    matches = _matches(base, new)
    pairs = ((old, to) for match, to in zip(matches, new.destinations, strict=True) for old in (base.destinations[match - 1 : match] or ()))
    shifts = Shifts.between(pair for old, to in pairs for pair in _same_path(old, to))
    shifted = [shifts.of(destination.entries) for destination in base.destinations]
    writer = ColumnWriter(_known(base), _first_time(base))
    _write_header(writer.column("header"), base, new)
    write_shifts(writer.column("shifts"), shifts)
    OperationWriter(writer, shifted, [to.entries for to in new.destinations], matches).write()
    return writer.data()


def apply_manifest_delta(base: Manifest, data: bytes) -> Manifest:
    """The outline of the new manifest: what ``base`` hasn't has a placeholder for its digest.

    Raises:
        StoreCorruptError: It is damaged, of another base, or breaks a rule of manifests.
    """
    reader = ColumnReader(data, _known(base), _first_time(base))
    header = _read_header(reader.column("header"), base)
    shifts = read_shifts(reader.column("shifts"))
    reading = OperationReader(reader, [shifts.of(destination.entries) for destination in base.destinations])
    sizes: dict[str, int] = {}
    destinations = [
        replace(each, entries=checked(reading.destination(), sizes, is_directory=each.is_directory)) for each in header.destinations
    ]
    reader.end()
    return replace(header, destinations=tuple(destinations))


def outline(base: Manifest, new: Manifest) -> Manifest:
    """What a holder of ``base`` knows of ``new`` before it has the contents."""
    held = {digest for digest, _ in base.contents()}
    unknown = [digest for digest, _ in new.contents() if digest not in held]
    return _renamed(new, {digest: f"{PLACEHOLDER}{number}" for number, digest in enumerate(unknown)})


def filled(outline: Manifest, digests: Sequence[str]) -> Manifest:
    """The manifest with digests in place of its placeholders.

    Args:
        digests: Of the contents that lacked one, by number.
    Raises:
        StoreCorruptError: There are fewer or more than it has placeholders.
    """
    unknown = [digest for digest, _ in outline.contents() if digest.startswith(PLACEHOLDER)]
    if len(unknown) != len(digests):
        raise StoreCorruptError(
            f"the manifest of {outline.distribution} {outline.revision} has {len(unknown)} new contents, not {len(digests)}"
        )
    return _renamed(outline, dict(zip(unknown, digests, strict=True)))


def _matches(base: Manifest, new: Manifest) -> list[int]:
    """For each new destination the number of the base's that it is compared with, counted from 1; 0: none."""
    by_template: dict[str, list[int]] = {}
    for number, destination in enumerate(base.destinations, 1):
        by_template.setdefault(destination.template, []).append(number)
    found = [by_template[to.template].pop(0) if by_template.get(to.template) else 0 for to in new.destinations]
    left = sorted(number for numbers in by_template.values() for number in numbers)
    return [number or (left.pop(0) if left else 0) for number in found]


def _same_path(old: Destination, new: Destination) -> Iterator[tuple[Entry, Entry]]:
    for at, entry in walk(old.entries, new.entries):
        if at >= 0 and entry is not None:
            yield old.entries[at], entry


def _write_header(out: bytearray, base: Manifest, new: Manifest) -> None:
    put(out, new.revision.baseline)
    put(out, new.revision.number)
    old, line = _header(base), _header(replace(new, revision=base.revision))
    begin, most = 0, min(len(old), len(line))
    while begin < most and old[begin] == line[begin]:
        begin += 1
    end = 0
    while end < most - begin and old[-1 - end] == line[-1 - end]:
        end += 1
    put(out, begin)
    put(out, end)
    out += line[begin : len(line) - end]


def _read_header(reader: Reader, base: Manifest) -> Manifest:
    revision = RevisionNumber(reader.number(_REVISION_MAX), reader.number(_REVISION_MAX))
    old = _header(base)
    begin, end = reader.number(len(old)), reader.number(len(old))
    if revision <= base.revision or begin + end > len(old) or reader.left > HEADER_MAX:
        raise StoreCorruptError(f"a manifest delta for {base.distribution} {base.revision} has a header that can't be")
    header, counts = parse_header(old[:begin] + reader.take(reader.left) + old[len(old) - end :])
    if header.distribution != base.distribution or any(counts):
        raise StoreCorruptError(f"a manifest delta for {base.distribution} {base.revision} is another's")
    return replace(header, revision=revision)


def _header(manifest: Manifest) -> bytes:
    return header_bytes(manifest, [0] * len(manifest.destinations), _HEADER_VERSION)


def _known(base: Manifest) -> Known:
    contents = list(base.contents())
    return Known(contents, {digest: ordinal for ordinal, (digest, _) in enumerate(contents)})


def _first_time(base: Manifest) -> int:
    return base.destinations[0].entries[0].mtime_ns if base.destinations else 0


def _renamed(manifest: Manifest, names: dict[str, str]) -> Manifest:
    destinations = []
    for destination in manifest.destinations:
        entries = tuple(
            replace(entry, digest=names[entry.digest]) if entry.kind is EntryKind.FILE and entry.digest in names else entry
            for entry in destination.entries
        )
        destinations.append(replace(destination, entries=entries))
    return replace(manifest, destinations=tuple(destinations))
