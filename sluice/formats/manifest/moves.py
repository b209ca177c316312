"""Guess the origin of a manifest's new paths: directories and files that were renamed, moved or copied.

The delta has the differences from whichever source is named, so that a bad guess costs bytes and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sluice.model.manifest import Entry, EntryKind

CANDIDATES = 4
"""Number of the base's entries that are considered for each new one."""
_SAME_CONTENT, _SAME_NAME = 4, 1
"""Votes of an entry's likeness for a move between the two directories."""
_WORTH = 2
"""Least votes for a move, if the content of the entry itself isn't known."""


class Move(NamedTuple):
    """A part of a path that replaces another."""

    destination: int
    """The number of the base's destination."""
    old: str
    new: str

    def source(self, path: str) -> str | None:
        """Return the path in the base from which ``path`` would have come."""
        rest = path[len(self.new) :]
        if not path.startswith(self.new) or (rest and self.new and rest[0] != "/" and self.new[-1] != "/"):
            return None
        return self.old + rest


class Moves:
    """Finds the source of one new entry after another, in the manifest's order."""

    def __init__(self, base: Sequence[Sequence[Entry]], inserted: Sequence[Entry], deleted: Iterable[tuple[int, int]]) -> None:
        """
        Args:
            base: Entries of each of the base's destinations.
            deleted: Number of the destination, and index in it, of each entry whose path the new manifest lacks.
        """
        self._base = base
        self._paths: list[dict[str, int]] = []
        self._by_digest: dict[str, list[tuple[int, int]]] = {}
        self._by_name: dict[str, list[tuple[int, int]]] = {}
        self._last: Move | None = None
        self._votes: Counter[Move] = Counter()
        self._best: dict[str, tuple[Move, ...]] = {}
        self._common: list[Move] = []
        if not inserted:
            return
        self._paths = [{entry.path: at for at, entry in enumerate(entries)} for entries in base]
        wanted = {entry.digest for entry in inserted if entry.digest}
        gone = list(deleted)
        kept = ((destination, at) for destination, entries in enumerate(base) for at, entry in enumerate(entries) if entry.digest in wanted)
        for destination, at in (*(each for each in gone if base[each[0]][each[1]].digest in wanted), *kept):
            found = self._by_digest.setdefault(base[destination][at].digest, [])
            if len(found) < CANDIDATES and (destination, at) not in found:
                found.append((destination, at))
        names = defaultdict(list)
        for destination, at in gone:
            if base[destination][at].kind is not EntryKind.DIRECTORY:
                names[_name(base[destination][at].path)].append((destination, at))
        self._by_name = names
        for entry in inserted:
            for move, weight in self._candidates(entry):
                self._votes[move] += weight
        self._common = [move for move, _ in self._votes.most_common(CANDIDATES)]
        for move, count in self._votes.items():
            best = self._best.get(move.new)
            if best is None or count > self._votes[best[0]]:
                self._best[move.new] = (move,)

    def source(self, entry: Entry) -> tuple[Move, int] | None:
        """Return the move by which an entry came, and the index of its source in the move's destination; None: it is new."""
        last = self._found(self._last, entry)
        if last is not None and entry.digest and self._base[last[0].destination][last[1]].digest == entry.digest:
            return last
        choices = {move: weight == _SAME_CONTENT for move, weight in self._candidates(entry)}
        if entry.kind is EntryKind.DIRECTORY:
            choices = dict.fromkeys((*self._common, *self._best.get(entry.path, ())), False)
        for move in sorted(choices, key=lambda each: (choices[each], self._votes[each]), reverse=True):
            if last is not None and not choices[move] and self._votes[move] <= self._votes[last[0]]:
                break
            found = self._found(move, entry) if choices[move] or self._votes[move] >= _WORTH else None
            if found is not None:
                self._last = move
                return found
        return last

    def _found(self, move: Move | None, entry: Entry) -> tuple[Move, int] | None:
        path = move.source(entry.path) if move else None
        at = self._paths[move.destination].get(path) if move and path is not None else None
        if move is None or at is None or self._base[move.destination][at].kind is not entry.kind:
            return None
        return move, at

    def _candidates(self, entry: Entry) -> list[tuple[Move, int]]:
        if entry.kind is EntryKind.DIRECTORY:
            return []
        alike, weight = self._by_digest.get(entry.digest), _SAME_CONTENT
        if alike is None:
            alike, weight = self._by_name.get(_name(entry.path), [])[:CANDIDATES], _SAME_NAME
        return [(_move(destination, self._base[destination][at].path, entry.path), weight) for destination, at in alike]


def _name(path: str) -> str:
    return path[path.rfind("/") + 1 :]


def _move(destination: int, old: str, new: str) -> Move:
    """Return the move between two paths, without the parts that their ends share."""
    olds, news = old.split("/"), new.split("/")
    while olds and news and olds[-1] == news[-1]:
        olds.pop()
        news.pop()
    before, after = "/".join(olds), "/".join(news)
    if bool(before) is bool(after) or (before == old or after == new):
        return Move(destination, before, after)
    return Move(destination, before + "/" if before else "", after + "/" if after else "")
