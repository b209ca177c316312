"""The operations of a manifest delta (docs/formats.md section 4): how the entries of each destination come from those of the base.

Both sides go through the paths in their order. A second place in the base is gone through by what was renamed, moved or copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import IntEnum
from typing import NamedTuple

from sluice.errors import StoreCorruptError
from sluice.formats.manifest.columns import ColumnReader, ColumnWriter
from sluice.formats.manifest.document import ENTRIES_MAX, MANIFEST_MAX
from sluice.formats.manifest.lines import extras_text
from sluice.formats.manifest.moves import Move, Moves
from sluice.formats.varint import put, zigzag
from sluice.model.manifest import Entry


class _Op(IntEnum):
    """What becomes of the next entries of a base's destination; with a count, in the lowest three bits of a number."""

    KEEP = 0
    """They stay. A count of 0: all that are left, and the destination ends."""
    CHANGE = 1
    """They stay where they are, with other values."""
    DELETE = 2
    INSERT = 3
    """New ones, from nothing."""
    MOVE = 4
    """What follows comes from elsewhere in the base: the count is how much of the paths there is left out; then where it begins, as the
    difference from where the last one ended, and what the paths begin with instead."""
    MOVED = 5
    """They come from there as they are."""
    MOVED_CHANGED = 6
    MOVED_SKIP = 7
    """They don't come from there."""


def walk(base: Sequence[Entry], new: Sequence[Entry]) -> Iterator[tuple[int, Entry | None]]:
    """Two destinations' entries, both in the order of paths: the number of an old entry or -1, and the new entry of that path or None."""
    at = 0
    for entry in new:
        path = entry.path
        while at < len(base) and base[at].path < path:
            yield at, None
            at += 1
        if at < len(base) and base[at].path == path:
            yield at, entry
            at += 1
        else:
            yield -1, entry
    for left in range(at, len(base)):
        yield left, None


class _Run(NamedTuple):
    """Where in a base's destination something begins or goes on."""

    place: int
    at: int


class OperationWriter:
    """Writes the operations that make each destination.

    Args:
        base: Entries of each of the base's destinations, shifted.
        matches: For each new destination the number of the one it is compared with, counted from 1; 0: none.
    """

    def __init__(
        self, writer: ColumnWriter, base: Sequence[Sequence[Entry]], new: Sequence[Sequence[Entry]], matches: Sequence[int]
    ) -> None:
        self._writer = writer
        self._out = writer.column("operations")
        self._base = base
        self._new = new
        self._matches = matches
        self._run: tuple[_Op, int] = (_Op.KEEP, 0)
        self._move: Move | None = None
        self._next = _Run(0, 0)

    def write(self) -> None:
        """All of them."""
        walks = [
            list(walk(self._base[match - 1] if match else (), entries)) for match, entries in zip(self._matches, self._new, strict=True)
        ]
        inserted = [entry for steps in walks for old, entry in steps if old < 0 and entry is not None]
        used = set(self._matches)
        deleted = [(match - 1, old) for match, steps in zip(self._matches, walks, strict=True) for old, entry in steps if entry is None]
        lost = [(place, at) for place, entries in enumerate(self._base) if place + 1 not in used for at in range(len(entries))]
        moves = Moves(self._base, inserted, deleted + lost)
        for match, steps in zip(self._matches, walks, strict=True):
            put(self._out, match)
            before = ""
            for old, entry in steps:
                if entry is None:
                    self._op(_Op.DELETE)
                    continue
                if old < 0:
                    self._insert(entry, moves, before)
                elif self._base[match - 1][old] == entry:
                    self._op(_Op.KEEP)
                else:
                    self._op(_Op.CHANGE)
                    self._writer.entry(entry, self._base[match - 1][old])
                before = entry.path
            if self._run[0] is not _Op.KEEP:
                self._flush()
            self._run = (_Op.KEEP, 0)
            put(self._out, _Op.KEEP)

    def _insert(self, entry: Entry, moves: Moves, before: str) -> None:
        found = moves.source(entry)
        if found is None:
            self._op(_Op.INSERT)
            self._writer.path(entry.path, before)
            self._writer.entry(entry, None)
            return
        move, at = found
        if move != self._move or at < self._next.at:
            self._flush()
            put(self._out, len(move.old) << 3 | _Op.MOVE)
            put(self._out, zigzag(move.place - self._next.place))
            put(self._out, zigzag(at - self._next.at))
            self._writer.path(move.new, before)
            self._move, self._next = move, _Run(move.place, at)
        if at > self._next.at:
            self._op(_Op.MOVED_SKIP, at - self._next.at)
        self._next = _Run(move.place, at + 1)
        source = self._base[move.place][at]
        if replace(source, path=entry.path) == entry:
            self._op(_Op.MOVED)
        else:
            self._op(_Op.MOVED_CHANGED)
            self._writer.entry(entry, source)

    def _op(self, op: _Op, count: int = 1) -> None:
        if op is not self._run[0]:
            self._flush()
            self._run = (op, 0)
        self._run = (op, self._run[1] + count)

    def _flush(self) -> None:
        op, count = self._run
        if count:
            put(self._out, count << 3 | op)
        self._run = (_Op.KEEP, 0)


class OperationReader:
    """Gives the entries of one destination after another, as hostile operations say.

    Args:
        base: As for the writer.
    """

    def __init__(self, reader: ColumnReader, base: Sequence[Sequence[Entry]]) -> None:
        self._reader = reader
        self._operations = reader.column("operations")
        self._base = base
        self._entries = 0
        self._bytes = 0
        self._move: tuple[int, str] | None = None
        self._next = _Run(0, 0)

    def destination(self) -> Iterator[Entry]:
        """The next destination's. Raises StoreCorruptError."""
        match = self._operations.number(len(self._base))
        base = self._base[match - 1] if match else ()
        at, before = 0, ""
        while True:
            number = self._operations.number(ENTRIES_MAX << 3 | 7)
            op, count = _Op(number & 7), number >> 3
            if op is _Op.MOVE:
                self._begin_move(count, before)
                continue
            if op in (_Op.KEEP, _Op.CHANGE, _Op.DELETE):
                end = self._end(base, at, count) if number else len(base)
                made = base[at:end] if op is _Op.KEEP else self._changed(base[at:end]) if op is _Op.CHANGE else ()
                at = end
            elif op is _Op.INSERT:
                made = self._inserted(count, before)
            else:
                made = self._moved(op, count)
            for entry in made:
                self._count(entry)
                yield entry
                before = entry.path
            if not number:
                return

    def _changed(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            yield self._reader.entry(entry.path, entry)

    def _inserted(self, count: int, before: str) -> Iterator[Entry]:
        for _ in range(count):
            before = self._reader.path(before)
            yield self._reader.entry(before, None)

    def _begin_move(self, left_out: int, before: str) -> None:
        place = self._next.place + self._operations.signed(len(self._base))
        if not 0 <= place < len(self._base):
            raise _no_base()
        at = self._next.at + self._operations.signed(ENTRIES_MAX)
        self._next = _Run(place, self._end(self._base[place], 0, at))
        self._move = left_out, self._reader.path(before)

    def _moved(self, op: _Op, count: int) -> Iterator[Entry]:
        if self._move is None:
            raise _no_base()
        place, at = self._next
        end = self._end(self._base[place], at, count)
        self._next = _Run(place, end)
        left_out, begin = self._move
        for source in self._base[place][at:end] if op is not _Op.MOVED_SKIP else ():
            path = begin + source.path[left_out:]
            yield replace(source, path=path) if op is _Op.MOVED else self._reader.entry(path, source)

    def _count(self, entry: Entry) -> None:
        self._entries += 1
        self._bytes += len(entry.path) + len(entry.target)
        if entry.xattrs:
            self._bytes += len(extras_text(entry.owner, entry.xattrs))
        if self._entries > ENTRIES_MAX or self._bytes > MANIFEST_MAX:
            raise StoreCorruptError("a manifest delta makes more than a manifest may hold")

    def _end(self, base: Sequence[Entry], at: int, count: int) -> int:
        if not 0 <= at + count <= len(base):
            raise _no_base()
        return at + count


def _no_base() -> StoreCorruptError:
    return StoreCorruptError("a manifest delta names an entry that its base hasn't")
