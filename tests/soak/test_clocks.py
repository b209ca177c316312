"""The soak's part without faults, for a second: schedules over ten whole years against Prefect's classes, and hostile texts."""

from __future__ import annotations

from tests.soak.clocks import compare


def test_schedules_have_the_same_starts_in_prefect_over_ten_whole_years() -> None:
    assert compare(2026, 1.0) == []
