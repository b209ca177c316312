"""What a run did to each Subscriber, read from the ledger: the table at its end, and whether anything failed.

Prefect holds runs, the ledger holds truth: so this shows the same whoever runs the flow, and whatever it dies of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cli.ledgers import ledger_of, site_snapshot
from cli.tables import duration, size, table
from sluice.model.event import Event, EventKind
from sluice.model.state import CurrentState, State

if TYPE_CHECKING:
    from sluice.model.site import Site
    from sluice.ports import Ledger
    from sluice.rules.reasons import StatusRow

EVENTS = 1000
"""Events read at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one Subscriber with one Distribution."""

    row: StatusRow
    bytes: int
    """Sent to it in this run, what it answered not counted; a prediction counts both ways."""
    time: timedelta | None
    """From its first event in this run to its last; None where nothing happened."""
    error: str
    """The error's name on the wire; empty where it didn't fail."""

    def as_json(self) -> dict[str, Any]:
        """A status row with what this run did."""
        seconds = None if self.time is None else round(self.time.total_seconds(), 3)
        return {**self.row.as_json(), "bytes": self.bytes, "seconds": seconds, "error": self.error or None}


class Watch:
    """Notes where a site's ledgers stand before something runs, and says afterwards what that did."""

    def __init__(self, site: Site, distributions: Iterable[str]) -> None:
        self._site = site
        self._distributions = frozenset(distributions)
        owners = {site.distribution(name).distributor for name in self._distributions}
        self._marks = {name: _last_event(site, name) for name in sorted(owners)}

    def outcomes(self, at: datetime, *, wanted: Callable[[StatusRow], bool]) -> list[Outcome]:
        """Where everything asked for stands now, with what happened to it since."""
        from sluice.rules.reasons import status_rows

        events, snapshot = self._events(), site_snapshot(self._site)
        found = []
        for row in status_rows(self._site, snapshot, at):
            if row.distribution in self._distributions and wanted(row):
                state = snapshot.states.get((row.subscriber, row.distribution))
                found.append(_outcome(row, state, events.get((row.subscriber, row.distribution), [])))
        return found

    def _events(self) -> dict[tuple[str, str], list[Event]]:
        found: dict[tuple[str, str], list[Event]] = {}
        for distributor, mark in self._marks.items():
            with ledger_of(self._site, distributor) as ledger:
                while ledger is not None and (recorded := ledger.events(after=mark, limit=EVENTS)):
                    mark = recorded[-1].number
                    for event in (r.event for r in recorded):
                        found.setdefault((event.subscriber, event.distribution), []).append(event)
        return found


def _outcome(row: StatusRow, state: CurrentState | None, events: Sequence[Event]) -> Outcome:
    sent = state.bytes_last if state is not None and any(event.kind in _SENDS for event in events) else 0
    error = state.error.code if state is not None and state.error is not None and row.state in _FAILED else ""
    return Outcome(row, sent, events[-1].at - events[0].at if events else None, error)


_NOTHING = frozenset({State.NOT_SENT, State.NOT_JOINED, State.INACTIVE, State.NOT_APPLICABLE, State.NOT_BUILT})
"""No revision is on its way."""
_SENDS = frozenset({EventKind.SEND_STARTED, EventKind.SENT, EventKind.SEND_FAILED, EventKind.ALREADY_HELD})
_FAILED = frozenset({State.FAILED, State.UNAVAILABLE, State.WAITING})
"""With an error in the ledger; WAITING because it will be tried again."""


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """Subscriber, revision, state, bytes sent to it (what it answered isn't in it), time, reason."""
    several = len({o.row.distribution for o in outcomes}) > 1
    headers = ["subscriber", *(["distribution"] if several else []), "revision", "state", "sent", "time", "reason"]
    rows = []
    for o in outcomes:
        revision = "-" if o.row.state in _NOTHING else str(o.row.latest or "-")
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
    return table(headers, rows, right={"sent", "time"})


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
