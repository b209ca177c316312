"""Sizes and durations: what is written is read back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.blueprint.schema.units import (
    UnitError,
    format_size,
    parse_duration,
    parse_size,
)
from sluice.rules.schedule_text import format_duration


@given(st.timedeltas(timedelta(0), timedelta(days=3660)))
def test_a_duration_that_was_written_is_read_back(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.integers(0, 2**60))
def test_a_size_that_was_written_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300 s", 300),
        ("30 min", 1800),
        ("30min", 1800),
        ("1 day", 86400),
        ("3 h", 10800),
        ("1 hour", 3600),
        ("1.5 h", 5400),
        ("2 weeks", 1209600),
    ],
)
def test_durations_read_as_people_write_them(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("text", "size"), [("2 GiB", 2**31), ("20 MiB", 20 << 20), ("1.5 KiB", 1536), ("1 MB", 10**6), ("0 B", 0)])
def test_sizes_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "min", "-5 s", "1e9 s", "5 fortnights", "99999 weeks", "5 s s", "٣ s"])
def test_what_is_no_duration_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(UnitError) as refusal:
        parse_duration(text)
    assert refusal.value.remedy


@pytest.mark.parametrize("text", ["", "5", "5 G", "0.3 B", "5 mib", "99999999 TiB", "5 KiB/s"])
def test_what_is_no_size_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(UnitError) as refusal:
        parse_size(text)
    assert refusal.value.remedy
