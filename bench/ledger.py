"""Measure writes to the ledger by several threads, with and without group commit, on SQLite and on a real PostgreSQL (durable, of its own).

    python -m bench.ledger [ROUNDS]

A write is an event with a change of state. Rounds are interleaved; printed are medians of writes per second, milliseconds of this
process's CPU per write, and the ratio of the two. Where, is the directory for temporary files: it must be on a disk.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.lab import program
from infra.ledger import group
from infra.ledger.sql import open_ledger
from sluice.model.event import Event, EventKind
from sluice.model.state import CurrentState
from tests.system.postgres import cluster

NOW = datetime(2026, 12, 1, tzinfo=UTC)
THREADS = (1, 8, 64)
SECONDS = 1.5
"""Seconds that one measurement writes."""


def once_more(state: CurrentState) -> CurrentState:
    """Return a changed state."""
    return replace(state, bytes_sent=state.bytes_sent + 1)


def measure(place: str, threads: int) -> tuple[float, float]:
    """Return writes per second, and CPU milliseconds per write."""
    with closing(open_ledger(place)) as ledger, ThreadPoolExecutor(threads) as pool:
        end = time.monotonic() + SECONDS

        def load(number: int) -> int:
            written = 0
            while time.monotonic() < end:
                ledger.record(Event(NOW, EventKind.SENT, distribution="zone", subscriber=f"host-{number}"), once_more)
                written += 1
            return written

        start, cpu = time.monotonic(), time.process_time()
        written = sum(pool.map(load, range(threads)))
        return written / (time.monotonic() - start), 1000 * (time.process_time() - cpu) / written


@contextmanager
def places() -> Iterator[dict[str, Callable[[], str]]]:
    """Map names of databases to functions that make a new ledger's location."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory, cluster(program, durable=True) as server:
        numbers = iter(range(1_000_000))
        yield {
            "SQLite": lambda: str(Path(directory) / f"{next(numbers)}" / "ledger.db"),
            "PostgreSQL": lambda: server.url(server.database()),
        }


def main(rounds: int) -> None:
    """Measure and print."""
    found: dict[tuple[str, int, int], list[tuple[float, float]]] = {}
    together = group.BATCH_MAX
    with places() as made:
        for _ in range(rounds):
            for name, place in made.items():
                for threads in THREADS:
                    for most in (1, together):
                        group.BATCH_MAX = most
                        found.setdefault((name, threads, most), []).append(measure(place(), threads))
    print(f"{'':12}{'threads':>8}{'alone/s':>10}{'shared/s':>10}{'ratio':>7}{'CPU alone':>11}{'shared':>8}  ms a write")
    for name in made:
        for threads in THREADS:
            (alone, alone_cpu), (shared, shared_cpu) = (
                tuple(median(each[i] for each in found[name, threads, most]) for i in (0, 1)) for most in (1, together)
            )
            print(f"{name:12}{threads:8}{alone:10.0f}{shared:10.0f}{shared / alone:7.2f}{alone_cpu:11.2f}{shared_cpu:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
