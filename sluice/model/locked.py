"""How an extraction waits for locked files that it must replace (F2). Data only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

RETRIES_MAX = 100
WAIT_MAX = timedelta(hours=1)
"""Longest time between two checks of locked files."""


@dataclass(frozen=True, slots=True)
class Locked:
    """Wait and check again before anything is replaced; if they stay locked the extraction fails, and the next Extract tries again."""

    retries: int = 0
    """Number of checks after the first one."""
    wait: timedelta = timedelta(0)
    """Time between two checks; at least one second if there are retries."""


FAILS_AT_ONCE = Locked()
