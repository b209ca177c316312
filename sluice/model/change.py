"""The changes that one extraction would make on a Subscriber, as a dry run names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sluice.errors import ExtractError, SluiceError


class ChangeKind(StrEnum):
    """The kind of a change of one path; the ones of foreign paths come first."""

    REPLACED = "replaced"
    """A foreign file, or anything in a mirrored directory, gives way to what the revision has."""
    TAKEN_OVER = "taken over"
    """A foreign file of the right content, or a foreign directory, gets the revision's mode, owner, time or attributes."""
    FOREIGN_REMOVED = "foreign removed"
    """Something in a mirrored directory goes that wasn't placed."""
    TIME = "time"
    """A foreign directory gets another time, because names in it come, go or are exchanged."""
    REMOVED = "removed"
    """Something that was placed goes."""
    CHANGED = "changed"
    """Something that was placed gets another content or kind."""
    ADJUSTED = "adjusted"
    """Something that was placed gets the revision's mode, owner, time or attributes."""
    NEW = "new"
    """Nothing is there yet."""


@dataclass(frozen=True, slots=True)
class Change:
    """One path that an extraction changes."""

    kind: ChangeKind
    path: str
    """Absolute, without links."""
    detail: str = ""
    """For people: what is lost, or what is set."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A reason for which an extraction would stop before it changes anything."""

    message: str
    remedy: str = ""
    code: str = ExtractError.__name__
    """The error's name on the wire."""

    @classmethod
    def of(cls, error: SluiceError) -> Stop:
        """Return an error as a dry run names it."""
        return cls(error.message, error.remedy, error.code)


@dataclass(frozen=True, slots=True)
class Changes:
    """The whole answer of one host; paths and stops are the first, their counts are of all."""

    stops: tuple[Stop, ...] = ()
    stop_count: int = 0
    paths: tuple[Change, ...] = ()
    counts: Mapping[ChangeKind, int] = field(default_factory=dict)
