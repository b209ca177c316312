"""The time of a send, from histories made by rule (C11, case 33)."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import pytest

from sluice.rules.forecast import AGE_MAX, NEAR, Forecast, SentBefore, foretell, in_words, together

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
MIB = 1 << 20


def sent(size: float, seconds: float, *, days: float = 1, delta: bool = False, makes: bool = False) -> SentBefore:
    return SentBefore(NOW - timedelta(days=days), int(size), seconds, delta, makes)


def foretold(size: float, *before: SentBefore, delta: bool = False, makes: bool = False) -> Forecast:
    return foretell(int(size), is_delta=delta, makes=makes, before=before, now=NOW)


def test_a_send_of_27_bytes_says_nothing_of_200_mib_nor_the_other_way_round() -> None:
    small, large = [sent(2_000 + number, 0.3) for number in range(5)], [sent((195 + number) * MIB, 58) for number in range(5)]
    assert foretold(195 * MIB, *small).seconds is None
    assert foretold(2_000, *large).seconds is None
    found = foretold(195 * MIB, *small, *large)
    assert found.least is not None
    assert found.most is not None
    assert 55 < found.least <= found.most <= 58
    assert foretold(2_500, *small, *large).seconds == 0.3
    assert foretold(57 * MIB, *small).basis == "nothing of about 57 MiB was sent there in the last 30 d, only 2 KiB"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("size", [9 * MIB, 40 * MIB, 900 * MIB])
def test_of_a_steady_line_the_truth_is_between_least_and_most(seed: int, size: int) -> None:
    """Whatever its fixed part and its rate."""
    dice = random.Random(seed)
    fixed, rate = dice.uniform(0.1, 5), 10 ** dice.uniform(4, 9)
    sizes = [size * dice.uniform(1 / NEAR, NEAR) for _ in range(dice.randint(1, 12))]
    found = foretold(size, *(sent(each, fixed + each / rate) for each in sizes))
    assert found.least is not None
    assert found.most is not None
    assert found.least * 0.999 <= fixed + size / rate <= found.most * 1.001


@pytest.mark.parametrize("wrong", [0.0, -3_600.0, 1e9, math.inf, math.nan, 0.001])
@pytest.mark.parametrize("position", range(4))
def test_one_that_met_a_stall_or_a_clock_that_was_set_changes_nothing_among_others(wrong: float, position: int) -> None:
    history = [sent(100 * MIB, 240) for _ in range(3)]
    history.insert(position, sent(100 * MIB, wrong))
    assert in_words(foretold(100 * MIB, *history)) == "about 4 min"


def test_no_time_comes_from_zero_seconds_bytes_or_nothing() -> None:
    assert foretold(2_000).basis == "nothing was sent there yet"
    assert foretold(2_000, sent(2_000, 0)).basis == "no send there in the last 30 d has a time that can be used"
    assert foretold(2_000, sent(0, 5)).seconds is None
    assert foretold(0, sent(100, 0.5)).seconds == 0.5


def test_only_recent_sends_count_and_the_newest_of_them() -> None:
    old = [sent(100 * MIB, 9_000, days=AGE_MAX.days + number) for number in (0.5, 40, 400_000)]
    assert foretold(100 * MIB, *old).basis == "nothing was sent there in the last 30 d"
    assert foretold(100 * MIB, sent(100 * MIB, 60), *old).seconds == 60
    quick, slow = [sent(100 * MIB, 60, days=2)] * 9, [sent(100 * MIB, 600, days=20)] * 100
    assert foretold(100 * MIB, *quick, *slow).seconds == 60
    assert foretold(100 * MIB, sent(100 * MIB, 60, days=-300)).seconds == 60, "its clock was ahead, its seconds weren't"


def test_a_delta_is_no_whole_revision_and_one_that_is_to_be_made_takes_longer() -> None:
    whole, ready, making = sent(9 * MIB, 10), sent(9 * MIB, 20, delta=True), sent(9 * MIB, 90, delta=True, makes=True)
    assert foretold(9 * MIB, whole, delta=True).basis == "no delta was sent there in the last 30 d"
    assert foretold(9 * MIB, ready).basis == "no whole revision was sent there in the last 30 d"
    assert foretold(9 * MIB, whole, ready, making, delta=True).seconds == 20
    assert foretold(9 * MIB, whole, ready, making, delta=True, makes=True).seconds == 90
    unmade = foretold(9 * MIB, whole, ready, delta=True, makes=True)
    assert unmade.seconds == 20
    assert unmade.basis == "1 send there of 9 MiB, the last 1 d ago; making the delta comes on top"
    assert foretold(9 * MIB, making, delta=True).basis == "each send there in the last 30 d made its delta first, which this one needn't"


def test_of_another_size_it_takes_between_once_and_as_many_times_as_long() -> None:
    assert (foretold(40 * MIB, sent(10 * MIB, 60)).least, foretold(40 * MIB, sent(10 * MIB, 60)).most) == (60, 240)
    assert (foretold(10 * MIB, sent(40 * MIB, 60)).least, foretold(10 * MIB, sent(40 * MIB, 60)).most) == (15, 60)
    assert foretold(40 * MIB, *[sent(5 * MIB, 500)] * 9, sent(39 * MIB, 60)).seconds == pytest.approx(61, abs=1), (
        "one of its size is better"
    )


def test_all_below_a_mib_is_one_size() -> None:
    assert foretold(900_000, sent(27, 2.0)).seconds == 2.0
    assert foretold(27, sent(900_000, 2.0)).seconds == 2.0


@pytest.mark.parametrize(
    ("least", "most", "words"),
    [
        (240, 240, "about 4 min"),
        (230, 250, "about 4 min"),
        (121, 290, "2 to 5 min"),
        (0.2, 0.9, "under 1 s"),
        (0.2, 2.4, "up to 3 s"),
        (4.1, 4.3, "about 4 s"),
        (42, 118, "40 s to 2 min"),
        (5_000, 5_200, "about 1 h 25 min"),
        (3_600, 9_100, "1 to 3 h"),
        (3_600, 12_000, "1 h to 3 h 30 min"),
        (90_000, 200_000, "25 to 56 h"),
        (3_599, 3_599, "about 1 h"),
        (59.9, 59.9, "about 1 min"),
        (None, None, "unknown"),
    ],
)
def test_words_are_no_more_exact_than_what_they_rest_on(least: float | None, most: float | None, words: str) -> None:
    assert in_words(Forecast(least, most, "")) == words


def test_words_hold_what_they_foretell_at_every_scale() -> None:
    """A range in words is never narrower than the figures; no word is 0 or has a part of 60."""
    dice = random.Random(3)
    for _ in range(5_000):
        least = 10 ** dice.uniform(-3, 7)
        most = least * 10 ** dice.uniform(0, 2)
        words = in_words(Forecast(least, most, "")).removeprefix("about ").removeprefix("up to ").removeprefix("under ")
        low, _, high = words.rpartition(" to ")
        if low:
            unit = high.rpartition(" ")[2]
            assert in_seconds(low if low.partition(" ")[2] else f"{low} {unit}") <= least
        if most > 1.5 * least:
            assert in_seconds(high) >= most
        else:
            assert in_seconds(high) == pytest.approx((least + most) / 2, rel=0.34) or most < 1


def in_seconds(words: str) -> float:
    parts = words.split()
    numbers = {unit: int(number) for number, unit in zip(parts[::2], parts[1::2], strict=True)}
    assert all(numbers.values())
    assert all(numbers.get(unit, 0) < 60 for unit in ("min", "s"))
    return numbers.get("h", 0) * 3600 + numbers.get("min", 0) * 60 + numbers.get("s", 0)


def test_sends_over_one_link_take_their_times_together() -> None:
    one, two, none = Forecast(60, 90, "one"), Forecast(30, 30, "two"), Forecast(None, None, "nothing was sent there yet")
    assert together([one, two]) == Forecast(90, 120, "the sum of 2 sends")
    assert together([one]) == one
    assert together([one, none, none]) == Forecast(None, None, "2 sends of 3 unknown: nothing was sent there yet")
