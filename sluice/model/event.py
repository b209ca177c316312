"""Events of the ledger's log, with their time and objects. Data only; the log is append-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sluice.model.revision import RevisionNumber

EVENT_DATA_MAX = 4096
"""Most bytes of an event's data as JSON."""

JsonValue = str | int | float | bool | None


class EventKind(StrEnum):
    """The kind of an event. Append-only: a kind is never renamed."""

    BUILT = "built"
    NO_CHANGE = "no change"
    BUILD_FAILED = "build failed"
    SIGNED = "signed"
    SIGN_FAILED = "sign failed"
    OFFERED = "offered"
    SEND_STARTED = "send started"
    SEND_PAUSED = "send paused"
    SEND_RESUMED = "send resumed"
    SENT = "sent"
    ALREADY_HELD = "already held"
    SEND_FAILED = "send failed"
    EXTRACT_STARTED = "extract started"
    INSTALLED = "installed"
    EXTRACT_FAILED = "extract failed"
    RECEIPT_REFUSED = "receipt refused"
    RECEIPT_CONFLICT = "receipt conflict"
    LEASE_EXPIRED = "lease expired"
    CANCEL_REQUESTED = "cancel requested"
    CANCELLED = "cancelled"
    REFRESHED = "refreshed"
    VERIFIED = "verified"
    DAMAGE_FOUND = "damage found"
    DAMAGE_MENDED = "damage mended"
    MAIL_DUE = "mail due"
    MAIL_SENT = "mail sent"
    MAIL_FAILED = "mail failed"
    RELEASED = "released"
    SEEN = "seen"
    DOUBTED = "doubted"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Event:
    """One event for the log. Empty fields don't apply."""

    at: datetime
    kind: EventKind
    distributor: str = ""
    distribution: str = ""
    revision: RevisionNumber | None = None
    subscriber: str = ""
    channel: str = ""
    flow_run: str = ""
    data: Mapping[str, JsonValue] = field(default_factory=dict)
    """Small and flat, at most EVENT_DATA_MAX; never a secret."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event with its number: strictly increasing in the order of recording."""

    number: int
    event: Event
