"""An agent that isn't root, in a child process."""

from __future__ import annotations

import _strptime  # noqa: F401 - Python imports it late, when a child without rights may not be allowed to read it
import os
import traceback
from collections.abc import Callable

NOBODY = 65534


def without_root(work: Callable[[], object]) -> None:
    """Run something as an account without root's rights; what it raises is shown, and an assertion fails here."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - the parent sees the status
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
