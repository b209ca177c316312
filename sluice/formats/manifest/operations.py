"""The operations of a manifest delta (docs/formats.md section 4), which make the entries of each destination from those of the base.

Both sides go through the paths in their order. A second position in the base follows renamed, moved and copied entries.
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
    """An operation on the next entries of a base's destination, in the lowest three bits of a number; the other bits are a count."""

    KEEP = 0
    """They stay. A count of 0: all remaining ones, and the destination ends."""
    CHANGE = 1
    """They keep their paths, with other values."""
    DELETE = 2
    INSERT = 3
    """New entries without a source."""
    MOVE = 4
    """The next operations take entries from elsewhere in the base: the count is the length of the paths' begin that is dropped; then come
    the position, as the difference from the end of the last one, and the new begin of the paths."""
    MOVED = 5
    """They come from there unchanged but for their paths."""
    MOVED_CHANGED = 6
    MOVED_SKIP = 7
    """Entries there that are skipped."""


def walk(base: Sequence[Entry], new: Sequence[Entry]) -> Iterator[tuple[int, Entry | None]]:
    """Pair the entries of two destinations by path: yield the index of an old entry or -1, and the new entry of that path or None."""
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
    for gone in range(at, len(base)):
        yield gone, None


class _Position(NamedTuple):
    """A position in one of the base's destinations."""

    destination: int
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
        self._next = _Position(0, 0)

    def write(self) -> None:
        """Write all operations."""
        walks = [
            list(walk(self._base[match - 1] if match else (), entries)) for match, entries in zip(self._matches, self._new, strict=True)
        ]
        inserted = [entry for steps in walks for old, entry in steps if old < 0 and entry is not None]
        used = set(self._matches)
        deleted = [(match - 1, old) for match, steps in zip(self._matches, walks, strict=True) for old, entry in steps if entry is None]
        lost = [
            (destination, at) for destination, entries in enumerate(self._base) if destination + 1 not in used for at in range(len(entries))
        ]
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
            put(self._out, zigzag(move.destination - self._next.destination))
            put(self._out, zigzag(at - self._next.at))
            self._writer.path(move.new, before)
            self._move, self._next = move, _Position(move.destination, at)
        if at > self._next.at:
            self._op(_Op.MOVED_SKIP, at - self._next.at)
        self._next = _Position(move.destination, at + 1)
        source = self._base[move.destination][at]
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
    """Makes the entries of one destination after another from hostile operations.

    Args:
        base: Entries of each of the base's destinations, shifted, as for the writer.
    """

    def __init__(self, reader: ColumnReader, base: Sequence[Sequence[Entry]]) -> None:
        self._reader = reader
        self._operations = reader.column("operations")
        self._base = base
        self._entries = 0
        self._bytes = 0
        self._move: tuple[int, str] | None = None
        self._next = _Position(0, 0)

    def destination(self) -> Iterator[Entry]:
        """Yield the next destination's entries. Raises StoreCorruptError."""
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
        destination = self._next.destination + self._operations.signed(len(self._base))
        if not 0 <= destination < len(self._base):
            raise _no_base()
        at = self._next.at + self._operations.signed(ENTRIES_MAX)
        self._next = _Position(destination, self._end(self._base[destination], 0, at))
        self._move = left_out, self._reader.path(before)

    def _moved(self, op: _Op, count: int) -> Iterator[Entry]:
        if self._move is None:
            raise _no_base()
        destination, at = self._next
        end = self._end(self._base[destination], at, count)
        self._next = _Position(destination, end)
        left_out, begin = self._move
        for source in self._base[destination][at:end] if op is not _Op.MOVED_SKIP else ():
            path = begin + source.path[left_out:]
            yield replace(source, path=path) if op is _Op.MOVED else self._reader.entry(path, source)

    def _count(self, entry: Entry) -> None:
        self._entries += 1
        self._bytes += len(entry.path) + len(entry.target)
        if entry.xattrs or entry.link:
            self._bytes += len(extras_text(*entry.extras))
        if self._entries > ENTRIES_MAX or self._bytes > MANIFEST_MAX:
            raise StoreCorruptError("a manifest delta makes more than a manifest may hold")

    def _end(self, base: Sequence[Entry], at: int, count: int) -> int:
        if not 0 <= at + count <= len(base):
            raise _no_base()
        return at + count


def _no_base() -> StoreCorruptError:
    return StoreCorruptError("a manifest delta names an entry that its base lacks")
