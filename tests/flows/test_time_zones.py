"""Prefect lists the time zones of the system once in a process, not for each schedule."""

from collections.abc import Iterator

import pytest
from prefect._internal.schemas import validators
from prefect.client.schemas.schedules import CronSchedule
from prefect.server.schemas.schedules import CronSchedule as ServerCronSchedule
from prefect.server.schemas.schedules import IntervalSchedule, RRuleSchedule
from prefect.types import _datetime

from infra.orchestrator import time_zones


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """One entry for each listing; the system knows two zones."""
    listed: list[str] = []

    def available() -> set[str]:
        listed.append("all")
        return {"UTC", "Europe/Oslo"}

    monkeypatch.setattr(_datetime, "available_timezones", available)
    monkeypatch.setattr(validators, "get_timezones", _datetime.get_timezones)  # undone at the end
    time_zones._listed.cache_clear()
    yield listed
    time_zones._listed.cache_clear()


def validate() -> None:
    for kind in (CronSchedule, ServerCronSchedule):
        kind(cron="0 2 * * *", timezone="Europe/Oslo")
        with pytest.raises(ValueError, match="Invalid timezone"):
            kind(cron="0 2 * * *", timezone="Europe/Osla")
    IntervalSchedule(interval=3600, timezone="Europe/Oslo")
    RRuleSchedule(rrule="FREQ=DAILY", timezone="Europe/Oslo")


def test_they_are_listed_once_for_all_schedules_and_an_unknown_one_is_refused(listings: list[str]) -> None:
    validate()
    assert len(listings) > 1, "the reason for all this"
    listings.clear()
    time_zones.list_time_zones_once()
    validate()
    assert len(listings) == 1
