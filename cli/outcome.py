"""Read from the ledger what a run did to each Subscriber: for the table at its end, and for the exit code.

Prefect holds runs, the ledger holds the truth: so the result is the same wherever the flow runs, and whatever kills it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cli.ledgers import events_of, ledger_of, site_snapshot
from cli.tables import Row, duration, fitted, size
from cli.terminal import Line, columns
from sluice.model.event import Event, EventKind
from sluice.model.state import CurrentState, State

if TYPE_CHECKING:
    from sluice.model.site import Site
    from sluice.rules.status_row import StatusRow


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run for one Subscriber and one Distribution."""

    row: StatusRow
    bytes: int
    """Sent to it in this run, without its answers; a prediction counts both ways."""
    time: timedelta | None
    """From its first event in this run to its last; None if there is none."""
    error: str
    """The error's name on the wire; empty if nothing failed."""

    def as_json(self) -> dict[str, Any]:
        """Return a status row with the figures of this run."""
        seconds = None if self.time is None else round(self.time.total_seconds(), 3)
        return {**self.row.as_json(), "bytes": self.bytes, "seconds": seconds, "error": self.error or None}


class Watch:
    """Notes the last event of a site's ledgers before a run, and collects afterwards what the run did."""

    def __init__(self, site: Site, distributions: Iterable[str]) -> None:
        self._site = site
        self._distributions = frozenset(distributions)
        owners = {site.distribution(name).distributor for name in self._distributions}
        self._marks = {name: _last_event(site, name) for name in sorted(owners)}

    def outcomes(self, at: datetime, *, wanted: Callable[[StatusRow], bool]) -> list[Outcome]:
        """Collect the current state of the wanted rows, with what has happened since."""
        from sluice.rules.reasons import status_rows

        events, snapshot = self._events(), site_snapshot(self._site, distributions=self._distributions)
        found = []
        for row in status_rows(self._site, snapshot, at, distributions=self._distributions):
            if wanted(row):
                state = snapshot.states.get((row.subscriber, row.distribution))
                found.append(_outcome(row, state, events.get((row.subscriber, row.distribution), [])))
        return found

    def _events(self) -> dict[tuple[str, str], list[Event]]:
        found: dict[tuple[str, str], list[Event]] = {}
        for distributor, mark in self._marks.items():
            for event in (recorded.event for recorded in events_of(self._site, distributor, after=mark)):
                found.setdefault((event.subscriber, event.distribution), []).append(event)
        return found


def _outcome(row: StatusRow, state: CurrentState | None, events: Sequence[Event]) -> Outcome:
    sent = state.bytes_last if state is not None and any(event.kind in _SENDS for event in events) else 0
    error = error_of(row, state)
    if row.state is State.INSTALLED and not any(event.kind in _READ for event in events):
        looked = "asked, not read back now" if any(event.kind is EventKind.ALREADY_HELD for event in events) else "not looked at now"
        row = replace(row, reason=f"{row.reason}; {looked}")
    return Outcome(row, sent, events[-1].at - events[0].at if events else None, error)


def error_of(row: StatusRow, state: CurrentState | None) -> str:
    """Return the name of the error that somebody, or a retry, has to remove; empty without one."""
    return state.error.code if state is not None and state.error is not None and row.state in _FAILED else ""


_WITHOUT_REVISION = frozenset({State.NOT_SENT, State.NOT_JOINED, State.INACTIVE, State.NOT_APPLICABLE, State.NOT_BUILT})
"""No revision is on its way."""
_SENDS = frozenset({EventKind.SEND_STARTED, EventKind.SENT, EventKind.SEND_FAILED, EventKind.ALREADY_HELD})
_READ = frozenset({EventKind.INSTALLED, EventKind.VERIFIED})
"""Events of a receipt in this very run."""
_FAILED = frozenset({State.FAILED, State.UNAVAILABLE, State.WAITING})
"""States with an error in the ledger; WAITING is one because the send will be retried."""


def outcome_table(outcomes: Sequence[Outcome], told: Collection[tuple[str, str]] = ()) -> Sequence[Line]:
    """Lay out Subscriber, revision, state, bytes sent to it (without its answers), time and reason, those that failed first.

    Args:
        told: Pairs of Subscriber and Distribution whose failure was told already: their rows don't say it again.
    """
    rows = []
    for o in sorted(outcomes, key=lambda each: not each.error):
        revision = "-" if o.row.state in _WITHOUT_REVISION else str(o.row.latest or "-")
        time = "-" if o.time is None else duration(o.time)
        cells = [o.row.subscriber or "-", o.row.distribution, revision, o.row.state.value, size(o.bytes), time]
        is_told = bool(o.error) and (o.row.subscriber, o.row.distribution) in told
        rows.append(Row(cells, "" if is_told else o.row.reason, "red" if o.error else ""))
    headers = ["subscriber", "distribution", "revision", "state", "sent", "time", "reason"]
    if len({o.row.distribution for o in outcomes}) < 2:
        headers, rows = [headers[0], *headers[2:]], [replace(row, cells=[row.cells[0], *row.cells[2:]]) for row in rows]
    return fitted(headers, rows, width=columns(), right={"sent", "time"}, less=["time", "sent", "revision"])


def _last_event(site: Site, distributor: str) -> int:
    """Return the number of a ledger's last event; 0 if there is none."""
    with ledger_of(site, distributor) as ledger:
        newest = ledger.events(limit=1, newest_first=True) if ledger is not None else ()
        return newest[0].number if newest else 0
