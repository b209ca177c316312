"""Schedules that somebody writes to see what gives: huge numbers, long lists, impossible dates, half of a grammar."""

from __future__ import annotations

from random import Random

from tests.rules.authored import KINDS, authored

_NUMBERS = ("0", "1", "-1", "2", "29", "30", "31", "53", "54", "59", "60", "99", "366", "9999", "999999", "9" * 20, "+1", "--1")
_PARTS = (
    *("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYDAY"),
    *("BYHOUR", "BYMINUTE", "BYSECOND", "BYSETPOS", "BYEASTER", "X"),
)
_DAYS = ("MO", "SU", "-1FR", "5MO", "53SU", "-54TU", "99MO", "XX")
_ENDS = ("99991231T235959Z", "20991231T000000Z", "20000101", "20270101T000000", "T", "2027")
_BEGINS = (
    "",
    "DTSTART:20000101T000000 ",
    "DTSTART:20991231T235959 ",
    "DTSTART:99991231T000000 ",
    "DTSTART;TZID=X:20270101T000000 ",
    "RRULE:",
)
_FIELDS = ("*", "L", "LW", "5L", "mon#5", "?", "JAN-DEC", "sun-sat", "H", "R", "mon", "feb", "30", "29", "31", "1")


def hostile(random: Random) -> dict[str, str]:
    """Make a schedule: a rule, an expression, or an author's with a character changed."""
    zone = random.choice(["UTC", "Europe/Helsinki", "Europe/Dublin", "Africa/Cairo"])
    match random.randint(0, 2):
        case 0:
            return {"rrule": _rule(random), "timezone": zone}
        case 1:
            return {"cron": " ".join(_field(random) for _ in range(random.choice([5, 5, 5, 5, 4, 6]))), "timezone": zone}
    made = authored(random, random.choice(KINDS))
    key = random.choice([key for key, value in made.items() if isinstance(value, str)])
    at = random.randrange(len(made[key]))
    made[key] = made[key][:at] + random.choice("0919*/,-LTZ;=\n :") + made[key][at + random.randint(0, 2) :]
    return made


def _numbers(random: Random) -> str:
    return ",".join(random.choice(_NUMBERS) for _ in range(random.choice([1, 1, 2, 30, 200])))


def _field(random: Random) -> str:
    numbers = [random.choice(_NUMBERS) for _ in range(3)]
    return random.choice([random.choice(_FIELDS), _numbers(random), f"*/{numbers[0]}", "{}-{}/{}".format(*numbers)])


def _rule(random: Random) -> str:
    parts = [f"FREQ={random.choice(['DAILY', 'WEEKLY', 'MONTHLY', 'YEARLY'])}"]
    for _ in range(random.randint(1, 8)):
        match name := random.choice(_PARTS):
            case "FREQ":
                value = random.choice(["DAILY", "HOURLY", "SECONDLY", "X"])
            case "UNTIL":
                value = random.choice(_ENDS)
            case "WKST" | "BYDAY":
                value = ",".join(random.choice(_DAYS) for _ in range(random.choice([1, 60])))
            case _:
                value = _numbers(random)
        parts.append(f"{name}={value}")
    return random.choice(_BEGINS) + ";".join(parts)
