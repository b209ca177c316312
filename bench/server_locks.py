"""Measure what SQLite's lock costs the embedded Prefect server: ``python -m bench.server_locks``, a few minutes; ``--rounds N`` for more.

Three processes at once run 15 flow runs of 10 tasks each, against a new server with Sluice's heartbeat automation: one whose transactions
begin as Prefect's do, then one as ``sluice up`` starts it (ADR 0017).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from infra.orchestrator import embedded, heartbeat

PROCESSES, RUNS, TASKS = 3, 15, 10
_AS_PREFECT = "from infra.orchestrator import embedded_server as server; server.replace_begin = lambda: None; server.main()"
SERVERS = {"as Prefect": ("-c", _AS_PREFECT), "sluice up's": embedded.SERVER}
ROW = "{:<18}{:>9}{:>13}{:>10}"


def measure(server: tuple[str, ...], directory: str) -> tuple[float, int, int]:
    """Return the wall seconds of all flow runs, lock errors in the server's log, and how many processes failed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "SLUICE_"))}
    environment |= {"SLUICE_STATE": directory, "PREFECT_HOME": f"{directory}/client", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(embedded, "SERVER", server),
        embedded.reached(Path(directory), say=lambda _: None),
    ):
        asyncio.run(_create_automation())
        began = time.monotonic()
        processes = [subprocess.Popen([sys.executable, "-m", "bench.server_locks", "--drive"]) for _ in range(PROCESSES)]
        failed = sum(process.wait() != 0 for process in processes)
        seconds = time.monotonic() - began
    log = (Path(directory) / "logs" / "server.log").read_text(errors="replace")
    return seconds, log.count("(sqlite3.OperationalError) database is locked"), failed


async def _create_automation() -> None:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        await client.create_automation(heartbeat.heartbeat_automation())


def drive() -> None:
    """Run the flow runs of one process."""
    from prefect import flow, tags, task

    from sluice.distributor.plan.deployments import TAG

    @task
    def step(number: int) -> int:
        return number

    @flow
    def steps() -> int:
        return sum(step(number) for number in range(TASKS))

    with tags(TAG):  # what the automation matches
        for _ in range(RUNS):
            steps()


def main() -> None:
    """Measure both servers, in turn."""
    parser = argparse.ArgumentParser(prog="bench.server_locks")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drive:
        drive()
        return
    print(ROW.format("server", "seconds", "lock errors", "failed"))
    for _ in range(arguments.rounds):
        for name, server in SERVERS.items():
            with tempfile.TemporaryDirectory() as directory:
                seconds, errors, failed = measure(server, directory)
            print(ROW.format(name, f"{seconds:.1f}", errors, failed), flush=True)


if __name__ == "__main__":
    main()
