"""Sizes and durations as authors write them: a number and a unit (``30 min``, ``2 GiB``).

Every number has a unit, so that no reader has to guess. ``format_*`` writes what ``parse_*`` reads back exactly.
"""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

from sluice.blueprint.author_error import AuthorError

_NUMBER_UNIT = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,6})?)\s*([A-Za-z]+)")

SECONDS = {"s": 1, "min": 60, "h": 3600, "day": 86400, "week": 604800}
"""Canonical units of a duration, in seconds."""

_DURATION_WORDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "day"),
    **dict.fromkeys(("w", "week", "weeks"), "week"),
}

BYTES = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
"""Units of a size: binary with an ``i``, decimal without."""

DURATION_MAX = timedelta(days=3660)
"""Ten years: beyond it a duration is a slip of the pen."""
SIZE_MAX = 2**60
"""1 EiB: beyond it a size is a slip of the pen."""

DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?\s*(" + "|".join(sorted(_DURATION_WORDS, key=lambda w: (-len(w), w))) + r")$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?\s*(" + "|".join(BYTES) + r")$"


class UnitError(AuthorError):
    """Not a number with a known unit."""


def parse_duration(text: str) -> timedelta:
    """Parse ``30 min`` and the like, down to a microsecond; UnitError for anything else."""
    number, unit = _split(text, "duration", "30 min", "s, min, h, day or week")
    if unit not in _DURATION_WORDS:
        raise UnitError(f"{unit!r} is not a unit of time", "use s, min, h, day or week")
    seconds = number * SECONDS[_DURATION_WORDS[unit]]
    if seconds > Fraction(DURATION_MAX.total_seconds()):
        raise UnitError(f"{text.strip()} is more than ten years", "write a shorter time")
    return timedelta(microseconds=round(seconds * 1_000_000))


def parse_size(text: str) -> int:
    """Parse ``2 GiB`` and the like into bytes; UnitError for anything else."""
    number, unit = _split(text, "size", "2 GiB", "B, KiB, MiB, GiB or TiB")
    if unit not in BYTES:
        raise UnitError(f"{unit!r} is not a unit of size", "use B, KiB, MiB, GiB or TiB (or kB, MB, GB, TB)")
    size = number * BYTES[unit]
    if size.denominator != 1:
        raise UnitError(f"{text.strip()} is not a whole number of bytes", "write a whole number or a smaller unit")
    if size > SIZE_MAX:
        raise UnitError(f"{text.strip()} is more than 1 EiB", "write a smaller size")
    return int(size)


def format_size(size: int) -> str:
    """Write the shortest exact form in binary units: 1536 is ``1536 B``, 2048 is ``2 KiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % BYTES[unit] == 0:
            return f"{size // BYTES[unit]} {unit}"
    return f"{size} B"


def _split(text: str, what: str, example: str, units: str) -> tuple[Fraction, str]:
    match = _NUMBER_UNIT.fullmatch(text.strip())
    if match is None:
        if re.fullmatch(r"[0-9.]+", text.strip()):
            raise UnitError(f"{text.strip()} has no unit", f"add one of {units}, such as {example}")
        raise UnitError(f"{text.strip()!r} is no {what}", f"write a number and a unit, such as {example}")
    return Fraction(match[1]), match[2]
