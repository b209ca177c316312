"""Run the same send as a real flow run: ``python -m bench.flow DISTRIBUTION`` against the server that the environment names."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from bench.lab import Lab
from bench.processes import prefect_server, run


@contextmanager
def measure_flow(lab: Lab, distribution: str) -> Iterator[Callable[[], tuple[float, float]]]:
    """Start a Prefect server, and return a call that runs the flow once in a process of its own.

    The call returns (seconds of interpreter start and imports, seconds of the flow run).
    """
    with prefect_server(lab.directory, lab.site) as environment:
        environment["PREFECT_LOGGING_LEVEL"] = "ERROR"

        def flow() -> tuple[float, float]:
            ended = run([sys.executable, "-m", "bench.flow", distribution], log=lab.directory / "log", environment=environment)
            marks = ended.figures
            return marks["imported"] - ended.began, marks["ran"] - marks["imported"]

        yield flow


def main(distribution: str) -> None:
    """Run the flow once; it asks the host, whatever the ledger has about it."""
    from flows.send import send

    imported = time.monotonic()
    state = asyncio.run(cast(Any, send)(distribution=distribution, check=True, extract=True, return_state=True))
    if not state.is_completed():
        raise RuntimeError(f"the flow run ended {state}")
    print(json.dumps({"imported": imported, "ran": time.monotonic()}))


if __name__ == "__main__":
    main(sys.argv[1])
