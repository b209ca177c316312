"""Wall clocks and their changes: from a time of day in a zone to its instant, and back to what each zone skips or repeats.

A time that the clock skips counts as if it had been put forward already, 03:30 as 02:30; a time that comes twice counts the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

EPOCH = datetime(2026, 1, 1)  # noqa: DTZ001 a wall-clock time
"""Prefect is asked about later times only: where a schedule says no begin, its form begins here, so that the way from there is short."""
LAST_YEAR = 2037
"""Last year whose clock changes every library knows."""
_DAYS_BETWEEN_CHANGES = 7
_MINUTE = timedelta(minutes=1)
_QUARTER = timedelta(minutes=15)
"""Clocks change on a quarter of an hour, by such quarters."""
_AROUND = timedelta(hours=3)
"""Time around a change in which dateutil is compared: of Africa.Casablanca it is an hour off in some years."""


def localized(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return a wall-clock time as UTC: the first of a doubled one; a skipped one counts as if the clock had been put forward already."""
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall.replace(fold=0):
        return instant
    return wall.replace(tzinfo=zone, fold=1).astimezone(UTC)


@lru_cache(maxsize=1024)
def clock_changes(zone: str) -> tuple[tuple[datetime, datetime], ...]:
    """List a zone's changes from EPOCH on, as the clock before and after each: it skips the times between, or repeats them."""
    numbers = range(0, (LAST_YEAR + 1 - EPOCH.year) * 365, _DAYS_BETWEEN_CHANGES)
    days = [EPOCH.replace(tzinfo=UTC) + timedelta(days=n) for n in numbers]
    found = []
    for begin, end in pairwise(days):
        before, after = _offset(begin, zone), _offset(end, zone)
        if before == after:
            continue
        while end - begin > _MINUTE:
            middle = begin + (end - begin) // _MINUTE // 2 * _MINUTE
            begin, end = (middle, end) if _offset(middle, zone) == before else (begin, middle)
        found.append(((end + before).replace(tzinfo=None), (end + after).replace(tzinfo=None)))
    return tuple(found)


@lru_cache(maxsize=1024)
def disputed_times(zone: str) -> frozenset[tuple[int, int]]:
    """Return the times of day, as hour and minute, that dateutil, by which Prefect reads rules, takes for others on the day of some change.

    They are in zones whose winter time counts as the deviation: Europe/Dublin, Africa/Casablanca and their like.
    """
    from dateutil import tz

    ours, theirs = ZoneInfo(zone), tz.gettz(zone)
    found: set[tuple[int, int]] = set()
    for begin, end in map(sorted, clock_changes(zone)):
        for wall in _minutes(begin - _AROUND, end + _AROUND, _QUARTER):
            if localized(wall, ours) != wall.replace(tzinfo=theirs).astimezone(UTC):
                found.update((each.hour, each.minute) for each in _minutes(wall, wall + _QUARTER))
    return frozenset(found)


def skipped_times(zone: str) -> Iterator[tuple[datetime, timedelta]]:
    """Yield each minute that a zone's clock skips, and by how much the clock is put forward then."""
    for before, after in clock_changes(zone):
        yield from ((wall, after - before) for wall in _minutes(before, after))


def _minutes(begin: datetime, end: datetime, step: timedelta = _MINUTE) -> Iterator[datetime]:
    while begin < end:
        yield begin
        begin += step


def _offset(instant: datetime, zone: str) -> timedelta:
    return instant.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
