"""Decide when a schedule is due (D1 to D4): pure decisions on a schedule and a given time.

Wall-clock kinds follow their time zone as ``rules/clocks.py`` reads it. Intervals of whole days keep their time of day, others count
elapsed seconds. Random instants come from a seed, so that every process computes the same one.

Words: a *start* is an instant at which something begins; of a window without ``every`` it is the window's begin, or with
``random`` an instant in it. All times are aware; results are UTC. Left out: the meaning of a start, and the acts that follow.
``rules/triggers.py`` has Prefect's form of the same schedules, and says which schedules Prefect can't start at the same instants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from heapq import heappop, heappush
from itertools import pairwise
from zoneinfo import ZoneInfo

from sluice.model.schedule import Kind, Schedule, Window
from sluice.model.site import Distribution, Subscriber
from sluice.rules.clocks import localized
from sluice.rules.recurrence import ANCHOR, HORIZON, cron_fields, cron_times, last_rule_time, rule_times, rule_times_of_day

SHORTEST_REFRESH = timedelta(minutes=3)
"""Shortest time between two starts of a Refresh schedule (D5)."""

_DAY = timedelta(days=1)
_LONGEST_SKIP = timedelta(days=1)
"""Longest time by which a clock is put forward at once (Pacific/Apia in 2011)."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """One start, and the end of the window that it belongs to (``start`` itself if there is none)."""

    start: datetime
    end: datetime


def starts(schedule: Schedule, after: datetime, *, seed: str = "") -> Iterator[datetime]:
    """Yield every start strictly after a time, in order; ends with the schedule or its ten-year horizon.

    Args:
        schedule: ``never`` has none; ``immediately`` has none either: it is always due.
        after: Aware.
        seed: Selects random instants: a Subscriber's name.
    """
    return (span.start for span in spans(schedule, after, seed=seed))


def next_start(schedule: Schedule, after: datetime, *, seed: str = "") -> datetime | None:
    """Return the first start strictly after a time; None if there is none within ten years."""
    return next(starts(schedule, after, seed=seed), None)


def last_start(schedule: Schedule, now: datetime) -> datetime | None:
    """Return the last start of a schedule that has no other within ten years; None if it goes on, or has no starts by itself.

    Only moments and rules end: ``validate`` refuses whatever never comes. Of a long rule it may be a time after its last start.
    """
    zone, wall = ZoneInfo(schedule.timezone), None
    if schedule.kind is Kind.AT and schedule.at is not None:
        wall = schedule.at.replace(tzinfo=None)
    elif schedule.kind is Kind.RRULE:
        wall = last_rule_time(schedule.rrule, schedule.timezone, now.astimezone(zone).replace(tzinfo=None))
    found = None if wall is None else localized(wall, zone)
    return found if found is not None and found <= now else None


def is_due(schedule: Schedule, last: datetime | None, now: datetime, *, seed: str = "") -> bool:
    """Whether a repeated act (build, refresh, send) is to begin now.

    It is due if a start lies after ``last`` and not after ``now`` and its window, if it has one, is still open: a start that was
    missed is caught up, but never outside its window.

    Args:
        schedule: ``immediately`` is always due, ``never`` never.
        last: When it last began; None if it never did, and then any start up to now counts.
        now: The reference time.
        seed: As in ``starts``.
    """
    if schedule.kind is Kind.IMMEDIATELY:
        return True
    if schedule.kind is Kind.NEVER:
        return False
    since = last if last is not None else _long_ago(schedule, now)
    if schedule.window is not None and not _is_moment(schedule.window):
        since = max(since, now - timedelta(days=3))
    for span in spans(schedule, since, seed=seed):
        if span.start > now:
            return False
        if span.end == span.start or now < span.end:
            return True
    return False


def may_begin(schedule: Schedule, since: datetime, now: datetime, *, seed: str = "") -> bool:
    """Whether an act that waits since a time (a send, an extraction) may begin now.

    As ``is_due``; also while a window is open whose start came before the wait began.
    """
    return is_due(schedule, since, now, seed=seed) or is_open(schedule, now, seed=seed)


def is_open(schedule: Schedule, now: datetime, *, seed: str = "") -> bool:
    """Whether now lies in a window of the schedule, after its (random) start; False if it has no windows."""
    if schedule.window is None or _is_moment(schedule.window):
        return False
    for span in spans(schedule, now - timedelta(days=3), seed=seed):
        if span.start > now:
            return False
        if now < span.end:
            return True
    return False


def window_is_over(schedule: Schedule, planned: datetime, now: datetime) -> bool:
    """Whether a run that was planned for a start comes after the end of that start's window; False if it has none."""
    span = next(spans(of_whole_windows(schedule), planned - timedelta(seconds=1)), None)
    return span is not None and span.start <= planned + timedelta(seconds=1) and span.start < span.end <= now


def of_whole_windows(schedule: Schedule) -> Schedule:
    """Return the schedule with windows that start at their begin: so does the run that waits for the random instants in them."""
    return schedule if schedule.window is None else replace(schedule, window=replace(schedule.window, random=False))


def spans(schedule: Schedule, after: datetime, *, seed: str = "") -> Iterator[Span]:
    """Yield starts as ``starts`` does, each with the end of its window."""
    if after.tzinfo is None:
        raise ValueError("due: times must be aware")
    after = after.astimezone(UTC)
    previous = after
    found = _spans(schedule, after, seed)
    for span in found if schedule.kind is Kind.INTERVAL else _in_order(found):
        if span.start > previous:
            previous = span.start
            yield span


def shortest_gap(schedule: Schedule) -> timedelta | None:
    """Return a time than which no two of its starts are closer, by their times of day; None if it has one start, or none by itself."""
    match schedule.kind:
        case Kind.NEVER | Kind.IMMEDIATELY | Kind.AT:
            return None
        case Kind.INTERVAL:
            return schedule.interval
        case Kind.RRULE:
            of_day = rule_times_of_day(schedule.rrule, schedule.timezone)
        case Kind.CRON:
            of_day = {timedelta(hours=h, minutes=m) for each in cron_fields(schedule.cron) for h in each.hours for m in each.minutes}
        case _:
            return (schedule.window.every if schedule.window is not None else None) or _DAY
    found = sorted(of_day)
    return min(b - a for a, b in pairwise([*found, found[0] + _DAY]))


def extracts_at_once(distribution: Distribution, subscriber: Subscriber) -> bool:
    """Whether a Subscriber extracts revisions of a Distribution at once when it receives them, without an Extract schedule (D6)."""
    return distribution.extract_immediately or subscriber.extract.kind is Kind.IMMEDIATELY


def _long_ago(schedule: Schedule, now: datetime) -> datetime:
    """Return a time from which the latest start up to now is found, without walking through years of short intervals."""
    if schedule.kind is Kind.AT and schedule.at is not None:
        return min(now, schedule.at) - timedelta(days=1)
    if schedule.kind is Kind.INTERVAL and schedule.interval is not None:
        return now - 2 * schedule.interval - timedelta(days=1)
    for days in (2, 40, 400):
        if (first := next_start(schedule, now - timedelta(days=days))) is not None and first <= now:
            return now - timedelta(days=days)
    return now - HORIZON


def _is_moment(window: Window) -> bool:
    return window.start == window.end


def _spans(schedule: Schedule, after: datetime, seed: str) -> Iterator[Span]:
    match schedule.kind:
        case Kind.NEVER | Kind.IMMEDIATELY:
            return
        case Kind.INTERVAL:
            moments = _intervals(schedule, after)
        case Kind.AT:
            moments = _walls([schedule.at.replace(tzinfo=None)] if schedule.at is not None else [], schedule)
        case Kind.CRON:
            moments = _walls(cron_times(schedule.cron, _wall(schedule, after)), schedule)
        case Kind.RRULE:
            moments = _walls(rule_times(schedule.rrule, schedule.timezone, _wall(schedule, after)), schedule)
        case _:
            yield from _calendar(schedule, after, seed)
            return
    yield from (Span(m, m) for m in moments)


def _in_order(spans: Iterable[Span]) -> Iterator[Span]:
    """Sort starts that come by the clock, which may be put forward meanwhile: 03:30, skipped, comes after 02:45 and begins before it."""
    waiting: list[Span] = []
    for span in spans:
        heappush(waiting, span)
        while waiting[0].start + _LONGEST_SKIP < span.start:
            yield heappop(waiting)
    yield from sorted(waiting)


def _wall(schedule: Schedule, after: datetime) -> datetime:
    """Return a wall-clock time a day before ``after``, so that a clock change hides no start; starts before ``after`` are dropped later."""
    return after.astimezone(ZoneInfo(schedule.timezone)).replace(tzinfo=None) - timedelta(days=1)


def _walls(walls: Iterable[datetime], schedule: Schedule) -> Iterator[datetime]:
    zone = ZoneInfo(schedule.timezone)
    return (localized(wall, zone) for wall in walls)


def _calendar(schedule: Schedule, after: datetime, seed: str) -> Iterator[Span]:
    zone = ZoneInfo(schedule.timezone)
    day = after.astimezone(zone).date() - timedelta(days=2)
    for _ in range(HORIZON.days):
        if _on_day(schedule, day):
            yield from _spans_of_day(schedule, day, zone, seed)
        day += timedelta(days=1)


def _on_day(schedule: Schedule, day: date) -> bool:
    match schedule.kind:
        case Kind.MONTHLY:
            return day.day in schedule.month_days or (-1 in schedule.month_days and (day + timedelta(days=1)).day == 1)
        case Kind.YEARLY:
            return any((d.month, d.day) == (day.month, day.day) for d in schedule.year_days)
        case _:
            return not schedule.weekdays or day.weekday() in schedule.weekdays


def _spans_of_day(schedule: Schedule, day: date, zone: ZoneInfo, seed: str) -> Iterator[Span]:
    window = schedule.window or Window(time(), time())
    opens = datetime.combine(day, window.start)
    begin = localized(opens, zone)
    if _is_moment(window):
        yield Span(begin, begin)
        return
    closes = datetime.combine(day if window.end > window.start else day + timedelta(days=1), window.end)
    end = max(begin, localized(closes, zone))
    if window.random:
        begin += timedelta(seconds=_pick(f"{seed}\n{day.isoformat()}", max(1, (end - begin) // timedelta(seconds=1))))
    if window.every is None:
        yield Span(begin, end)
        return
    while opens < closes:
        yield Span(localized(opens, zone), end)
        opens += window.every


def _pick(seed: str, below: int) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") % below


def _intervals(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    interval = schedule.interval
    if interval is None or interval <= timedelta(0):
        return
    zone = ZoneInfo(schedule.timezone)
    anchor = schedule.at.replace(tzinfo=None) if schedule.at is not None else ANCHOR
    begin, end = localized(anchor, zone), after + max(HORIZON, 2 * interval)
    count = max(0, (after - begin) // interval - 2)
    while True:
        whole_days = interval % timedelta(days=1) == timedelta(0)
        moment = localized(anchor + count * interval, zone) if whole_days else begin + count * interval
        if moment > end:
            return
        yield moment
        count += 1
