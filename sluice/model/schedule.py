"""Schedules (D1, D2, D3): when something is refreshed, built, sent or extracted. Data only; ``rules/due.py`` decides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of schedule a blueprint can name."""

    NEVER = "never"
    IMMEDIATELY = "immediately"
    INTERVAL = "interval"
    AT = "at"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    CRON = "cron"
    RRULE = "rrule"


@dataclass(frozen=True, slots=True)
class Window:
    """A time of day, or a window of the day in which starts are spread (D3).

    ``start == end`` is a time of day. ``end`` before ``start`` runs over midnight. ``random`` picks one reproducible instant
    inside the window for each Subscriber; ``every`` repeats inside the window.
    """

    start: time
    end: time
    random: bool = False
    every: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule. Only the fields its kind uses are set.

    ``timezone`` is an IANA name; wall-clock kinds follow its daylight saving.
    """

    kind: Kind
    timezone: str = "UTC"
    interval: timedelta | None = None
    at: datetime | None = None
    window: Window | None = None
    weekdays: tuple[int, ...] = ()
    """0 is Monday. Daily: the days on which it runs, empty for all. Weekly: at least one."""
    month_days: tuple[int, ...] = ()
    """1 to 31, or -1 for the last. A month without the day has no start."""
    year_days: tuple[date, ...] = ()
    """Yearly: only month and day of each date count."""
    cron: str = ""
    rrule: str = ""


NEVER = Schedule(Kind.NEVER)
IMMEDIATELY = Schedule(Kind.IMMEDIATELY)
