"""Foretell how long a send takes from comparable recent ones over the same link, or say why that can't be done. Pure.

1. A send is comparable if it went over the same link, not more than ``AGE_MAX`` ago, as a delta if this one is one, whole if it is whole,
   and was as large: within twice or half the size if there are such, else within ``NEAR``. Below ``SMALL`` all are one size: they spend
   their time on connecting and signatures.
2. If this one has to make its ``.ted`` first, those that did so too count, if there are any; else only those that didn't.
3. Of the comparable ones the newest ``RECENT_MAX`` count, and of three or more not the third at either end: a stall, or a clock that was
   set in mid-send, is nobody's future.
4. A send takes some time whatever its size, and some for each byte. So one that is r times as large takes between once and r times as long,
   and a smaller one accordingly: hence the least and the most.

Extraction isn't part of a send's time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf

from sluice.rules.space import size
from sluice.rules.wording import ago, counted

AGE_MAX = timedelta(days=30)
SMALL = 1 << 20
"""Bytes."""
NEAR = 8
"""Most times that a comparable send is larger or smaller."""
RECENT_MAX = 9
"""Comparable sends that count; an odd number of them is left if the third at either end doesn't."""
_STEPS = ((10, 1), (60, 5), (300, 30), (1800, 60), (7200, 300), (36_000, 1800))
"""Seconds below which a foretold time is rounded to the second number."""


@dataclass(frozen=True, slots=True)
class SentBefore:
    """A send that went through."""

    at: datetime
    bytes: int
    """Both ways, in its last try."""
    seconds: float
    """Of its last try, without pauses and without waiting for a slot."""
    is_delta: bool
    makes: bool
    """It made its ``.ted`` first."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The time of a send; None if it is unknown."""

    least: float | None
    """Seconds."""
    most: float | None
    basis: str
    """What it rests on, or why it is unknown."""

    @property
    def seconds(self) -> float | None:
        """The middle."""
        return None if self.least is None or self.most is None else (self.least + self.most) / 2


def foretell(moved: int, *, is_delta: bool, makes: bool, before: Sequence[SentBefore], now: datetime) -> Forecast:
    """Foretell the time of a send of ``moved`` bytes, both ways, from those over its link, newest first."""
    recent = [each for each in before if now - each.at <= AGE_MAX]
    timed = [each for each in recent if each.bytes > 0 and 0 < each.seconds < inf]
    kind = [each for each in timed if each.is_delta == is_delta]
    alike = [each for each in kind if each.makes == makes] or ([each for each in kind if not each.makes] if makes else [])
    found = next((near for factor in (2, NEAR) if (near := [each for each in alike if _times(moved, each.bytes, factor)])), [])
    if not found:
        return Forecast(None, None, _why_unknown(moved, is_delta, before, recent, timed, kind, alike))
    counting = found[:RECENT_MAX]
    cut = len(counting) // 3
    ratios = [(each.seconds, each.seconds * max(moved, SMALL) / max(each.bytes, SMALL)) for each in counting]
    least, most = sorted(map(min, ratios))[cut], sorted(map(max, ratios))[-1 - cut]
    basis = f"{counted(len(counting), 'send')} there of {_sizes(counting)}, the last {ago(counting[0].at, now)}"
    return Forecast(least, most, basis + ("; making the delta comes on top" if makes and not counting[0].makes else ""))


def together(forecasts: Iterable[Forecast]) -> Forecast:
    """Add the times of sends that go one after the other; unknown if one is."""
    found = list(forecasts)
    least, most = [each.least for each in found if each.least is not None], [each.most for each in found if each.most is not None]
    if len(least) < len(found):
        unknown = next(each for each in found if each.least is None)
        return Forecast(None, None, f"{counted(len(found) - len(least), 'send')} of {len(found)} unknown: {unknown.basis}")
    return Forecast(sum(least), sum(most), f"the sum of {counted(len(found), 'send')}" if len(found) > 1 else found[0].basis)


def in_words(forecast: Forecast) -> str:
    """Write ``about 4 min``, ``2 to 5 min``, ``up to 3 s``, ``under 1 s`` or ``unknown``: no more exact than what it rests on."""
    if forecast.least is None or forecast.most is None:
        return "unknown"
    if forecast.most < 1:
        return "under 1 s"
    if forecast.most <= 1.5 * forecast.least:
        middle = (forecast.least + forecast.most) / 2
        return f"about {_text(round(middle / _step(middle)) * _step(middle))}"
    least = int(forecast.least // _step(forecast.least)) * _step(forecast.least)
    most = -int(-forecast.most // _step(forecast.most)) * _step(forecast.most)
    if least == 0:
        return f"up to {_text(most)}"
    low, high = _text(least), _text(most)
    if low.partition(" ")[2] == high.partition(" ")[2]:  # both in one unit
        low = low.partition(" ")[0]
    return f"{low} to {high}"


def _times(one: int, other: int, factor: int) -> bool:
    """Whether one size is at most ``factor`` times the other."""
    small, large = sorted((max(one, SMALL), max(other, SMALL)))
    return large <= factor * small


def _why_unknown(
    moved: int,
    is_delta: bool,
    before: Sequence[SentBefore],
    recent: Sequence[SentBefore],
    timed: Sequence[SentBefore],
    kind: Sequence[SentBefore],
    alike: Sequence[SentBefore],
) -> str:
    recently = f"in the last {AGE_MAX.days} d"
    if not before:
        return "nothing was sent there yet"
    if not recent:
        return f"nothing was sent there {recently}"
    if not timed:
        return f"no send there {recently} has a time that can be used"
    if not kind:
        return f"no {'delta' if is_delta else 'whole revision'} was sent there {recently}"
    if not alike:
        return f"each send there {recently} made its delta first, which this one needn't"
    return f"nothing of about {size(moved)} was sent there {recently}, only {_sizes(alike)}"


def _sizes(sends: Sequence[SentBefore]) -> str:
    found = [each.bytes for each in sends]
    return " to ".join(dict.fromkeys((size(min(found)), size(max(found)))))


def _step(seconds: float) -> int:
    return next((step for below, step in _STEPS if seconds < below), 3600)


def _text(seconds: int) -> str:
    """Write a rounded time in h, min and s, without zeros."""
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
