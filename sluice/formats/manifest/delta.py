"""Manifest deltas (docs/formats.md section 4): one manifest made from another, without the digests of contents that only the new one has.

The reader of a delta computes those digests while it makes the contents, fills them in, and compares the finished manifest's bytes with
the signed digest: so an outline is never more than a plan. Hostile bytes cost no more than the largest manifest would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sluice.errors import StoreCorruptError
from sluice.formats.manifest.columns import ColumnReader, ColumnWriter, Known
from sluice.formats.manifest.document import HEADER_MAX, header_bytes, parse_header, version_of
from sluice.formats.manifest.lines import checked
from sluice.formats.manifest.operations import OperationReader, OperationWriter, walk
from sluice.formats.manifest.shifts import Shifts, read_shifts, write_shifts
from sluice.formats.varint import Reader, put, shared_length
from sluice.model.manifest import PLACEHOLDER, Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber

_HEADER_VERSION = 2
"""The version in which headers are compared, unless a manifest needs a higher one."""
_REVISION_MAX = 10**9


def manifest_delta(base: Manifest, new: Manifest) -> bytes:
    """Make the delta from ``base`` to ``new``, not compressed."""
    matches = _matches(base, new)
    pairs = ((old, to) for match, to in zip(matches, new.destinations, strict=True) for old in (base.destinations[match - 1 : match] or ()))
    shifts = Shifts.between(pair for old, to in pairs for pair in _same_path(old, to))
    shifted = [shifts.apply(destination.entries) for destination in base.destinations]
    writer = ColumnWriter(_known(base), _first_time(base))
    _write_header(writer.column("header"), base, new)
    write_shifts(writer.column("shifts"), shifts)
    OperationWriter(writer, shifted, [to.entries for to in new.destinations], matches).write()
    return writer.data()


def apply_manifest_delta(base: Manifest, data: bytes) -> Manifest:
    """Return the outline of the new manifest: contents that ``base`` lacks have placeholders as digests.

    Raises:
        StoreCorruptError: The delta is damaged, has another base, or breaks a rule of manifests.
    """
    reader = ColumnReader(data, _known(base), _first_time(base))
    header = _read_header(reader.column("header"), base)
    shifts = read_shifts(reader.column("shifts"))
    reading = OperationReader(reader, [shifts.apply(destination.entries) for destination in base.destinations])
    sizes: dict[str, int] = {}
    destinations = [
        replace(each, entries=checked(reading.destination(), sizes, is_directory=each.is_directory)) for each in header.destinations
    ]
    reader.end()
    return replace(header, destinations=tuple(destinations))


def outline(base: Manifest, new: Manifest) -> Manifest:
    """Return the outline of ``new`` that a holder of ``base`` knows before it has the contents."""
    held = {digest for digest, _ in base.contents()}
    unknown = [digest for digest, _ in new.contents() if digest not in held]
    return _renamed(new, {digest: f"{PLACEHOLDER}{number}" for number, digest in enumerate(unknown)})


def filled(outline: Manifest, digests: Sequence[str]) -> Manifest:
    """Return the manifest with digests in place of its placeholders.

    Args:
        digests: Digests of the unknown contents, by number.
    Raises:
        StoreCorruptError: Their number isn't the number of placeholders.
    """
    unknown = [digest for digest, _ in outline.contents() if digest.startswith(PLACEHOLDER)]
    if len(unknown) != len(digests):
        raise StoreCorruptError(
            f"the manifest of {outline.distribution} {outline.revision} has {len(unknown)} new contents, not {len(digests)}"
        )
    return _renamed(outline, dict(zip(unknown, digests, strict=True)))


def _matches(base: Manifest, new: Manifest) -> list[int]:
    """Return for each new destination the number of the base's with which it is compared, counted from 1; 0: none."""
    by_template: dict[str, list[int]] = {}
    for number, destination in enumerate(base.destinations, 1):
        by_template.setdefault(destination.template, []).append(number)
    found = [by_template[to.template].pop(0) if by_template.get(to.template) else 0 for to in new.destinations]
    unmatched = sorted(number for numbers in by_template.values() for number in numbers)
    return [number or (unmatched.pop(0) if unmatched else 0) for number in found]


def _same_path(old: Destination, new: Destination) -> Iterator[tuple[Entry, Entry]]:
    for at, entry in walk(old.entries, new.entries):
        if at >= 0 and entry is not None:
            yield old.entries[at], entry


def _write_header(out: bytearray, base: Manifest, new: Manifest) -> None:
    put(out, new.revision.baseline)
    put(out, new.revision.number)
    old, line = _header(base), _header(replace(new, revision=base.revision))
    begin = shared_length(old, line)
    end = shared_length(old[begin:][::-1], line[begin:][::-1])
    put(out, begin)
    put(out, end)
    out += line[begin : len(line) - end]


def _read_header(reader: Reader, base: Manifest) -> Manifest:
    revision = RevisionNumber(reader.number(_REVISION_MAX), reader.number(_REVISION_MAX))
    old = _header(base)
    begin, end = reader.number(len(old)), reader.number(len(old))
    if revision <= base.revision or begin + end > len(old) or reader.remaining > HEADER_MAX:
        raise StoreCorruptError(f"a manifest delta for {base.distribution} {base.revision} has an impossible header")
    header, counts = parse_header(old[:begin] + reader.take(reader.remaining) + old[len(old) - end :])
    if header.distribution != base.distribution or any(counts):
        raise StoreCorruptError(f"a manifest delta for {base.distribution} {base.revision} belongs to another Distribution")
    return replace(header, revision=revision)


def _header(manifest: Manifest) -> bytes:
    return header_bytes(manifest, [0] * len(manifest.destinations), max(version_of(manifest), _HEADER_VERSION))


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
