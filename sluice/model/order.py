"""Orders and receipts: what a Distributor tells a Subscriber to do, and what the Subscriber swears it did.

Data only. ``trust/envelope.py`` signs and verifies them; docs/formats.md has their JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sluice.model.action import Action
from sluice.model.locked import FAILS_AT_ONCE, Locked
from sluice.model.revision import RevisionNumber

CLAIMED_SEQUENCE_MAX = 2**62
"""From here on, what a Subscriber says was the last order isn't believed: its numbers end at 2**63 - 1."""


class Outcome(StrEnum):
    """How an order ended on the Subscriber."""

    INSTALLED = "installed"
    """Extracted, read back and hashed (X2)."""
    ALREADY_INSTALLED = "already installed"
    """That revision was extracted before, and its status file says so."""
    FAILED = "failed"
    """Nothing changed: what was placed was taken back (F9)."""
    FAILED_KEPT = "failed, kept"
    """Rollback is off: what was done stays."""


@dataclass(frozen=True, slots=True)
class Order:
    """Extract this revision. Signed by the Distributor for one recipient; older sequences are refused."""

    distributor: str
    subscriber: str
    sequence: int
    issued: datetime
    expires: datetime
    distribution: str
    revision: RevisionNumber
    destinations: tuple[str, ...]
    """Rendered for this Subscriber, absolute, in the manifest's order."""
    pre_actions: tuple[Action, ...]
    post_actions: tuple[Action, ...]
    locked: Locked = FAILS_AT_ONCE
    min_free: int = 0
    """Bytes that stay free on every file system that is written to (C13)."""


@dataclass(frozen=True, slots=True)
class ActionReport:
    """One pre or post action as it went."""

    phase: str
    """``pre``, ``post`` or ``undo``."""
    label: str
    seconds: float
    exit_code: int | None
    """None where the limit ended it."""
    output: str
    """The last lines of what it printed, at most 4 KiB."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why it failed: an error by its name on the wire."""

    code: str
    message: str
    remedy: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the Subscriber read back. Signed by its own key, so that a parent can carry it without being believed."""

    distributor: str
    subscriber: str
    sequence: int
    """Of the order it answers."""
    distribution: str
    revision: RevisionNumber
    outcome: Outcome
    started: datetime
    finished: datetime
    files_written: int
    files_unchanged: int
    bytes_written: int
    read_back: str
    """BLAKE3 over the manifest's files as read back from disk (docs/formats.md); empty where it failed."""
    actions: tuple[ActionReport, ...] = ()
    failure: Failure | None = None
    paths_removed: int = 0
    """Files, links and directories that ``synchronize`` took away (C9)."""
