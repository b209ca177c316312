"""Prefect starts a run exactly when ``rules/due.py`` finds it due, over both clock changes of a year."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

from sluice.model.schedule import Kind, Schedule, Window
from sluice.rules.due import starts
from sluice.rules.triggers import PrefectSchedule, prefect_schedule

ZONE = "Europe/Helsinki"
SPRING = datetime(2026, 3, 27, 0, 0, 1, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 23, 0, 0, 1, tzinfo=UTC)


def window(start: str, end: str = "", every: timedelta | None = None) -> Window:
    return Window(time.fromisoformat(start), time.fromisoformat(end or start), every=every)


def daily(start: str, end: str = "", every: timedelta | None = None, weekdays: tuple[int, ...] = ()) -> Schedule:
    return Schedule(Kind.DAILY, ZONE, window=window(start, end, every), weekdays=weekdays)


SCHEDULES = {
    "every 3 hours": Schedule(Kind.INTERVAL, ZONE, interval=timedelta(hours=3)),
    "every 36 hours": Schedule(Kind.INTERVAL, ZONE, interval=timedelta(hours=36)),
    "every 2 days": Schedule(Kind.INTERVAL, ZONE, interval=timedelta(days=2), at=datetime(2026, 1, 1, 2, tzinfo=ZoneInfo(ZONE))),
    "once": Schedule(Kind.AT, ZONE, at=datetime(2026, 10, 25, 2, tzinfo=ZoneInfo(ZONE))),
    "daily": daily("22:00"),
    "daily at the hour that is skipped and doubled": daily("03:30"),
    "a window": daily("01:00", "05:00", weekdays=(0, 6)),
    "repeated over midnight": daily("22:00", "02:00", timedelta(minutes=45), weekdays=(5, 6)),
    "repeated all day": daily("00:00", "23:00", timedelta(minutes=15)),
    "weekly": Schedule(Kind.WEEKLY, ZONE, window=window("02:15"), weekdays=(0, 3)),
    "every day": Schedule(Kind.INTERVAL, ZONE, interval=timedelta(days=1)),
    "every week": Schedule(Kind.INTERVAL, ZONE, interval=timedelta(days=7)),
    "repeated over midnight every day": daily("22:00", "02:00", timedelta(minutes=30)),
    "monthly": Schedule(Kind.MONTHLY, ZONE, window=window("02:15"), month_days=(1, 31)),
    "yearly, once": Schedule(Kind.YEARLY, ZONE, window=window("02:15"), year_days=(date(2000, 3, 29),)),
    "monthly with the last day": Schedule(Kind.MONTHLY, ZONE, window=window("02:15"), month_days=(1, 31, -1)),
    "yearly": Schedule(Kind.YEARLY, ZONE, window=window("02:15"), year_days=(date(2000, 3, 29), date(2000, 12, 24))),
    "cron": Schedule(Kind.CRON, ZONE, cron="30 3 * * *"),
    "cron all day": Schedule(Kind.CRON, ZONE, cron="*/30 * * * *"),
    "rule": Schedule(Kind.RRULE, ZONE, rrule="FREQ=MONTHLY;BYDAY=1MO;BYHOUR=2;BYMINUTE=0;BYSECOND=0"),
    "rule with a beginning": Schedule(Kind.RRULE, ZONE, rrule="DTSTART:20260105T100000\nRRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=90"),
}


def theirs(form: PrefectSchedule, after: datetime, count: int) -> list[datetime]:
    made: CronSchedule | IntervalSchedule | RRuleSchedule
    zone = str(form["timezone"])
    if "cron" in form:
        made = CronSchedule(cron=str(form["cron"]), timezone=zone)
    elif "rrule" in form:
        made = RRuleSchedule(rrule=str(form["rrule"]), timezone=zone)
    else:
        anchor = datetime.fromisoformat(str(form["anchor_date"]))
        made = IntervalSchedule(interval=timedelta(seconds=float(form["interval"])), anchor_date=anchor, timezone=zone)
    return [datetime.fromisoformat(d.isoformat()).astimezone(UTC) for d in asyncio.run(made.get_dates(n=count, start=after))]


@pytest.mark.parametrize("after", [SPRING, AUTUMN], ids=["spring", "autumn"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_prefect_sees_the_same_starts(name: str, after: datetime) -> None:
    form = prefect_schedule(SCHEDULES[name])
    assert form is not None
    assert theirs(form, after, 10) == list(islice(starts(SCHEDULES[name], after), 10))
