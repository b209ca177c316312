"""Reading any one schedule takes bounded time and memory, and what is refused is refused in words."""

from __future__ import annotations

import subprocess
import sys
import time
from random import Random

import pytest

from tests.conftest import some
from tests.rules.authored import accepted
from tests.rules.hostile import hostile

CPU_SECONDS = 1.0
MEMORY = 100 * 2**20
WORST = [
    {"rrule": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"},
    {"rrule": "DTSTART:20000101T000000 FREQ=DAILY;BYSETPOS=99"},
    {"rrule": "FREQ=WEEKLY;INTERVAL=9999;BYMONTH=2;BYHOUR=" + ",".join(map(str, range(24))) + ";BYMINUTE=0,59"},
    {"rrule": "FREQ=YEARLY;BYWEEKNO=53;BYYEARDAY=1;BYMONTHDAY=30;BYDAY=MO"},
    {"rrule": "FREQ=MONTHLY;BYSETPOS=" + ",".join(map(str, range(1, 150)))},
    {"rrule": "FREQ=YEARLY;COUNT=1000000;UNTIL=20991231T000000Z"},
    {"cron": "59 23 31 2 *"},
    {"cron": "0 0 29 2 " + ",".join(["mon"] * 900)},
    {"cron": ",".join(["0-59"] * 700) + " * * * *"},
    {"every": "1 min", "starting": "1970-01-01 00:00"},
    {"every": "3660 day", "starting": "9998-12-31 23:59"},
    {"at": "9998-12-31 23:59", "timezone": "Pacific/Apia"},
]


@pytest.mark.parametrize("written", WORST, ids=lambda written: next(iter(written.values()))[:40])
def test_a_hard_schedule_is_read_at_once(written: dict[str, str]) -> None:
    begun = time.process_time()
    accepted(written)
    assert time.process_time() - begun < CPU_SECONDS


def test_any_text_is_accepted_or_refused_within_a_second_of_cpu() -> None:
    """``python -m tests.soak`` tries 20,000."""
    random = Random(32)
    outcomes = []
    for _ in range(some(1500)):
        written = hostile(random)
        begun = time.process_time()
        outcomes.append(accepted(written) is not None)
        assert time.process_time() - begun < CPU_SECONDS, written
    assert 0 < sum(outcomes) < len(outcomes)


def test_hard_schedules_take_little_memory() -> None:
    """In a process of its own, from its imports on; kilobytes are Linux's unit of the peak."""
    code = (
        "import resource\nfrom tests.rules.authored import accepted\nfrom tests.rules.test_schedule_texts import WORST\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak()\nfor written in WORST: accepted(written)\nprint(peak() - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=".")
    assert int(found.stdout) < MEMORY
