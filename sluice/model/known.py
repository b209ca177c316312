"""What a ledger knows, as of one moment: of one Subscriber, or of everything. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sluice.model.belief import Belief, BuildFailure
from sluice.model.revision import RevisionNumber
from sluice.model.state import Built, CurrentState
from sluice.model.ticket import Ticket


@dataclass(frozen=True, slots=True)
class Known:
    """What a ledger knows of one Subscriber, for one Distributor."""

    belief: Belief | None = None
    """None: it never answered."""
    states: Mapping[str, CurrentState] = field(default_factory=dict)
    """By Distribution; only those that this Distributor offered last."""
    last_order: int = 0
    """The highest number that was given to an order."""


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """The data that ``status`` and ``why`` read, as of one moment."""

    states: Mapping[tuple[str, str], CurrentState]
    """State by (subscriber, distribution)."""
    built: Mapping[str, Built]
    """Latest revision by Distribution."""
    tickets: tuple[Ticket, ...]
    """Tickets of every sender, by number, including those whose lease ran out."""
    beliefs: Mapping[tuple[str, str], Belief] = field(default_factory=dict)
    """By (distributor, subscriber)."""
    failing: Mapping[str, BuildFailure] = field(default_factory=dict)
    """Distributions whose last build failed."""
    unrecorded: Mapping[str, RevisionNumber] = field(default_factory=dict)
    """Newest revision in the store by Distribution, of those that ``built`` lacks: the reader of several ledgers looks there."""
