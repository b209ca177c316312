"""Group commit: threads that write at the same time share one transaction, and so one wait for the disk.

A thread that finds no other writing leads: it takes all waiting works, in the order in which they came, has them run in one
transaction and gives each its outcome; meanwhile others line up for the next. There is no thread of its own, so nothing to start, to end
or to lose in a forked child. A leader that is interrupted (a signal raises in the main thread) hands its batch to the next one.

Leaves out the transaction itself: ``Database`` runs a batch.
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
    """One waiting work, then its outcome: the value it returned, or the exception it raised."""

    def __init__(self, work: Callable[[Connection], _T]) -> None:
        self.work = work
        self.value: _T | None = None
        self.error: Exception | None = None
        self.done = False
        self.abandoned = False
        """Its thread no longer waits for it."""
        self.wake = threading.Event()

    def run(self, connection: Connection) -> None:
        """Run the work, perhaps not for the first time; its exceptions pass through."""
        self.value, self.error = None, None
        self.value = self.work(connection)

    def outcome(self) -> Any:
        """Return the value that the work returned, or raise its exception."""
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
        """Give each entry an error of its own: the transaction as a whole failed."""
        for entry in self.entries:
            entry.error = type(error)(error.message, remedy=error.remedy)
            entry.error.__cause__ = error.__cause__


class GroupCommit:
    """Lines up works. ``run`` executes a batch in one transaction and gives every entry its outcome; it raises interrupts only."""

    def __init__(self, run: Callable[[Batch], None]) -> None:
        self._run = run
        self._mutex = threading.Lock()
        self._waiting: list[Entry[Any]] = []
        self._leader: Entry[Any] | None = None
        self._begun: Batch | None = None

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Have ``work`` run and committed, after earlier ones. Raises its exception, or LedgerError."""
        entry = Entry(work)
        try:
            with self._mutex:
                self._waiting.append(entry)
                leads = self._leader is None
                if leads:
                    self._leader = entry
            if not leads:
                entry.wake.wait()
            while not entry.done:
                self._lead()
        finally:
            try:
                self._leave(entry)
            except BaseException:  # interrupted on its way out: all others would wait for ever
                self._leave(entry)
                raise
        found: _T = entry.outcome()
        return found

    def _lead(self) -> None:
        with self._mutex:
            if self._begun is None:
                waiting = self._waiting
                # One assignment: an interrupt comes before or after it, and no entry is lost between.
                self._begun, self._waiting = Batch(waiting[:BATCH_MAX]), waiting[BATCH_MAX:]
            batch = self._begun
        if not batch.ended:
            self._run(batch)
            batch.ended = True
        for entry in batch.entries:
            entry.done = True
            entry.wake.set()
        self._begun = None

    def _leave(self, entry: Entry[Any]) -> None:
        """End an entry's wait, however its call ended; if it led, the next one leads now. May be repeated."""
        with self._mutex:
            entry.abandoned = True
            if not entry.done and entry in self._waiting:
                self._waiting.remove(entry)
            if self._leader is not entry:
                return
            begun = self._begun.entries if self._begun is not None else []
            # Entries of an interrupted batch first: they are older than those in line, and the next leader completes them.
            others = [each for each in (*begun, *self._waiting) if not (each.done or each.abandoned)]
            if others:
                others[0].wake.set()
            else:
                self._begun = None
            self._leader = others[0] if others else None
