"""A row of ``sluice status``, with its form in JSON. Data only: ``rules/reasons.py`` fills it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sluice.model.belief import BuildFailure
from sluice.model.revision import RevisionNumber
from sluice.model.state import State
from sluice.rules.retry import moment


@dataclass(frozen=True, slots=True)
class FailingBuild:
    """Builds of a Distribution, or signings, that fail, and the next start of a build, which signs too."""

    failure: BuildFailure
    next_try: datetime | None
    """None: no schedule starts it."""

    @property
    def what(self) -> str:
        """Say which of them fail."""
        return {"build": "builds fail", "sign": "signing fails"}[self.failure.operation]

    @property
    def sentence(self) -> str:
        """Say since when and why, and when it is tried again; without a full stop."""
        failure = self.failure
        again = (
            f"the next try is at {moment(self.next_try)}" if self.next_try else f"run: sluice {failure.operation} {failure.distribution}"
        )
        remedy = f" ({failure.remedy})" if failure.remedy else ""
        return f"{self.what} since {moment(failure.since)}: {failure.message}{remedy}; {again}"

    def as_json(self) -> Mapping[str, str | None]:
        """Return the object of ``status --json``."""
        failure = self.failure
        texts = {"operation": failure.operation, "code": failure.code, "message": failure.message, "remedy": failure.remedy}
        return {"since": _time(failure.since), "at": _time(failure.at), "next_try": _time(self.next_try), **texts}


@dataclass(frozen=True, slots=True)
class StatusRow:
    """A row of ``sluice status``."""

    subscriber: str
    """Empty for a Distribution without a Channel that no Subscriber holds."""
    distribution: str
    channel: str
    """The Channel through which it comes; empty if none joins them."""
    held: RevisionNumber | None
    extracted: RevisionNumber | None
    latest: RevisionNumber | None
    state: State
    reason: str
    """One sentence, without a full stop."""
    since: datetime | None
    """When the ledger's state was entered; None if the ledger doesn't know the pair."""
    bytes_sent: int
    read_back_at: datetime | None = None
    """When every file had been read back, by receipts; None: not known."""
    seen_at: datetime | None = None
    """When its agent last said or attested the same."""
    doubt: str = ""
    """Why what was believed of it doesn't hold any more."""
    failing: FailingBuild | None = None
    """Set if builds of the Distribution, or signings, fail."""

    def as_json(self) -> Mapping[str, Any]:
        """Return the object of ``status --json``: revisions as ``2.3``, the time as RFC 3339 in UTC."""
        return {
            "subscriber": self.subscriber,
            "distribution": self.distribution,
            "channel": self.channel,
            "held": _text(self.held),
            "extracted": _text(self.extracted),
            "latest": _text(self.latest),
            "state": self.state.value,
            "reason": self.reason,
            "since": _time(self.since),
            "bytes_sent": self.bytes_sent,
            "read_back_at": _time(self.read_back_at),
            "seen_at": _time(self.seen_at),
            "doubt": self.doubt or None,
            "build_failure": None if self.failing is None else self.failing.as_json(),
        }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(revision: RevisionNumber | None) -> str | None:
    return None if revision is None else str(revision)
