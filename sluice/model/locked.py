"""What an extraction does when files that it must replace are locked (F2). Data only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

RETRIES_MAX = 100
WAIT_MAX = timedelta(hours=1)
"""Most time between two looks at locked files."""


@dataclass(frozen=True, slots=True)
class Locked:
    """Wait and look again, before anything is replaced; afterwards it fails, and the next Extract tries again."""

    retries: int = 0
    """Looks after the first one."""
    wait: timedelta = timedelta(0)
    """Between two looks; at least one second where there are retries."""


FAILS_AT_ONCE = Locked()
