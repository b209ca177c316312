"""Use Prefect in a command: connect to a server, show its log, and run a flow here or leave it to a worker.

Everything Prefect reads from the environment is set before it is imported, which happens nowhere else in ``cli``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from cli.progress import shown
from cli.session import Session, say
from sluice.errors import OrchestratorError

_OF_PREFECT = ("prefect.flow_engine", "prefect.task_engine", "prefect.utilities.visualization", "fastapi.encoders")
_OF_OURS = ("infra.store.files", "infra.sources.files", "infra.ledger.sql", "infra.transports.address", "infra.orchestrator.translate")
_OF_OTHERS = ("anyio._backends._asyncio", "hdiffpatch", "tuf.api.serialization.json", "_strptime")
NEEDED_BY_RUNS = (*_OF_PREFECT, *_OF_OURS, *_OF_OTHERS)
"""Modules that a run imports as it begins. While a server starts there is time for that."""
Value = str | bool | list[str] | None
"""A parameter of a flow: names, never objects."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a flow run ended, in its own words."""

    completed: bool
    message: str
    summary: str = ""
    """The message without what was told of each Subscriber; empty: they are the same."""
    told: frozenset[tuple[str, str]] = frozenset()
    """Pairs of Subscriber and Distribution whose failure was told while it ran."""


@dataclass(frozen=True, slots=True)
class Detached:
    """A flow run that waits for a worker."""

    name: str
    url: str


@contextmanager
def prefect_server(session: Session, *flows: str) -> Iterator[None]:
    """Provide a Prefect server to talk to, for as long as the context lasts.

    Args:
        flows: Those that will run: they are imported while the server starts.
    """
    _prepare(session)
    gc.disable()  # imports leave no garbage: looking for it takes a sixth of their time
    from infra.orchestrator.embedded import reached

    def meanwhile() -> None:
        for name in (*(f"flows.{flow}" for flow in flows), *(NEEDED_BY_RUNS if flows else ())):
            import_module(name)
        gc.freeze()
        gc.enable()

    with reached(session.directory, say=say, meanwhile=meanwhile, forks=threading.active_count() == 1):
        yield


def run_flow(session: Session, name: str, parameters: Mapping[str, Value]) -> RunEnd:
    """Run a flow in this process, seen in Prefect as a run of its deployment, and wait for its end. Call it within ``prefect_server``.

    Returns:
        How it ended as a whole. The outcome on each Subscriber is in the ledger.
    Raises:
        SluiceError: The error of the flow as a whole.
    """
    from infra.orchestrator.own_runs import run_here
    from infra.orchestrator.translate import translated
    from sluice.distributor.plan.deployment_names import deployment_of

    found = getattr(import_module(f"flows.{name}"), name)
    with (
        nullcontext(set[tuple[str, str]]()) if session.verbose else shown() as told,
        translated(f"running flow {name}"),  # errors of the flow itself are in the state
    ):
        state = asyncio.run(run_here(found, parameters, deployment_of(session.site, name, parameters)))
    if state.is_completed():
        return RunEnd(True, str(state.message or state.name))
    error = state.data if isinstance(state.data, BaseException) else _awaited(state.result(raise_on_failure=False))
    if isinstance(error, BaseException) and type(error).__module__.partition(".")[0] != "prefect":
        raise error
    return RunEnd(False, str(state.message or state.name), error if isinstance(error, str) else "", frozenset(told))


def detach(session: Session, deployment: str, parameters: Mapping[str, Value]) -> Detached:
    """Create a run of a deployment, for a worker to take.

    Raises:
        OrchestratorError: No server is known, or it lacks the deployment.
    """
    _prepare(session)
    from infra.orchestrator.embedded import reached
    from infra.orchestrator.server_address import running_server

    address = running_server(session.directory)
    if address is None:
        raise OrchestratorError("no Prefect server is running to take the flow run", remedy="run: sluice up; or leave out --detach")
    with reached(session.directory, say=say):
        from prefect.deployments import arun_deployment
        from prefect.exceptions import ObjectNotFound

        from infra.orchestrator.translate import translated

        with translated(f"starting {deployment}"):
            try:
                run = asyncio.run(arun_deployment(deployment, parameters=dict(parameters), timeout=0, as_subflow=False))
            except ObjectNotFound as error:
                raise OrchestratorError(f"Prefect has no deployment {deployment}", remedy="run `sluice apply`") from error
    return Detached(run.name, f"{address.ui_url}/runs/flow-run/{run.id}")


def _prepare(session: Session) -> None:
    os.environ["SLUICE_SITE"] = str(session.directory)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    if not session.verbose:
        # The console only: Prefect keeps the log of the run.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        os.environ.setdefault("PREFECT_LOGGING_COLORS", "false")


def _awaited(value: Any) -> Any:
    """Return a value that Prefect gives either at once or as a coroutine."""
    return asyncio.run(value) if asyncio.iscoroutine(value) else value
