"""Orders, by which a Distributor has a Subscriber extract or release a Distribution, and receipts, in which it attests the result.

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
"""From here on a Subscriber's claim about the last order isn't believed: its numbers end at 2**63 - 1."""


class Act(StrEnum):
    """The act that an order asks for. Each but EXTRACT has a feature of the same name."""

    EXTRACT = "extract"
    RELEASE = "release"
    """Forget that the Distribution placed anything: its files stay, and are nobody's."""


class Outcome(StrEnum):
    """How an order ended on the Subscriber."""

    INSTALLED = "installed"
    """Extracted, read back and hashed (X2)."""
    ALREADY_INSTALLED = "already installed"
    """That revision was extracted before, and its status file says so."""
    FAILED = "failed"
    """Nothing changed: replaced files were restored (F9)."""
    FAILED_KEPT = "failed, kept"
    """Rollback is off: the changes made so far stay."""
    RELEASED = "released"
    """The Subscriber forgot that the Distribution placed anything; its files stay."""


INSTALLED = (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)


class Demand(StrEnum):
    """How much a person asks of a send or an extraction, beyond what receipts say is to be done."""

    DUE = "due"
    """Only what is due."""
    VERIFY = "verify"
    """Read everything back, whatever the blueprint's `verify`, and repair what differs."""
    FORCE = "force"
    """Write every file anew and run the actions, although it is installed."""

    @staticmethod
    def of(*, verify: bool, force: bool) -> Demand:
        """Return the demand of two options: forcing reads everything back too."""
        return Demand.FORCE if force else Demand.VERIFY if verify else Demand.DUE


@dataclass(frozen=True, slots=True)
class Order:
    """Extract this revision, or another act. Signed by the Distributor for one recipient; older sequences are refused."""

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
    """Bytes that must stay free on every file system that is written to (C13)."""
    act: Act = Act.EXTRACT
    verify: bool | None = None
    """Read every file, whatever the manifest says, and repair what differs; None: the agent has no such feature."""
    force: bool = False
    """Write every file anew and run the actions, also if the revision is extracted."""
    allow_removals: bool = False
    """Remove also more than a destination's ``max_removals``."""


@dataclass(frozen=True, slots=True)
class ActionReport:
    """The result of one pre or post action."""

    phase: str
    """``pre``, ``post`` or ``undo``."""
    label: str
    seconds: float
    exit_code: int | None
    """None if the time limit ended it."""
    output: str
    """The last lines that it printed, at most 4 KiB."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The cause of a failure: an error by its name on the wire."""

    code: str
    message: str
    remedy: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of an order, with the digest of the files read back. Signed by the Subscriber's own key, so that a parent that forwards it
    needn't be believed."""

    distributor: str
    subscriber: str
    sequence: int
    """The order that it answers."""
    distribution: str
    revision: RevisionNumber
    outcome: Outcome
    started: datetime
    finished: datetime
    files_written: int
    files_unchanged: int
    bytes_written: int
    read_back: str
    """BLAKE3 over the manifest's files as read back from disk (docs/formats.md); empty if it failed."""
    actions: tuple[ActionReport, ...] = ()
    failure: Failure | None = None
    paths_removed: int = 0
    """Files, links and directories that ``synchronize`` removed (C9)."""
    files_read: int | None = None
    """Files that were read from disk and hashed in this very order; None: an older agent, or Distributor, which don't count them."""
    paths_adjusted: int = 0
    """Besides those files: links and directories made or replaced, and paths whose mode, owner, time or attributes were set, but for times
    of directories alone, which names in them change. 0 as well: an older agent."""
    took_over: str = ""
    """The Distribution's former name, if this extraction took over what that had placed; empty: there was nothing to take."""

    @property
    def is_read_back(self) -> bool:
        """Whether every file was read and hashed, by the receipt: only then it may be called verified. Without files nothing is."""
        return self.is_of_all_files and self.files_written + self.files_unchanged > 0 and self.files_read is not None

    @property
    def is_of_all_files(self) -> bool:
        """Whether no file was taken for unchanged unread. An older agent answers from memory, or reads back what it wrote."""
        files = self.files_written + self.files_unchanged
        if self.files_read is None:
            return self.outcome is Outcome.INSTALLED and files == self.files_written > 0
        return self.outcome in INSTALLED and files <= self.files_read
