"""Convert rows of the ledger's tables to the model and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Row, Select, String, select, type_coerce

from infra.ledger.tables import UtcTime, tickets
from sluice.model.belief import Belief, BuildFailure, Machine
from sluice.model.event import EVENT_DATA_MAX, Event, EventKind, JsonValue, RecordedEvent
from sluice.model.order import Failure
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.state import Built, CurrentState, State
from sluice.model.ticket import Phase, Ticket
from sluice.rules.wording import printable

_TEXT_MAX = 1000
"""Bytes of one text in an event's data; the rest is cut."""
_EVENT_FIELDS = ("at", "distributor", "distribution", "subscriber", "channel", "flow_run")
"""Fields whose columns have the same name and value; below too."""
_STATE_FIELDS = (
    *("distributor", "channel", "since", "bytes_sent", "bytes_last", "bytes_resumed"),
    *("attempts", "first_failure", "next_try", "sequence", "flow_run", "read_back_at", "seen_at", "doubt_order"),
)
_BELIEF_FIELDS = ("at", "agent", "key", "directory", "metadata", "twins_at")
_STATE_REVISIONS = ("held", "extracted", "offered")


def event_values(event: Event) -> dict[str, Any]:
    """Return the values of a row of ``events``."""
    same = {name: getattr(event, name) for name in _EVENT_FIELDS}
    return {**same, "kind": event.kind.value, "revision": _text(event.revision), "data": _data(event.data)}


def read_event(row: Row[Any]) -> RecordedEvent:
    """Read a row of ``events``."""
    same = {name: getattr(row, name) for name in _EVENT_FIELDS}
    event = Event(**same, kind=EventKind(row.kind), revision=_number(row.revision), data=json.loads(row.data))
    return RecordedEvent(row.number, event)


def state_values(state: CurrentState) -> dict[str, Any]:
    """Return the values of a row of ``states``, without its key."""
    error = state.error or Failure("", "", "", False)
    same = {name: getattr(state, name) for name in _STATE_FIELDS}
    revisions = {name: _text(getattr(state, name)) for name in _STATE_REVISIONS}
    return {
        **same,
        **revisions,
        "state": state.state.value,
        "reason": _without_nul(state.reason),
        "doubt": _without_nul(state.doubt),
        "error_code": error.code,
        "error_message": _without_nul(error.message),
        "error_remedy": _without_nul(error.remedy),
        "error_retryable": int(error.retryable),
    }


def read_state(row: Row[Any]) -> CurrentState:
    """Read a row of ``states``."""
    error = Failure(row.error_code, row.error_message, row.error_remedy, bool(row.error_retryable)) if row.error_code else None
    same = {name: getattr(row, name) for name in _STATE_FIELDS}
    revisions: dict[str, Any] = {name: _number(getattr(row, name)) for name in _STATE_REVISIONS}
    texts = {"reason": row.reason, "doubt": row.doubt}
    return CurrentState(row.subscriber, row.distribution, **same, **revisions, **texts, state=State(row.state), error=error)


def built_values(built: Built) -> dict[str, Any]:
    """Return the values of a row of ``built``, without its key."""
    return {"revision": str(built.revision), "at": built.at, "files": built.files, "bytes": built.bytes}


def read_built(row: Row[Any]) -> Built:
    """Read a row of ``built``."""
    return Built(row.distribution, RevisionNumber.parse(row.revision), row.at, row.files, row.bytes)


def belief_values(belief: Belief) -> dict[str, Any]:
    """Return the values of a row of ``beliefs``, without its key."""
    machines = [[m.instance, m.host, m.address, m.at.isoformat()] for m in belief.machines]
    same = {name: getattr(belief, name) for name in _BELIEF_FIELDS}
    return {**same, "machines": json.dumps(machines)}


def read_belief(row: Row[Any]) -> Belief:
    """Read a row of ``beliefs``."""
    machines = [Machine(instance, host, address, datetime.fromisoformat(at)) for instance, host, address, at in json.loads(row.machines)]
    return Belief(**{name: getattr(row, name) for name in _BELIEF_FIELDS}, machines=tuple(machines))


def read_build_failure(row: Row[Any]) -> BuildFailure:
    """Read a row of ``failing``."""
    return BuildFailure(row.distribution, row.since, row.at, row.code, row.message, row.remedy, row.operation)


def select_tickets() -> Select[Any]:
    """Select rows for ``read_ticket``, with times as text: waiting tasks read the queue often, and most of its rows haven't changed."""
    return select(*(type_coerce(c, String) if isinstance(c.type, UtcTime) else c for c in tickets.c))


def read_ticket(row: Row[Any]) -> Ticket:
    """Read a row of ``select_tickets``."""
    return _ticket(*row)


@lru_cache(maxsize=10_000)
def _ticket(*row: Any) -> Ticket:
    number, sender, subscriber, distribution, revision, priority, holder, phase, *times = row
    entered, lease_until = map(datetime.fromisoformat, times)
    transfer = sender, subscriber, distribution, RevisionNumber.parse(revision)
    return Ticket(number, *transfer, Priority(priority), holder, Phase(phase), entered, lease_until)


def _text(revision: RevisionNumber | None) -> str | None:
    return None if revision is None else str(revision)


def _number(text: str | None) -> RevisionNumber | None:
    return None if text is None else RevisionNumber.parse(text)


def _without_nul(text: str) -> str:
    """Replace NUL, which a message may quote and PostgreSQL's text can't hold."""
    return text.replace("\0", "?")


def _data(data: Mapping[str, JsonValue]) -> str:
    cut = {key: _cut(value) if isinstance(value, str) else value for key, value in data.items()}
    text = json.dumps(cut, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    if len(text.encode()) > EVENT_DATA_MAX:
        raise ValueError(f"an event's data may have {EVENT_DATA_MAX} bytes, not {len(text.encode())}")
    return text


def _cut(text: str) -> str:
    """Shorten a text and make it printable: messages quote disks and other machines, and an event must be recorded whatever they say."""
    return printable(text[:_TEXT_MAX]).encode()[:_TEXT_MAX].decode(errors="ignore")
