"""The values of a blueprint as types: names, texts, durations, sizes, times of day, days, time zones, selectors.

Each is checked here once, names its error in the author's words, and describes itself to the JSON Schema. YAML's own guesses
are never followed: a number in the place of text is refused, because ``22:00`` without quotes is 1320.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.read.line_traps import quoted
from sluice.blueprint.schema import units
from sluice.blueprint.schema.selector import parse_selector
from sluice.blueprint.schema.suggest import nearest
from sluice.model.locked import WAIT_MAX
from sluice.model.names import NAME_MAX, name_is_valid, suggested_name
from sluice.rules.schedule_text import WEEKDAYS

T = TypeVar("T")

NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_SECRET = re.compile("secret:[A-Z][A-Z0-9_]{0,63}")
TEXT_MAX = 4096
"""Characters of a one-line text."""
YEARS = range(1970, 9999)
"""Years of a date: near the calendar's ends other zones have no time."""


def refuse(what: str, remedy: str, *sub: str | int) -> PydanticCustomError:
    """Make an error at the value (or below it, at ``sub``)."""
    return PydanticCustomError("sluice", "{what}", {"what": what, "remedy": remedy, "sub": list(sub)})


def wrong_type(expected: str, example: str) -> PydanticCustomError:
    """Make an error about a value that YAML reads as another type; it is worded later, when the typed text is known."""
    return PydanticCustomError("sluice_type", "{expected}", {"expected": expected, "example": example})


def text_value(parse: Callable[[str], T], expected: str, example: str, **schema: object) -> PlainValidator:
    """Make a validator for a value that is written as text.

    Args:
        schema: Keywords of its JSON Schema.
    """

    def validate(value: object) -> T:
        if not isinstance(value, str):
            raise wrong_type(expected, example)
        try:
            return parse(value)
        except AuthorError as e:
            raise refuse(e.what, e.remedy) from None

    return PlainValidator(validate, json_schema_input_type=Annotated[str, WithJsonSchema({"type": "string", **schema})])


def _name(text: str) -> str:
    if name_is_valid(text):
        return text
    if " - " in text:
        raise refuse(f"{text!r} is two entries of a list", "indent both alike")
    if re.search(r"[!=]=", text):
        raise refuse(f"{text!r} is a selector, not a name", f"write {{where: {quoted(text)}}}")
    if tag := re.fullmatch(r"(\w+)=(\w+)", text):
        raise refuse(f"{text!r} is no name", f"write a name, or where Subscribers are listed {{where: '{tag[1]} == \"{tag[2]}\"'}}")
    if "*" in text or "?" in text:
        raise refuse(
            f"{text!r} is a pattern, not a name", "write each name, or where Subscribers are listed {where: ...} with a tag of theirs"
        )
    remedy = f"write {suggested_name(text)} (letters, digits, - and _, at most {NAME_MAX}, no period)"
    raise refuse(f"{text!r} is not a valid name", remedy)


def _line(text: str) -> str:
    if len(text) > TEXT_MAX or any(ord(c) < 32 or ord(c) == 127 for c in text):
        what = "is too long" if len(text) > TEXT_MAX else "contains a control character"
        remedy = f"write one line of at most {TEXT_MAX} characters; within double quotes \\ begins an escape, such as \\n or \\t"
        raise refuse(what, remedy)
    return text


def filled(text: str) -> str:
    """Parse one line that isn't blank."""
    if not text.strip():
        raise refuse("is empty", "write a value, or leave the key out")
    return _line(text)


def _secret(text: str) -> str:
    if re.fullmatch(_SECRET, text) is None:
        raise refuse("is not the name of a secret", "write secret:NAME, in capital letters, digits and _, never the secret itself")
    return text.removeprefix("secret:")


def _positive_duration(text: str) -> timedelta:
    duration = units.parse_duration(text)
    if duration <= timedelta(0):
        raise refuse("is zero", "write more than 0 s")
    return duration


def _wait(text: str) -> timedelta:
    duration = units.parse_duration(text)
    if duration % timedelta(seconds=1) or not timedelta(seconds=1) <= duration <= WAIT_MAX:
        raise refuse(f"{text.strip()} is not a valid wait", "write whole seconds, from 1 s to 1 h")
    return duration


def _clock(text: str) -> time:
    if re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        return time.fromisoformat(text)
    remedy = 'write "00:00" for midnight' if text.startswith("24") else 'write hours and minutes, such as "02:00" or "22:30"'
    raise refuse(f"{text!r} is not a time of day", remedy)


def _moment(text: str) -> datetime:
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?", text):
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            if found.year in YEARS:
                return found
            raise refuse(f"{text!r} is before {YEARS.start} or after {YEARS.stop - 1}", 'write it like "2026-12-01 02:00"')
    raise refuse(f"{text!r} is not a date and time", 'write it like "2026-12-01 02:00"; timezone: is a key of its own')


def bare_host(text: str) -> str:
    """Return a host without the brackets of an IPv6 address; AuthorError if these hold another text."""
    if not text.startswith("["):
        return text
    try:
        ipaddress.IPv6Address(text[1:-1])
    except ValueError:
        raise AuthorError(f"{text[1:-1]!r} is not an IPv6 address", "correct it") from None
    return text[1:-1]


_NO_ZONES = {"Factory", "localtime", "posixrules"}
"""Names in the directory of time zones that are none, or this machine's own."""


@cache
def _zones() -> frozenset[str]:
    """List all zones: found in the file system, which takes milliseconds."""
    return frozenset(available_timezones() - _NO_ZONES)


def timezone(text: str) -> str:
    """Return the IANA name itself, or raise an error with the nearest one."""
    try:
        if text.startswith(("posix/", "right/")) or text in _NO_ZONES:
            raise ValueError("not a place, or of this machine alone")
        ZoneInfo(text)
    except (OSError, ValueError, KeyError):
        raise refuse(f"{text!r} is not an IANA time zone", nearest(text, _zones()) or "write one such as Europe/Helsinki") from None
    return text


def _selector(text: str) -> str:
    parse_selector(text)
    return text


def _owner(value: object) -> str:
    if isinstance(value, list):
        what = f"names {len(value)} owners" if len(value) != 1 else "is a list"
        raise refuse(what, "a Distribution has exactly one Distributor: write its name alone")
    if not isinstance(value, str):
        raise wrong_type("a name", "hq")
    return _name(value)


def _mode(text: str) -> str:
    if text == "keep" or re.fullmatch(r"[0-7]{3,4}", text):
        return text
    raise refuse(f"{text!r} is not a valid mode", 'write keep, or octal digits in quotes such as "0644"')


def _weekday(text: str) -> int:
    if text.lower() in WEEKDAYS:
        return WEEKDAYS.index(text.lower())
    raise refuse(f"{text!r} is not a day of the week", f"the days are {', '.join(WEEKDAYS)}")


def _weekdays(value: object) -> tuple[int, ...]:
    def parse(part: object) -> Iterator[int]:
        if not isinstance(part, str):
            raise wrong_type("days such as mon-fri", "mon-fri")
        for piece in part.split(","):
            first, dash, last = piece.strip().partition("-")
            begin = _weekday(first.strip())
            end = _weekday(last.strip()) if dash else begin
            yield from ((begin + n) % 7 for n in range((end - begin) % 7 + 1))

    return tuple(sorted(_days(value, parse, "days such as mon-fri", "mon-fri", "days such as mon-fri, or leave the key out")))


def _month_days(value: object) -> tuple[int, ...]:
    def parse(part: object) -> Iterator[int]:
        if part != "last" and not (isinstance(part, int) and not isinstance(part, bool) and 1 <= part <= 31):
            raise refuse(f"{part!r} is not a day of a month", "write numbers from 1 to 31, or last")
        yield part if isinstance(part, int) else -1

    found = _days(value, parse, "days of the month", "[1, 15, last]", "a day such as 1 or last")
    return tuple(sorted(found, key=lambda d: (d < 0, d)))


def _year_days(value: object) -> tuple[date, ...]:
    def parse(part: object) -> Iterator[date]:
        if not isinstance(part, str):
            raise wrong_type('days of the year such as "12-24"', "12-24")
        try:
            if re.fullmatch(r"[0-9]{2}-[0-9]{2}", part) is None:
                raise ValueError
            yield date.fromisoformat(f"2000-{part}")
        except ValueError:
            raise refuse(f"{part!r} is not a day of a year", 'write month and day, such as "12-24"') from None

    return tuple(sorted(_days(value, parse, "days of the year", '["12-24"]', 'a day such as "12-24"')))


def _days(value: object, parse: Callable[[object], Iterator[T]], expected: str, example: str, remedy: str) -> set[T]:
    """Parse a day or a list of days."""
    if value is None or isinstance(value, dict | bool):
        raise wrong_type(expected, example)
    found = {day for part in (value if isinstance(value, list) else [value]) for day in parse(part)}
    if not found:
        raise refuse("names no day", f"write {remedy}")
    return found


_MOMENT_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?$"
_MONTH_DAY = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 31}, {"const": "last"}]}


def _one_or_more(day: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [day, {"type": "array", "items": day, "minItems": 1}]})


Name = Annotated[str, text_value(_name, "a name", "web-1", pattern=NAME_PATTERN)]
Owner = Annotated[str, PlainValidator(_owner), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
Text = Annotated[str, text_value(_line, "text", "some words", maxLength=TEXT_MAX)]
Filled = Annotated[str, text_value(filled, "text", "some words", minLength=1, maxLength=TEXT_MAX)]
Secret = Annotated[str, text_value(_secret, "the name of a secret", "secret:SSH_PASSPHRASE", pattern=_SECRET.pattern)]
Duration = Annotated[timedelta, text_value(units.parse_duration, "a duration with a unit", "30 min", pattern=units.DURATION_PATTERN)]
PositiveDuration = Annotated[timedelta, text_value(_positive_duration, "a duration with a unit", "30 min", pattern=units.DURATION_PATTERN)]
Wait = Annotated[timedelta, text_value(_wait, "a duration with a unit", "10 s", pattern=units.DURATION_PATTERN)]
Size = Annotated[int, text_value(units.parse_size, "a size with a unit", "2 GiB", pattern=units.SIZE_PATTERN)]
Clock = Annotated[time, text_value(_clock, "a time of day in quotes", "22:00", pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Moment = Annotated[datetime, text_value(_moment, "a date and time in quotes", "2026-12-01 02:00", pattern=_MOMENT_PATTERN)]
TimeZone = Annotated[str, text_value(timezone, "an IANA time zone", "Europe/Helsinki", minLength=1)]
Where = Annotated[str, text_value(_selector, "a selector", 'where: role == "web"', minLength=1)]
Mode = Annotated[str, text_value(_mode, "keep or octal digits in quotes", "0644", pattern="^(keep|[0-7]{3,4})$")]
Weekdays = Annotated[tuple[int, ...], PlainValidator(_weekdays), _one_or_more({"type": "string"})]
MonthDays = Annotated[tuple[int, ...], PlainValidator(_month_days), _one_or_more(_MONTH_DAY)]
YearDays = Annotated[tuple[date, ...], PlainValidator(_year_days), _one_or_more({"type": "string", "pattern": "^[0-9]{2}-[0-9]{2}$"})]
