"""Signatures outlast the time between two sends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sluice.model.schedule import IMMEDIATELY, NEVER, Kind, Schedule
from sluice.rules.lifetimes import longest_interval


@pytest.mark.parametrize(
    ("schedule", "longest"),
    [
        (NEVER, timedelta(0)),
        (IMMEDIATELY, timedelta(0)),
        (Schedule(Kind.INTERVAL, interval=timedelta(days=40)), timedelta(days=40)),
        (Schedule(Kind.DAILY, weekdays=(0,)), timedelta(days=7)),
        (Schedule(Kind.WEEKLY, weekdays=(2,)), timedelta(days=7)),
        (Schedule(Kind.MONTHLY, month_days=(31,)), timedelta(days=62)),
        (Schedule(Kind.YEARLY), timedelta(days=366)),
    ],
)
def test_an_interval_is_never_longer_than_its_bound(schedule: Schedule, longest: timedelta) -> None:
    assert longest_interval(schedule) == longest


def test_every_kind_has_a_bound() -> None:
    for kind in Kind:
        assert longest_interval(Schedule(kind, interval=timedelta(hours=1))) >= timedelta(0)
