"""What a command's own server leaves out of Prefect and of uvicorn, so that it starts and ends sooner (ADR 0032).

- docket, Prefect's queue of work for later, whose imports (redis, beartype) take a quarter of the time of a server's: a server that lasts
  has telemetry, old events and automations that wait for silence to look after. Endpoints that queue work, for workers and for deleting
  runs, fail without it; no command asks them.
- The hash of all settings by which Prefect would find another application of the same process.
- uvicorn's sleeps: a tenth of a second until it sees that it is to end, and another one for connections, also if there are none.

It is imported in the process of such a server only. ``tests/flows/test_brief_parts.py`` pins the source of what this relies on.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import uvicorn

DOCKET = {
    "docket": ("CurrentDocket", "Depends", "Docket", "Logged", "Perpetual", "Retry", "Worker"),
    "docket.dependencies": ("get_single_dependency_parameter_of_type",),
    "docket.execution": ("TaskFunction",),
}
"""What Prefect's server imports of docket."""
ASKED = ("/admin", "/flows", "/flow_runs", "/v2/concurrency_limits", "/artifacts", "/logs", "/events")
"""Prefixes of the routers that a run asks. FastAPI makes each router ready that stands before the one that is asked."""


class Unused:
    """Stand for everything of docket: defaults, annotations, and a queue that takes nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    @classmethod
    def forever(cls, **_: Any) -> Unused:
        """Stand for one of Retry's ways to be made."""
        return cls()

    async def __aenter__(self) -> Unused:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@asynccontextmanager
async def _no_worker(*_: Any, **__: Any) -> AsyncIterator[None]:
    yield


def leave_out() -> None:
    """Import Prefect's server without docket and the hash."""
    for module, names in DOCKET.items():
        sys.modules[module] = ModuleType(module)
        vars(sys.modules[module]).update(dict.fromkeys(names, Unused))
    from prefect.server.api import server
    from prefect.settings import Settings

    routers = sorted(server.API_ROUTERS, key=lambda router: router.prefix not in ASKED)
    vars(server).update(background_worker=_no_worker, API_ROUTERS=tuple(routers))
    Settings.hash_key = lambda self: ""  # type: ignore[method-assign] # in the whole process


class Server(uvicorn.Server):
    """A server that ends as soon as it is told to and nothing is asked of it."""

    async def main_loop(self) -> None:
        """See uvicorn."""
        told = asyncio.Event()

        def tell() -> None:
            self.handle_exit(signal.SIGTERM, None)
            told.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, tell)
        ticks, end = asyncio.create_task(super().main_loop()), asyncio.create_task(told.wait())
        await asyncio.wait({ticks, end}, return_when=asyncio.FIRST_COMPLETED)
        ticks.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        for each in (*self.servers, *(sockets or ())):
            each.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn tells nobody that one is gone
            await asyncio.sleep(0.005)
        await self.lifespan.shutdown()
