"""``make soak``: kills, failing calls and power cuts for a while; ``--sample`` is the small number of each that ``make test`` takes.

Prints what it found as it finds it, and at last what it did: counts, points reached of all there are, seeds, controls. Exit code 0 means
that nothing was lost, nothing half-visible, nothing left over, and that every control was found out. The last tenth of the time goes to
schedules: their starts in ten whole years, by Prefect and by the due rules, and hostile texts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.soak.calls import die_with_parent, is_supported
from tests.soak.report import Report
from tests.soak.schedule import Limits, Worker

MINUTES = 30.0
WORKERS = 2
SHARE = 0.1
"""Of the time, for what is compared without faults (``tests/soak/clocks.py``)."""
INTERRUPTED = 130
"""Exit code of a run that somebody ended before its time."""


def main() -> int:
    """Run what the arguments say. Returns the exit code."""
    options = _options()
    if os.geteuid() != 0 or not is_supported():
        sys.stderr.write("soak: root on Linux for x86-64 is needed, for mounts, loop devices and the watching of calls\n")
        return 2
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"soak: seed {seed}", flush=True)
    os.umask(0o022)
    base = Path(tempfile.mkdtemp(prefix="sluice-soak-"))
    begun = time.monotonic()
    clocks_seconds = 0 if options.sample or options.only else 60 * options.minutes * SHARE
    limits = Limits(
        seed=seed,
        workers=1 if options.only and not options.sample else options.workers,
        until=begun + 60 * options.minutes - clocks_seconds,
        sample=options.sample,
        only=tuple(options.only),
    )
    try:
        found, is_interrupted = _run(limits, base)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    whole = Report.merged(found)
    print(whole.text(seed, time.monotonic() - begun), flush=True)
    if is_interrupted:
        return INTERRUPTED
    if clocks_seconds:
        from tests.soak.clocks import compare

        if wrong := compare(seed, clocks_seconds):
            print("\n".join(wrong), flush=True)
            return 1
    return 0 if whole.is_good and len(found) == limits.workers else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=str(__doc__).partition("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"how long (default {MINUTES:g})")
    parser.add_argument("--seed", type=int, help="of trees and order; a new one where it is left out")
    parser.add_argument("--workers", type=int, default=WORKERS, help=f"processes that try at once (default {WORKERS})")
    parser.add_argument("--sample", type=int, nargs="?", const=1, default=0, metavar="TIMES", help="a few of everything, once or TIMES")
    only = "this trial alone, as a violation names it; with --sample, this situation alone, such as build/delta"
    parser.add_argument("--only", action="append", default=[], metavar="TRIAL", help=only)
    return parser.parse_args()


def _run(limits: Limits, base: Path) -> tuple[list[Report], bool]:
    """One process a worker, each with its own mounts; what they report, and whether it was interrupted: then each finishes its trial."""
    pids: dict[int, socket.socket] = {}
    for number in range(limits.workers):
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _work(lambda: Worker(number, limits, base).run(), theirs)  # noqa: B023 - it runs here and now
        theirs.close()
        pids[pid] = ours

    is_interrupted = False

    def interrupted(_number: int, _frame: object) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    print("soak: under way", flush=True)
    found: list[Report] = []
    for pid, channel in pids.items():
        with channel, channel.makefile("rb") as file:
            data = file.read()
        os.waitpid(pid, 0)
        if data:
            found.append(Report.parse(json.loads(data)))
        else:
            print("soak: a worker died; what it said is above", flush=True)
    return found, is_interrupted


def _work(work: Callable[[], Report], channel: socket.socket) -> None:
    """In a forked process: do it, report, end."""
    code = 1
    try:
        parent = os.getppid()
        os.setsid()  # a terminal's interrupt is for the main process alone, which asks for an orderly end
        die_with_parent(parent)
        channel.sendall(json.dumps(work().values()).encode())
        code = 0
    except BaseException:  # noqa: BLE001 - the child must end here whatever happens
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
