"""Prefect's server starts a run exactly when ``rules/due.py`` finds it due: schedules of every kind that ``validate`` accepts.

``python -m tests.soak`` compares whole decades (``tests/soak/clocks.py``); here it is a sample of the days on which they could differ.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from prefect.server.schemas.schedules import CronSchedule

from sluice.model.schedule import Schedule
from sluice.rules.clocks import clock_changes, localized
from sluice.rules.triggers import prefect_schedule
from tests.flows.prefect_dates import on_server, ours, theirs
from tests.rules.authored import KINDS, accepted, authored, stretches

pytestmark = pytest.mark.slow

SPRING = datetime(2027, 3, 28, tzinfo=UTC)
AUTUMN = datetime(2027, 10, 31, tzinfo=UTC)
HELSINKI = {"timezone": "Europe/Helsinki"}

NAMED = {
    "day and weekday, the field case": {"cron": "0 2 */2 * mon"},
    "day or weekday": {"cron": "0 2 1,15 * mon", **HELSINKI},
    "a day after a short month": {"cron": "0 2 1,31 * *"},
    "29 February and a weekday": {"cron": "0 2 29 2 mon"},
    "every quarter of every hour": {"cron": "*/15 * * * *", **HELSINKI},
    "a skipped and doubled time": {"cron": "30 3 * * *", **HELSINKI},
    "a midnight that is skipped": {"daily": {"at": "00:15"}, "timezone": "Africa/Cairo"},
    "half an hour that is skipped": {"daily": {"from": "01:40", "to": "03:00", "every": "20 min"}, "timezone": "Australia/Lord_Howe"},
    "out of order as the clock is put forward": {"daily": {"from": "02:00", "to": "06:00", "every": "45 min"}, **HELSINKI},
    "over midnight on some days": {"daily": {"from": "22:00", "to": "02:00", "every": "45 min", "days": "sat,sun"}, **HELSINKI},
    "a month's last day": {"monthly": {"days": [1, 31, "last"], "at": "03:15"}, **HELSINKI},
    "a leap day": {"yearly": {"days": ["02-29", "12-31"], "at": "23:30"}, "timezone": "America/New_York"},
    "whole days": {"every": "2 days", "starting": "2026-01-01 03:30", **HELSINKI},
    "whole days from midnight, which is skipped": {"every": "1 day", "timezone": "Asia/Beirut"},
    "elapsed hours": {"every": "36 h", **HELSINKI},
    "elapsed hours from a later time": {"every": "5 h", "starting": "2027-10-30 02:30", **HELSINKI},
    "once at a time that is skipped": {"at": "2027-03-28 03:30", **HELSINKI},
    "once at a time that is doubled": {"at": "2027-10-31 03:30", **HELSINKI},
    "UNTIL in UTC, RFC 5545's form": {"rrule": "FREQ=DAILY;BYHOUR=2;BYMINUTE=0;BYSECOND=0;UNTIL=20271030T230000Z", **HELSINKI},
    "WKST with every other week": {"rrule": "DTSTART:20260105T100000\nRRULE:FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=SU,MO", **HELSINKI},
    "the last working day": {"rrule": "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYHOUR=3;BYMINUTE=30;BYSECOND=0", **HELSINKI},
    "a week's number": {"rrule": "FREQ=YEARLY;BYWEEKNO=12,43;BYHOUR=3;BYMINUTE=0;BYSECOND=0", **HELSINKI},
    "a count that ends": {"rrule": "DTSTART;TZID=Europe/Helsinki:20270327T033000\nRRULE:FREQ=DAILY;COUNT=3", **HELSINKI},
}


def made(written: object) -> Schedule:
    schedule = accepted(written)
    assert schedule is not None, f"{written} is refused"
    return schedule


@pytest.mark.parametrize("around", [SPRING, AUTUMN], ids=["spring", "autumn"])
@pytest.mark.parametrize("name", NAMED)
def test_prefect_sees_the_same_starts(name: str, around: datetime) -> None:
    schedule = made(NAMED[name])
    begin, end = around - timedelta(days=40, seconds=1), around + timedelta(days=40)
    form = prefect_schedule(schedule)
    assert form is not None
    assert theirs(on_server(form), begin, end) == ours(schedule, begin, end)


@pytest.mark.parametrize("kind", KINDS)
def test_prefect_sees_the_same_starts_of_whatever_is_accepted(kind: str) -> None:
    """Of each kind 16 schedules, each in four of the stretches in which they could differ over ten years."""
    random = Random(f"2026 {kind}")
    seen: Counter[str] = Counter()
    while seen["schedules"] < 16:
        written = authored(random, kind)
        if (schedule := accepted(written)) is None:
            seen["refused"] += 1
            continue
        seen["schedules"] += 1
        kept = on_server(prefect_schedule(schedule) or {})
        first, *others = stretches(schedule, random)
        for begin, end in [first, *random.sample(others, 3)]:
            expected = ours(schedule, begin, end)
            assert theirs(kept, begin, end) == expected, f"{written} as {kept} from {begin}"
            seen["starts"] += len(expected)
    assert seen["refused"] < 60, "nearly everything is refused"
    assert seen["starts"] >= (10 if kind in ("at", "yearly") else 40), "hardly anything was compared"


@pytest.mark.parametrize("name", NAMED)
def test_whenever_prefect_looks_ahead_it_finds_those_that_are_left_and_no_others(name: str) -> None:
    """Its scheduler may look at any time, also while the clock is being changed; what it finds again is known by its instant."""
    schedule = made(NAMED[name])
    kept = on_server(prefect_schedule(schedule) or {})
    for around in (SPRING, AUTUMN):
        end = around + timedelta(days=1)
        known = ours(schedule, around - timedelta(days=2), end)
        for minutes in range(-90, 150, 60):
            look = around + timedelta(minutes=minutes, seconds=1)
            found = theirs(kept, look, end)
            assert [start for start in found if start >= look] == [start for start in known if start >= look], f"from {look}"
            assert set(found) <= set(known), f"from {look}"


def test_no_cron_that_prefect_gets_depends_on_how_it_reads_a_skipped_time() -> None:
    """Up to Python 3.12 its cron takes such a time as earlier by the gap, from 3.13 on as later: ``fold`` 1 and 0."""
    random = Random(7)
    compared = 0
    while compared < 30:
        schedule = accepted(authored(random, random.choice(["daily", "weekly", "monthly", "yearly", "cron"])))
        kept = on_server(prefect_schedule(schedule) or {}) if schedule is not None else None
        if schedule is None or not isinstance(kept, CronSchedule):
            continue
        walls = CronSchedule(cron=kept.cron, day_or=kept.day_or, timezone="UTC")
        for before, _ in random.sample(clock_changes(schedule.timezone), min(3, len(clock_changes(schedule.timezone)))):
            begin, end = (before.replace(tzinfo=UTC) + timedelta(hours=h) for h in (-6, 6))
            naive = [wall.replace(tzinfo=None) for wall in theirs(walls, begin, end)]
            earlier = {localized(wall, ZoneInfo(schedule.timezone)) for wall in naive}
            later = {wall.replace(tzinfo=ZoneInfo(schedule.timezone)).astimezone(UTC) for wall in naive}
            assert earlier == later, kept
            compared += bool(naive)
