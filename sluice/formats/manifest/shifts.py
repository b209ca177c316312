"""Changes that most entries of a manifest have in common, written once: all times moved, all modes or owners changed.

The delta is then made against the shifted base, so that a tree that was copied again costs its differences, not every entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from typing import TypeVar

from sluice.errors import StoreCorruptError
from sluice.formats.manifest.columns import KINDS
from sluice.formats.manifest.lines import EXTRAS_MAX, MODE_MAX, NO_EXTRAS, SIZE_MAX, extras_text, parse_extras
from sluice.formats.varint import Reader, put, zigzag
from sluice.model.manifest import Entry, EntryKind, Extras

_T = TypeVar("_T")

LEAST = 8
"""Number of entries with the same change from which on it becomes a shift."""
EXTRAS_SHIFTS = 256
"""Most shifts of owners and attributes."""


class _Way(IntEnum):
    """The way in which the times of a kind of entry are shifted."""

    NONE = 0
    ADD = 1
    SET = 2


@dataclass(frozen=True, slots=True)
class Shifts:
    """Changes of every entry of the base before it is compared."""

    times: dict[EntryKind, tuple[_Way, int]] = field(default_factory=dict)
    modes: dict[tuple[EntryKind, int], int] = field(default_factory=dict)
    extras: dict[tuple[EntryKind, Extras], Extras] = field(default_factory=dict)

    @classmethod
    def between(cls, pairs: Iterable[tuple[Entry, Entry]]) -> Shifts:
        """Find the changes that most pairs of an old and a new entry of one path have in common."""
        differences: Counter[tuple[EntryKind, int]] = Counter()
        values: Counter[tuple[EntryKind, int]] = Counter()
        modes: Counter[tuple[EntryKind, int, int]] = Counter()
        extras: Counter[tuple[EntryKind, Extras, Extras]] = Counter()
        for old, new in pairs:
            if old.kind is new.kind:
                differences[new.kind, new.mtime_ns - old.mtime_ns] += 1
                values[new.kind, new.mtime_ns] += 1
                modes[new.kind, old.mode, new.mode] += 1
                extras[new.kind, old.extras, new.extras] += 1
        return cls(
            {kind: way for kind in KINDS if kind is not EntryKind.SYMLINK and (way := _way(kind, differences, values))},
            {(kind, old): new for (kind, old, new), count in _most(modes) if old != new and count >= LEAST},
            dict(islice((((kind, old), new) for (kind, old, new), count in _most(extras) if old != new and count >= LEAST), EXTRAS_SHIFTS)),
        )

    def apply(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the shifted entries."""
        if not self.times and not self.modes and not self.extras:
            return entries
        return [self._shifted(entry) for entry in entries]

    def _shifted(self, entry: Entry) -> Entry:
        kind = entry.kind
        way, number = self.times.get(kind, (_Way.NONE, 0))
        time = entry.mtime_ns + number if way is _Way.ADD else number if way is _Way.SET else entry.mtime_ns
        mode = self.modes.get((kind, entry.mode), entry.mode)
        extras = self.extras.get((kind, entry.extras), entry.extras) if self.extras else entry.extras
        if (time, mode, extras) == (entry.mtime_ns, entry.mode, entry.extras):
            return entry
        return Entry(kind, entry.path, mode, time, entry.size, entry.digest, entry.target, *extras)


def write_shifts(out: bytearray, shifts: Shifts) -> None:
    """Append the shifts to a column; nothing if there are none."""
    if shifts == Shifts():
        return
    for kind in KINDS[:2]:
        way, number = shifts.times.get(kind, (_Way.NONE, 0))
        out.append(way)
        if way:
            put(out, zigzag(number))
    put(out, len(shifts.modes))
    for (kind, old), new in shifts.modes.items():
        out.append(KINDS.index(kind))
        put(out, old)
        put(out, new)
    for (kind, old_extras), new_extras in shifts.extras.items():
        out.append(KINDS.index(kind))
        for extras in (old_extras, new_extras):
            text = b"" if extras == NO_EXTRAS else extras_text(*extras).encode()
            put(out, len(text))
            out += text


def read_shifts(reader: Reader) -> Shifts:
    """Read the whole column. Raises StoreCorruptError."""
    if not reader.remaining:
        return Shifts()
    times = {}
    for kind in KINDS[:2]:
        if way := _Way(reader.number(max(_Way))):
            times[kind] = way, reader.signed(2 * SIZE_MAX)
    modes = {}
    for _ in range(reader.number(len(KINDS) * (MODE_MAX + 1))):
        kind = KINDS[reader.number(len(KINDS) - 1)]
        old = reader.number(MODE_MAX)
        modes[kind, old] = reader.number(MODE_MAX)
    extras = {}
    while reader.remaining:
        kind = KINDS[reader.number(len(KINDS) - 1)]
        before = _extras(reader)
        extras[kind, before] = _extras(reader)
        if len(extras) > EXTRAS_SHIFTS:
            raise StoreCorruptError(f"a manifest delta shifts more than {EXTRAS_SHIFTS} owners and attributes")
    return Shifts(times, modes, extras)


def _extras(reader: Reader) -> Extras:
    text = reader.text(reader.number(EXTRAS_MAX))
    return parse_extras(text) if text else NO_EXTRAS


def _way(kind: EntryKind, differences: Counter[tuple[EntryKind, int]], values: Counter[tuple[EntryKind, int]]) -> tuple[_Way, int] | None:
    """Return the shift of a kind's times if it is right for more entries than no shift."""
    (difference, moved), (value, alike) = (
        max(((number, count) for (each, number), count in counter.items() if each is kind), key=lambda one: one[1], default=(0, 0))
        for counter in (differences, values)
    )
    if max(moved, alike) < LEAST or (not difference and moved >= alike):
        return None
    return (_Way.ADD, difference) if moved >= alike else (_Way.SET, value)


def _most(counter: Counter[tuple[EntryKind, _T, _T]]) -> list[tuple[tuple[EntryKind, _T, _T], int]]:
    """Return for each kind and old value the new value that most entries have, with their number."""
    found: dict[tuple[EntryKind, _T], tuple[tuple[EntryKind, _T, _T], int]] = {}
    for (kind, old, new), count in counter.items():
        if count > found.get((kind, old), ((kind, old, new), 0))[1]:
            found[kind, old] = (kind, old, new), count
    return list(found.values())
