"""Prefect's form of a schedule is read back into a blueprint's words, and what is read back starts at the same instants."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from random import Random
from typing import Any

import pytest

from sluice.model.schedule import Kind, Schedule
from sluice.rules.due import of_whole_windows, starts
from sluice.rules.schedule_text import schedule_text
from sluice.rules.triggers import prefect_schedule
from sluice.rules.triggers_back import schedule_of
from tests.rules.authored import KINDS, accepted, authored

SINCE = datetime(2027, 3, 1, tzinfo=UTC)
HELSINKI = {"timezone": "Europe/Helsinki"}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ({"daily": {"at": "22:00"}, **HELSINKI}, "daily 22:00 (Europe/Helsinki)"),
        ({"daily": {"at": "06:30", "days": "mon-fri"}}, "daily 06:30, mon tue wed thu fri (UTC)"),
        ({"weekly": {"days": "sun", "at": "02:15"}, **HELSINKI}, "weekly 02:15, sun (Europe/Helsinki)"),
        ({"monthly": {"days": [1, 15], "at": "05:00"}}, "monthly 05:00, day 1 15 (UTC)"),
        ({"monthly": {"days": "last", "at": "05:00"}}, "monthly 05:00, day last (UTC)"),
        ({"yearly": {"days": ["12-24", "12-31"], "at": "12:00"}}, "yearly 12:00, 12-24 12-31 (UTC)"),
        ({"daily": {"from": "08:00", "to": "18:00", "every": "30 min"}}, "daily 08:00 to 18:00 every 30 min (UTC)"),
        ({"daily": {"at": "03:30"}, **HELSINKI}, "daily 03:30 (Europe/Helsinki)"),  # a rule in Prefect: the time is skipped once a year
        ({"every": "3 h"}, "every 3 h (UTC)"),
        ({"every": "10 min"}, "every 10 min (UTC)"),
        ({"every": "36 h"}, "every 36 h (UTC)"),
        ({"at": "2027-12-01 02:00"}, "once, 2027-12-01 02:00 (UTC)"),
        ({"cron": "5 4 * 1-6 *"}, "cron 5 4 * 1,2,3,4,5,6 * (UTC)"),
    ],
    ids=str,
)
def test_the_words_are_the_blueprints(written: object, text: str) -> None:
    schedule = accepted(written)
    assert schedule is not None
    form = prefect_schedule(schedule)
    assert form is not None
    found = schedule_of(form)
    assert found is not None
    assert schedule_text(found) == text


def first(schedule: Schedule) -> list[datetime]:
    """The next starts; of what is searched for ten years, those of the first eight."""
    return [start for start in islice(starts(schedule, SINCE), 12) if start.year < SINCE.year + 8]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_back_starts_at_the_same_instants(kind: str) -> None:
    random = Random(f"back {kind}")
    for _ in range(40):
        schedule = accepted(authored(random, kind))
        if schedule is None or (form := prefect_schedule(schedule)) is None:
            continue
        found = schedule_of(form)
        assert found is not None, form
        if found.kind is Kind.RRULE and schedule.kind is not Kind.RRULE:
            assert found.rrule == form["rrule"], "Prefect's own rule, as it is"
            continue
        assert first(found) == first(of_whole_windows(schedule)), (schedule, found)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"cron": "@daily"},
        {"cron": "0 22 * * mon#1", "timezone": "Europe/Helsinki"},
        {"cron": "not cron at all \x1b[2J"},
        {"cron": "0 22 * * *", "timezone": "Mars/Olympus"},
        {"cron": "0 22 * * *", "timezone": "../../etc/passwd"},
        {"interval": 0, "anchor_date": "2020-01-01T00:00:00Z"},
        {"interval": 1e300, "anchor_date": "2020-01-01T00:00:00Z"},
        {"interval": 3600, "anchor_date": "yesterday"},
        {"rrule": "DTSTART:99999999T000000\nRRULE:FREQ=DAILY;COUNT=1"},
        {"rrule": "FREQ=DAILY\nRRULE:BYHOUR=x;BYMINUTE=1"},
        {"rrule": "FREQ=DAILY\nRRULE:BYHOUR=25;BYMINUTE=61;BYDAY=XX"},
    ],
    ids=str,
)
def test_whatever_somebody_wrote_into_prefect_is_shown_or_left(form: dict[str, Any]) -> None:
    found = schedule_of(form)
    assert found is None or schedule_text(found)
