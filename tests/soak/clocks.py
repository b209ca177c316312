"""A part of the soak without faults: schedules of every kind and ten whole years, by Prefect's own classes and by the due rules.

``make test`` compares a sample of the days on which they could differ; texts that are hostile are read here too, 20,000 in half an hour.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from random import Random

from sluice.rules.triggers import prefect_schedule
from tests.flows.prefect_dates import on_server, ours, theirs
from tests.rules.authored import KINDS, YEARS, accepted, authored
from tests.rules.hostile import hostile

TEXTS_A_SECOND = 112
"""Hostile texts for each second: 20,000 in the tenth of half an hour."""
CPU_SECONDS = 1.0


def compare(seed: int, seconds: float) -> list[str]:
    """Compare schedules for a time and read hostile texts; return what was found wrong, and print how much was done."""
    random, until = Random(seed), time.monotonic() + seconds
    wrong: list[str] = []
    schedules = starts = texts = 0
    while time.monotonic() < until:
        written = authored(random, KINDS[schedules % len(KINDS)])
        if (schedule := accepted(written)) is None:
            continue
        schedules += 1
        kept = on_server(prefect_schedule(schedule) or {})
        for year in YEARS:
            begin, end = datetime(year, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
            expected = ours(schedule, begin, end)
            starts += len(expected)
            if theirs(kept, begin, end) != expected:
                wrong.append(f"clocks: {written} has other starts in Prefect in {year}")
                break
    for _ in range(int(seconds * TEXTS_A_SECOND)):
        text, begun = hostile(random), time.process_time()
        accepted(text)
        texts += 1
        if time.process_time() - begun > CPU_SECONDS:
            wrong.append(f"clocks: {text} took more than {CPU_SECONDS} s of CPU")
    print(f"soak: {schedules} schedules with {starts} starts of ten years, and {texts} hostile texts", flush=True)
    return wrong
