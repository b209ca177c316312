"""Killing one operation of this process at its n-th change, for tests that try every n: no mounts, no root, one call at a time."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable
from itertools import count

from tests.conftest import missing
from tests.soak.calls import is_supported
from tests.soak.running import Kill, Runner, Work


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Run ``act`` in a child process that is killed just before its mutating call number ``step``; a write is done by half first.

    Returns:
        Whether it was killed; False: it came to its end before.
    """
    if not is_supported():
        missing("x86-64, for the watching of calls")
    runner, calls = Runner(), count()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns where other threads live; the child only does ``act``
        ended = runner.run(Work(lambda _: (act(), 0)[1]), lambda _point, _told: Kill(half=True) if next(calls) == step else None)
    assert ended.code in (0, -signal.SIGKILL), ended.said
    runner.check_alone()
    return ended.was_reached
