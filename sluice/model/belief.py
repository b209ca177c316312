"""What is believed of a Subscriber, and what a contact with its agent shows. Data only: ``rules/belief.py`` compares them.

A claim is what an agent says in its hello; only a signed receipt attests. Claims take belief away, and never add to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sluice.model.revision import RevisionNumber


@dataclass(frozen=True, slots=True)
class HeldState:
    """A Subscriber's claim about one Distribution."""

    held: RevisionNumber | None = None
    extracted: RevisionNumber | None = None
    sequence: int = 0
    """Of the last order it accepted; 0 is none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An agent's claim about itself, beside its Subscriber's name."""

    key: str
    """Digest of its public receipt key."""
    directory: str
    """Its working directory, without links."""
    host: str
    """The machine's own name."""
    instance: str
    """A word that no two running machines share, and no two working directories: it changes when the machine starts."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A running machine, as far as it was seen."""

    instance: str
    host: str
    address: str
    at: datetime
    """When it was last seen."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of one Subscriber's agent by one Distributor; the states of its Distributions are beside it."""

    at: datetime
    """When it last answered."""
    agent: str
    """The version of its agent."""
    key: str = ""
    """As ``Identity``; empty: an older agent, which doesn't say. Below too."""
    directory: str = ""
    metadata: int = 0
    """Version of the signed metadata (timestamp) that it held."""
    machines: tuple[Machine, ...] = ()
    """The last that answered, newest first."""
    twins_at: datetime | None = None
    """When a machine answered again although another one had answered in its place since."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one contact shows."""

    at: datetime
    address: str
    agent: str
    identity: Identity | None
    """None: an older agent."""
    metadata: int
    pairs: Mapping[str, HeldState]
    """By Distribution; those that aren't there have nothing."""
    about: frozenset[str] | None = None
    """Distributions that were asked about; None: all."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason why a Distribution counts as due again, and what remains believed of it."""

    text: str
    held: RevisionNumber | None
    extracted: RevisionNumber | None
    sequence: int
    order: int = 0
    """A number that was given to no order, when it was raised: orders below were given before, those above since."""


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """A build, or the signing after it, that fails: since when, and why at last."""

    distribution: str
    since: datetime
    at: datetime
    code: str
    message: str
    remedy: str
    operation: str = "build"
    """Or ``sign``."""
