"""Schedules as authors might write them, of every kind and many of them wrong: what ``validate`` accepts is what the tests compare."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sluice.blueprint.schema.schedules import ScheduleValue
from sluice.model.schedule import Schedule
from sluice.rules.clocks import clock_changes
from sluice.rules.due import next_start, of_whole_windows

ZONES = (
    "UTC",
    "Europe/Helsinki",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "Asia/Beirut",
    "America/Sao_Paulo",
    "Europe/Dublin",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Pacific/Apia",
    "America/Havana",
    "America/St_Johns",
    "Pacific/Chatham",
)
"""With midnights that are skipped, half and double hours, winter time as the deviation, two changes a month, and none."""
KINDS = ("every", "at", "daily", "weekly", "monthly", "yearly", "cron", "rrule")
YEARS = range(2026, 2036)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ADAPTER: TypeAdapter[Schedule] = TypeAdapter(ScheduleValue)


def accepted(written: object) -> Schedule | None:
    """Read a schedule as a blueprint's key is read; None if it is refused."""
    try:
        return _ADAPTER.validate_python(written)
    except ValidationError:
        return None


def authored(random: Random, kind: str) -> dict[str, Any]:
    """Make one of a kind; about half of the times of day are ones that some clock skips or repeats."""
    made: dict[str, Any] = {"timezone": random.choice(ZONES)}
    match kind:
        case "every":
            made["every"] = random.choice(["1 min", "7 min", "1 h", "90 min", "36 h", "1 day", "2 days", "9 days", "90 s"])
            if random.random() < 0.6:
                year, month, day = random.choice([2019, 2025, 2026, 2027, 2031]), random.randint(1, 12), random.randint(1, 28)
                made["starting"] = f"{year}-{month:02}-{day:02} {clock(random)}"
        case "at":
            change = random.choice(clock_changes(made["timezone"]) or [(datetime(2027, 5, 1),)])[0]  # noqa: DTZ001 a wall-clock time
            made["at"] = f"{change + timedelta(minutes=random.randint(-90, 90)):%Y-%m-%d %H:%M}"
        case "daily" | "weekly":
            days = sorted(set(random.choices(_WEEKDAYS, k=random.randint(1, 5))))
            made[kind] = window(random) | ({"days": days} if kind == "weekly" or random.random() < 0.4 else {})
        case "monthly":
            days = random.choices([1, 2, 15, 28, 29, 30, 31, "last"], k=random.randint(1, 4))
            made[kind] = {k: v for k, v in window(random).items() if k != "every"} | {"days": days}
        case "yearly":
            days = random.choices(["02-29", "02-28", "03-01", "03-29", "10-25", "12-31", "01-01", "06-15"], k=random.randint(1, 3))
            made[kind] = {k: v for k, v in window(random).items() if k != "every"} | {"days": days}
        case "cron":
            made[kind] = cron(random)
        case "rrule":
            made[kind] = rrule(random)
    return made


def clock(random: Random) -> str:
    """Make a time of day."""
    return f"{random.choice([0, 0, 1, 1, 2, 2, 3, 3, 4, 12, 22, 23]):02}:{random.choice([0, 0, 15, 30, 59, random.randint(0, 59)]):02}"


def window(random: Random) -> dict[str, Any]:
    """Make a time of day or a window of each kind."""
    if random.random() < 0.4:
        return {"at": clock(random)}
    made: dict[str, Any] = {"from": clock(random), "to": clock(random)}
    match random.randint(0, 2):
        case 0:
            made["random"] = True
        case 1:
            made["every"] = f"{random.choice([3, 5, 9, 15, 20, 30, 44, 45, 60, 75, 90])} min"
    return made


def cron(random: Random) -> str:
    """Make an expression of five fields, with ranges, steps, lists, names, and days of both kinds."""
    minute = random.choice(["0", "30", "*/15", "5-59/20", "59", "*", "0,45", str(random.randint(0, 59))])
    hour = random.choice(["2", "3", "0", "*", "*/2", "0-6", "1,2,3", "22-23", "0-5/2", str(random.randint(0, 23))])
    day = random.choice(["*", "*", "*", "*/2", "1", "15", "1,31", "29", "*/10", "28-31", "1-7", "31", "30-30", "L", "?"])
    month = random.choice(["*", "*", "*", "2", "jan-mar", "*/3", "10-10", "APR,OCT"])
    weekday = random.choice(["*", "*", "*", "mon", "mon-fri", "0", "7", "6-6", "*/2", "sun,wed", "5L", "1#2"])
    return f"{minute} {hour} {day} {month} {weekday}"


def rrule(random: Random) -> str:
    """Make a rule out of RFC 5545's parts."""
    frequency = random.choice(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"])
    parts = [f"FREQ={frequency}"]
    chosen = {
        "INTERVAL": random.choice(["2", "3", "5"]),
        "BYMONTH": random.choice(["3,10", "2", "4,5,9"]),
        "BYMONTHDAY": random.choice(["-1", "29,30,31", "1,15", "24"]),
        "BYDAY": random.choice(["MO", "FR,SU", "SU"] if frequency in ("DAILY", "WEEKLY") else ["-1SU", "2MO", "1FR,3FR", "SU"]),
        "BYHOUR": random.choice(["2", "3", "0,1,2", "22", "12"]),
        "BYMINUTE": random.choice(["0", "30", "0,15,30,45"]),
        "BYSECOND": random.choice(["0", "7"]),
        "WKST": random.choice(["SU", "MO", "WE"]),
    }
    if frequency == "YEARLY":
        chosen |= {"BYWEEKNO": random.choice(["1", "20", "53", "-1"]), "BYYEARDAY": random.choice(["1", "366", "-1", "60,100"])}
    if frequency in ("MONTHLY", "YEARLY") and random.random() < 0.2:
        chosen["BYSETPOS"] = random.choice(["1", "-1", "1,-1"])
    parts += [f"{name}={value}" for name, value in chosen.items() if random.random() < 0.35]
    end = random.choice(["", "", "COUNT=40", "COUNT=3", "UNTIL=20300601T000000Z", "UNTIL=20281029T003000Z", "UNTIL=20311231"])
    begin = random.choice(
        ["", "", "DTSTART:20260105T023000\n", "DTSTART:20240229T033000\n", "DTSTART:20301231T235959\n", "DTSTART:20260105T023000Z\n"]
    )
    return f"{begin}RRULE:{';'.join([*parts, *filter(None, [end])])}"


def stretches(schedule: Schedule, random: Random) -> list[tuple[datetime, datetime]]:
    """List what is compared: around the first start, each clock change, year's end and 29 February of ten years, and a month."""
    walls = [before for before, _ in clock_changes(schedule.timezone)]
    days = [date(year, 12, 31) for year in YEARS] + [date(year, 2, 29) for year in YEARS if year % 4 == 0]
    instants = [wall.replace(tzinfo=UTC) for wall in walls] + [datetime(d.year, d.month, d.day, tzinfo=UTC) for d in days]
    month = datetime(random.choice(YEARS), random.randint(1, 12), 16, tzinfo=UTC)
    if (first := next_start(of_whole_windows(schedule), datetime(2026, 2, 1, tzinfo=UTC))) is not None:
        instants.insert(0, first)
    found = [(instant, timedelta(days=3)) for instant in instants] + [(month, timedelta(days=15))]
    return [(instant - around - timedelta(seconds=1), instant + around) for instant, around in found]
