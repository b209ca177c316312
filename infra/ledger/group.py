"""Group commit: threads that write at the same time share one transaction, and so one wait for the disk.

A thread that finds nobody writing leads: it takes all works that wait, in the order in which they came, has them run in one
transaction and answers each; meanwhile others line up for the next. No thread of its own, so nothing to start, to end or to
lose in a forked child. A leader that is interrupted (a signal raises in the main thread) leaves its batch to the next one.

Leaves out what a transaction is: ``Database`` runs a batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from sluice.errors import LedgerError

BATCH_MAX = 50
"""Works in one transaction. PostgreSQL keeps up to 64 subtransactions of one at hand."""

_T = TypeVar("_T")


class Entry(Generic[_T]):
    """One work that waits, then its outcome: what it returned, or what it raised."""

    def __init__(self, work: Callable[[Connection], _T]) -> None:
        self.work = work
        self.value: _T | None = None
        self.error: Exception | None = None
        self.answered = False
        self.left = False
        self.wake = threading.Event()

    def run(self, connection: Connection) -> None:
        """Run the work, maybe once more; raises what it raises."""
        self.value, self.error = None, None
        self.value = self.work(connection)

    def outcome(self) -> Any:
        """What the work returned; raises what it raised."""
        if self.error is not None:
            raise self.error
        return self.value


class Batch:
    """Works that share a transaction."""

    def __init__(self, entries: list[Entry[Any]]) -> None:
        self.entries = entries
        self.mark = 0
        """The number that says in the database that it was committed; 0 before a commit was tried."""
        self.ended = False

    def fail(self, error: LedgerError) -> None:
        """The transaction as a whole failed: an error of its own for each."""
        for entry in self.entries:
            entry.error = type(error)(error.message, remedy=error.remedy)
            entry.error.__cause__ = error.__cause__


class GroupCommit:
    """Lines works up. ``run`` executes a batch in one transaction and gives every entry its outcome; it raises interrupts only."""

    def __init__(self, run: Callable[[Batch], None]) -> None:
        self._run = run
        self._mutex = threading.Lock()
        self._waiting: list[Entry[Any]] = []
        self._leader: Entry[Any] | None = None
        self._begun: Batch | None = None

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Have ``work`` run and committed, after those that came before; raises what it raises, or LedgerError."""
        entry = Entry(work)
        try:
            with self._mutex:
                self._waiting.append(entry)
                leads = self._leader is None
                if leads:
                    self._leader = entry
            if not leads:
                entry.wake.wait()
            while not entry.answered:
                self._lead()
        finally:
            try:
                self._leave(entry)
            except BaseException:  # interrupted on its way out, when all others would wait for ever
                self._leave(entry)
                raise
        found: _T = entry.outcome()
        return found

    def _lead(self) -> None:
        with self._mutex:
            if self._begun is None:
                waiting = self._waiting
                # One assignment: an interrupt comes before or after it, and nobody is lost between.
                self._begun, self._waiting = Batch(waiting[:BATCH_MAX]), waiting[BATCH_MAX:]
            batch = self._begun
        if not batch.ended:
            self._run(batch)
            batch.ended = True
        for entry in batch.entries:
            entry.answered = True
            entry.wake.set()
        self._begun = None

    def _leave(self, entry: Entry[Any]) -> None:
        """Whatever ended the call: it waits no more, and if it led, the next one does. May be repeated."""
        with self._mutex:
            entry.left = True
            if not entry.answered and entry in self._waiting:
                self._waiting.remove(entry)
            if self._leader is not entry:
                return
            begun = self._begun.entries if self._begun is not None else []
            # Of an interrupted batch first: it is older than those in line, and settled by whoever leads.
            others = [each for each in (*begun, *self._waiting) if not (each.answered or each.left)]
            if others:
                others[0].wake.set()
            else:
                self._begun = None
            self._leader = others[0] if others else None
