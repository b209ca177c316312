"""Read Prefect's form of a schedule back into a schedule as a blueprint has it: for people, who know those words.

A schedule is proposed from the form's parts and taken only if ``triggers.py`` makes the same form of it; else the form's own expression
is one that a blueprint can hold too, as ``cron`` or ``rrule``. A window of which Prefect knows the begin alone is read as that time of day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from sluice.model.schedule import Kind, Schedule, Window
from sluice.rules.recurrence import ANCHOR, Times, cron_fields, cron_problem
from sluice.rules.triggers import SHORTEST_INTERVAL, prefect_schedule

_LEAP_YEAR = 2000
_BYDAY = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_SIMPLE = re.compile(r"DTSTART:(\d{8}T\d{6})\nRRULE:FREQ=(DAILY|MINUTELY);(COUNT|INTERVAL)=(\d{1,7})")


def schedule_of(form: Mapping[str, Any]) -> Schedule | None:
    """Return a schedule with the starts of a form; None if it is none of Prefect's interval, cron and rrule, or can't be read."""
    zone = str(form.get("timezone") or "UTC")
    try:
        ZoneInfo(zone)
    except (KeyError, OSError, ValueError):
        return None
    try:
        if (found := next((each for each in _proposed(form, zone) if _same(prefect_schedule(each), form)), None)) is not None:
            return found
        if "interval" in form:
            return _interval(form)
    except (ArithmeticError, KeyError, ValueError):  # numbers of a rule that are no dates, or whatever somebody wrote into Prefect
        pass
    if "cron" in form:
        return Schedule(Kind.CRON, zone, cron=str(form["cron"]))
    return Schedule(Kind.RRULE, zone, rrule=str(form["rrule"])) if "rrule" in form else None


def _interval(form: Mapping[str, Any]) -> Schedule | None:
    interval, begin = timedelta(seconds=float(form["interval"])), datetime.fromisoformat(str(form["anchor_date"])).astimezone(UTC)
    if interval < SHORTEST_INTERVAL:
        return None
    usual = (begin - ANCHOR.replace(tzinfo=UTC)) % interval == timedelta(0)
    return Schedule(Kind.INTERVAL, "UTC", interval=interval, at=None if usual else begin)


def _same(made: Mapping[str, Any] | None, form: Mapping[str, Any]) -> bool:
    keys = ("cron", "rrule", "interval")
    zones = [str(each.get("timezone") or "UTC") for each in (made or {}, form)]
    days = [bool(each.get("day_or", True)) for each in (made or {}, form)]
    return made is not None and zones[0] == zones[1] and days[0] == days[1] and all(made.get(key) == form.get(key) for key in keys)


def _proposed(form: Mapping[str, Any], zone: str) -> Iterator[Schedule]:
    """Yield what a form might have been made of, the likeliest first."""
    if "cron" in form and cron_problem(str(form["cron"])) is None:
        yield from _calendar(cron_fields(str(form["cron"])), zone)
    if "rrule" not in form:
        return
    text = str(form["rrule"])
    if simple := _SIMPLE.fullmatch(text):
        begin, number = datetime.strptime(simple[1], "%Y%m%dT%H%M%S").replace(tzinfo=ZoneInfo(zone)), int(simple[4])
        every = timedelta(minutes=number) if simple[2] == "MINUTELY" else timedelta(days=number)
        yield Schedule(Kind.AT, zone, at=begin)
        yield Schedule(Kind.INTERVAL, zone, interval=every)
        yield Schedule(Kind.INTERVAL, zone, interval=every, at=begin)
        return
    rules = [dict(part.split("=", 1) for part in line.split(";") if "=" in part) for line in text.split("\nRRULE:")[1:]]
    if rules and all({"BYHOUR", "BYMINUTE"} <= rule.keys() for rule in rules):
        yield from _calendar([_times(rule) for rule in rules], zone)


def _times(rule: Mapping[str, str]) -> Times:
    def numbers(name: str) -> tuple[int, ...]:
        return tuple(int(each) for each in rule[name].split(",")) if name in rule else ()

    days = tuple(_BYDAY.index(day) for day in rule["BYDAY"].split(",")) if "BYDAY" in rule else ()
    return Times(numbers("BYMINUTE"), numbers("BYHOUR"), numbers("BYMONTHDAY"), numbers("BYMONTH"), days)


def _calendar(found: list[Times], zone: str) -> Iterator[Schedule]:
    """Yield daily, weekly, monthly and yearly schedules that start at these times."""
    clock = sorted({time(hour, minute) for each in found for hour in each.hours for minute in each.minutes})
    weekdays, month_days = found[0].weekdays, found[0].month_days
    dates = tuple(date(_LEAP_YEAR, month, day) for each in found for month in each.months for day in each.month_days if day > 0)
    for window in _windows(clock):
        if (dates or month_days) and window.every is not None:
            continue  # a blueprint's windows repeat on days of the week alone
        if dates:
            yield Schedule(Kind.YEARLY, zone, window=window, year_days=dates)
        elif month_days:
            yield Schedule(Kind.MONTHLY, zone, window=window, month_days=month_days)
        else:
            yield Schedule(Kind.WEEKLY if len(weekdays) == 1 else Kind.DAILY, zone, window=window, weekdays=weekdays)


def _windows(clock: list[time]) -> Iterator[Window]:
    """Yield one time of day, or a window with starts as far apart as these."""
    if len(clock) == 1:
        yield Window(clock[0], clock[0])
        return
    moments = [datetime.combine(ANCHOR, each) for each in clock]
    if len(gaps := {b - a for a, b in pairwise(moments)}) == 1:
        every = gaps.pop()
        yield Window(clock[0], (moments[-1] + every).time(), every=every)
