"""What a run did, read from the ledger: lines while it goes on, and the table at its end.

Prefect holds runs, the ledger holds truth: so this shows the same whoever runs the flow, and whatever it dies of.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cli.ledgers import ledger_of, site_snapshot
from cli.tables import duration, size, table
from sluice.errors import LedgerError
from sluice.model.state import Event, EventKind, RecordedEvent, State

if TYPE_CHECKING:
    from sluice.model.site import Site
    from sluice.ports import Ledger
    from sluice.rules.reasons import StatusRow

POLL_SECONDS = 0.5
EVENTS = 1000
"""Events read at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one Subscriber with one Distribution."""

    row: StatusRow
    bytes: int
    """Sent in this run."""
    time: timedelta | None
    """From its first event in this run to its last; None where nothing happened."""
    error: str
    """The error's name on the wire; empty where it didn't fail."""

    def as_json(self) -> dict[str, Any]:
        """A status row with what this run did."""
        seconds = None if self.time is None else round(self.time.total_seconds(), 3)
        return {**self.row.as_json(), "bytes": self.bytes, "seconds": seconds, "error": self.error or None}


class Follower:
    """Reads a site's new events while something runs, and says each in a line."""

    def __init__(self, site: Site, distributors: Iterable[str], distributions: Iterable[str], say: Callable[[str], None]) -> None:
        self._site, self._say = site, say
        self._distributions = frozenset(distributions)
        self._marks = {name: _last_event(site, name) for name in sorted(set(distributors))}
        self._events: list[Event] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._read()

    def outcomes(self, at: datetime, *, wanted: Callable[[StatusRow], bool]) -> list[Outcome]:
        """Where everything asked for stands at the end, with what this run did. Call it after the context."""
        from sluice.rules.reasons import status_rows

        snapshot = site_snapshot(self._site)
        found = []
        for row in status_rows(self._site, snapshot, at):
            if row.distribution in self._distributions and wanted(row):
                events = [e for e in self._events if (e.subscriber, e.distribution) == (row.subscriber, row.distribution)]
                state = snapshot.states.get((row.subscriber, row.distribution))
                failed = state is not None and state.error is not None and row.state in _FAILED
                found.append(
                    Outcome(
                        row,
                        state.bytes_last if state is not None and any(e.kind in _SENDS for e in events) else 0,
                        events[-1].at - events[0].at if events else None,
                        state.error.code if failed and state is not None and state.error is not None else "",
                    )
                )
        return found

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            with suppress(LedgerError):  # read again in a moment; at the end it is an error
                self._read()

    def _read(self) -> None:
        for distributor, mark in list(self._marks.items()):
            with ledger_of(self._site, distributor) as ledger:
                while ledger is not None and (found := ledger.events(after=mark, limit=EVENTS)):
                    mark = self._marks[distributor] = found[-1].number
                    self._note(found)

    def _note(self, found: Sequence[RecordedEvent]) -> None:
        for recorded in found:
            event = recorded.event
            if event.distribution in self._distributions or not event.distribution:
                self._events.append(event)
                self._say(event_line(event))


_SENDS = frozenset({EventKind.SEND_STARTED, EventKind.SENT, EventKind.SEND_FAILED, EventKind.ALREADY_HELD})
_FAILED = frozenset({State.FAILED, State.UNAVAILABLE, State.WAITING})
"""With an error in the ledger; WAITING because it will be tried again."""


def event_line(event: Event) -> str:
    """One line of progress: time of day in UTC, who, what, which revision, and what the event adds."""
    what = f"{event.distribution} {event.revision}" if event.revision else event.distribution
    more = ", ".join(_detail(key, value) for key, value in event.data.items() if value not in (None, ""))
    parts = [f"{event.at:%H:%M:%S}", event.subscriber, event.kind.value, what]
    return " ".join(part for part in parts if part) + (f": {more}" if more else "")


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """Subscriber, revision, state, bytes, time, reason."""
    several = len({o.row.distribution for o in outcomes}) > 1
    headers = ["subscriber", *(["distribution"] if several else []), "revision", "state", "bytes", "time", "reason"]
    rows = []
    for o in outcomes:
        revision = str(o.row.extracted or o.row.held or o.row.latest or "-")
        time = "-" if o.time is None else duration(o.time)
        rows.append(
            [
                o.row.subscriber or "-",
                *([o.row.distribution] if several else []),
                revision,
                o.row.state.value,
                size(o.bytes),
                time,
                o.row.reason,
            ]
        )
    return table(headers, rows, right={"bytes", "time"})


def _detail(key: str, value: object) -> str:
    if key.endswith("bytes") or key in ("sent", "resumed"):
        return f"{key} {size(int(str(value)))}"
    return str(value) if key in ("reason", "message", "error") else f"{key} {value}"


def _last_event(site: Site, distributor: str) -> int:
    """The number of a ledger's last event, by bisection: numbers only rise."""
    with ledger_of(site, distributor) as ledger:
        if ledger is None or not _any_after(ledger, 0):
            return 0
        low, high = 0, 1
        while _any_after(ledger, high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _any_after(ledger, middle) else (low, middle)
        return high


def _any_after(ledger: Ledger, number: int) -> bool:
    return bool(ledger.events(after=number, limit=1))


__all__ = ["Follower", "Outcome", "event_line", "outcome_table"]
