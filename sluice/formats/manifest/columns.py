"""The columns of a manifest delta (docs/formats.md section 4): the values of entries, each kind of value in a column of its own.

Values of one kind are together, so that zstd finds their similarities. An entry is coded against a *source*, the base's entry that it
comes from, or, if it has none, against the entry coded before. Writer and reader go through the same states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sluice.errors import StoreCorruptError
from sluice.formats.manifest.lines import EXTRAS_MAX, MODE_MAX, NO_EXTRAS, PATH_MAX, SIZE_MAX, TARGET_MAX, extras_text, parse_extras
from sluice.formats.varint import Reader, put, shared_length, zigzag
from sluice.model.manifest import PLACEHOLDER, Entry, EntryKind, Extras

COLUMNS = ("header", "shifts", "operations", "shared", "lengths", "texts", "flags", "modes", "times", "sizes", "contents", "extras")
"""Columns in their order. ``shared`` and ``lengths`` belong to paths; ``texts`` has their ends, link texts and extras."""

KINDS = (EntryKind.FILE, EntryKind.DIRECTORY, EntryKind.SYMLINK)
_AS_SOURCE = 3
"""The source's kind, in bits 0 and 1 of a flags byte; otherwise an index of ``KINDS``."""
_SAME, _NEW, _AGAIN, _KNOWN = range(4)
"""Content, in bits 2 and 3: the source's; the next that the base lacks; one of those again; one of the base's. A link uses the first two
for its text."""
_TIME_SAME, _TIME_SOURCE, _TIME_BEFORE, _TIME_SECONDS = range(4)
"""Time, in bits 4 and 5: the source's; the same plus a difference; that of the entry coded before plus a difference; likewise in whole
seconds."""
_MODE, _EXTRAS = 64, 128
"""Bits of values that differ from the source's."""
_SECOND = 1_000_000_000
_TIME_MAX = 2 * SIZE_MAX
_MODES = {EntryKind.FILE: 0o644, EntryKind.DIRECTORY: 0o755, EntryKind.SYMLINK: 0o777}


class Known(NamedTuple):
    """The contents of the base."""

    contents: Sequence[tuple[str, int]]
    ordinals: dict[str, int]


class _State:
    """The values against which entries without a source are coded."""

    def __init__(self, time: int) -> None:
        self.time = time
        self.modes = dict(_MODES)
        self.extras: dict[EntryKind, Extras] = dict.fromkeys(KINDS, NO_EXTRAS)
        self.ordinal = 0
        self.sizes: list[int] = []
        """Sizes of the contents so far that the base lacks."""

    def source(self, kind: EntryKind) -> Entry:
        """Return a stand-in for the missing source of an entry."""
        return Entry(kind, "", self.modes[kind], self.time, 0, "", "", *self.extras[kind])

    def advance(self, entry: Entry) -> None:
        """Remember an entry, against which the next is coded."""
        if entry.kind is not EntryKind.SYMLINK:
            self.time = entry.mtime_ns
        self.modes[entry.kind] = entry.mode
        self.extras[entry.kind] = entry.extras


class ColumnWriter:
    """Writes entries and paths into columns."""

    def __init__(self, known: Known, time: int) -> None:
        self._known = known
        self._state = _State(time)
        self._columns = {name: bytearray() for name in COLUMNS}
        self._numbers: dict[str, int] = {}
        self._extras: dict[Extras, int] = {NO_EXTRAS: 1}

    def column(self, name: str) -> bytearray:
        """Return a column to append to."""
        return self._columns[name]

    def path(self, path: str, before: str) -> None:
        """Write a path, after the one before it."""
        shared = shared_length(path, before)
        put(self._columns["shared"], shared)
        self._text(path[shared:])

    def entry(self, entry: Entry, source: Entry | None) -> None:
        """Write everything of an entry but its path."""
        state, columns = self._state, self._columns
        kind = _AS_SOURCE if source is not None and source.kind is entry.kind else KINDS.index(entry.kind)
        old = source or state.source(entry.kind)
        flags = kind | self._time(entry, old) << 4
        if entry.kind is EntryKind.FILE:
            flags |= self._content(entry, old) << 2
        elif entry.kind is EntryKind.SYMLINK and entry.target != old.target:
            flags |= _NEW << 2
            self._text(entry.target)
        if entry.mode != old.mode:
            flags |= _MODE
            put(columns["modes"], entry.mode)
        if entry.extras != old.extras:
            flags |= _EXTRAS
            self._put_extras(entry.extras)
        columns["flags"].append(flags)
        state.advance(entry)

    def data(self) -> bytes:
        """Return all lengths, then all columns."""
        out = bytearray()
        for column in self._columns.values():
            put(out, len(column))
        return bytes(out) + b"".join(self._columns.values())

    def _text(self, text: str) -> None:
        raw = text.encode()
        put(self._columns["lengths"], len(raw))
        self._columns["texts"] += raw

    def _time(self, entry: Entry, old: Entry) -> int:
        if entry.kind is EntryKind.SYMLINK or entry.mtime_ns == old.mtime_ns:
            return _TIME_SAME
        before = self._state.time
        ways = {_TIME_SOURCE: entry.mtime_ns - old.mtime_ns, _TIME_BEFORE: entry.mtime_ns - before}
        if not entry.mtime_ns % _SECOND:
            ways[_TIME_SECONDS] = entry.mtime_ns // _SECOND - before // _SECOND
        way = min(ways, key=lambda each: (abs(ways[each]), each))
        put(self._columns["times"], zigzag(ways[way]))
        return way

    def _content(self, entry: Entry, old: Entry) -> int:
        if entry.digest == old.digest:
            return _SAME
        state = self._state
        ordinal = self._known.ordinals.get(entry.digest)
        if ordinal is not None:
            put(self._columns["contents"], zigzag(ordinal - state.ordinal))
            state.ordinal = ordinal + 1
            return _KNOWN
        number = self._numbers.setdefault(entry.digest, len(self._numbers))
        if number < len(state.sizes):
            put(self._columns["contents"], len(state.sizes) - 1 - number)
            return _AGAIN
        put(self._columns["sizes"], zigzag(entry.size - old.size))
        state.sizes.append(entry.size)
        return _NEW

    def _put_extras(self, extras: Extras) -> None:
        column = self._columns["extras"]
        number = self._extras.get(extras)
        if number is None:
            self._extras[extras] = len(self._extras) + 1
            column.append(0)
            self._text(extras_text(*extras))
        else:
            put(column, number)


class ColumnReader:
    """Reads entries from hostile columns. Raises StoreCorruptError if they end early or exceed their limits."""

    def __init__(self, data: bytes, known: Known, time: int) -> None:
        reader = Reader(data, what="a manifest delta")
        lengths = [reader.number(len(data)) for _ in COLUMNS]
        self._columns = {name: Reader(reader.take(length), what="a manifest delta") for name, length in zip(COLUMNS, lengths, strict=True)}
        reader.end()
        self._known = known
        self._state = _State(time)
        self._extras: list[Extras] = [NO_EXTRAS]

    def column(self, name: str) -> Reader:
        """Return a column to read from."""
        return self._columns[name]

    def end(self) -> None:
        """Refuse further bytes in any column."""
        for column in self._columns.values():
            column.end()

    def path(self, before: str) -> str:
        """Read a path, after the one before it."""
        shared = self._columns["shared"].number(len(before))
        return before[:shared] + self._text(PATH_MAX)

    def entry(self, path: str, source: Entry | None) -> Entry:
        """Read an entry at a path."""
        state, columns = self._state, self._columns
        flags = columns["flags"].take(1)[0]
        if flags & 3 == _AS_SOURCE:
            if source is None:
                raise StoreCorruptError("a manifest delta: an entry without a source has no kind")
            kind = source.kind
        else:
            kind = KINDS[flags & 3]
        old = source or state.source(kind)
        time = 0 if kind is EntryKind.SYMLINK else self._time(flags >> 4 & 3, old)
        mode = columns["modes"].number(MODE_MAX) if flags & _MODE else old.mode
        content, size, digest, target = flags >> 2 & 3, 0, "", ""
        if kind is EntryKind.FILE:
            size, digest = self._content(content, old)
        elif kind is EntryKind.SYMLINK:
            target = old.target if content == _SAME else self._text(TARGET_MAX)
        extras = self._read_extras() if flags & _EXTRAS else old.extras
        entry = Entry(kind, path, mode, time, size, digest, target, *extras)
        state.advance(entry)
        return entry

    def _text(self, most: int) -> str:
        text = self._columns["texts"].text(self._columns["lengths"].number(most))
        if "\0" in text:
            raise StoreCorruptError("a manifest delta has a text with NUL")
        return text

    def _time(self, way: int, old: Entry) -> int:
        if way == _TIME_SAME:
            return old.mtime_ns
        difference = self._columns["times"].signed(_TIME_MAX)
        if way == _TIME_SOURCE:
            return old.mtime_ns + difference
        if way == _TIME_BEFORE:
            return self._state.time + difference
        return (self._state.time // _SECOND + difference) * _SECOND

    def _content(self, way: int, old: Entry) -> tuple[int, str]:
        state, columns = self._state, self._columns
        if way == _SAME and old.digest:
            return old.size, old.digest
        if way == _NEW:
            size = old.size + columns["sizes"].signed(SIZE_MAX)
            if not 0 <= size <= SIZE_MAX:
                raise StoreCorruptError("a manifest delta has a content with an impossible size")
            state.sizes.append(size)
            return size, f"{PLACEHOLDER}{len(state.sizes) - 1}"
        if way == _AGAIN and state.sizes:
            number = len(state.sizes) - 1 - columns["contents"].number(len(state.sizes) - 1)
            return state.sizes[number], f"{PLACEHOLDER}{number}"
        if way == _KNOWN:
            ordinal = state.ordinal + columns["contents"].signed(len(self._known.contents))
            if 0 <= ordinal < len(self._known.contents):
                state.ordinal = ordinal + 1
                digest, size = self._known.contents[ordinal]
                return size, digest
        raise StoreCorruptError("a manifest delta names a content that doesn't exist")

    def _read_extras(self) -> Extras:
        number = self._columns["extras"].number(len(self._extras))
        if number:
            return self._extras[number - 1]
        self._extras.append(parse_extras(self._text(EXTRAS_MAX)))
        return self._extras[-1]
