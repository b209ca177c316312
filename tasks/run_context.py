"""Find the context of a flow run from its tasks: the workplace, opened once per run, and what its sends share.

Tasks take names and revision numbers and look up here what those name. So nothing but names is ever a parameter in Prefect.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from prefect import runtime
from prefect.client.schemas.objects import State as RunState
from prefect.logging import get_run_logger
from prefect.tasks import Task

from infra.workplace import Workplace, environment_site, workplace_in
from sluice.errors import SluiceError
from sluice.model.schedule import Schedule
from sluice.model.site import Site
from sluice.rules.due import window_is_over
from sluice.rules.wording import printable
from tasks.send_session import SendSession

_CONTEXT: ContextVar[RunContext] = ContextVar("run_context")
T = TypeVar("T")
WORKER_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""A worker names the run in the environment of its process."""
SCHEDULED_TAG = "auto-scheduled"
"""Prefect's tag on runs that a schedule made."""


@dataclass(slots=True)
class RunContext:
    """The context of one flow run."""

    work: Workplace
    allow_removals: bool = False
    """Its orders allow more removals than ``max_removals``."""
    after: list[RunState[Any]] = field(default_factory=list, init=False)
    """The end of the step before, for the arrows of Prefect's graph."""
    hosts: int = field(default=0, init=False)
    """Subscribers that are sent to, or extract, in this run: beyond some, less is shown of each."""
    _session: SendSession | None = field(default=None, init=False)

    @property
    def session(self) -> SendSession:
        """What its sends share. Only within ``sending``."""
        if self._session is None:
            raise ValueError("this run isn't sending")
        return self._session

    async def step(self, task: Task[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Await a step of the run, which waits for the step before; return, or raise, as it does."""
        state = await end_of(task, *args, after=self.after)
        self.after = [state]
        result: T = await state.aresult()
        return result

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[SendSession]:
        """Open what the run's sends and extractions share, for its tasks."""
        session = self._session = SendSession(self.work, allow_removals=self.allow_removals)
        try:
            yield session
        finally:
            self._session = None
            await asyncio.to_thread(session.close)


async def end_of(task: Task[..., Any], *args: object, after: Sequence[Any]) -> RunState[Any]:
    """Await a task run; return its end, whatever that is.

    Args:
        after: Ends of the task runs that it comes after.
    """
    state: RunState[Any] = await cast(Any, task)(*args, wait_for=after, return_state=True)
    return state


def current() -> RunContext:
    """Return the context of the run that calls."""
    return _CONTEXT.get()


def read_site() -> Site:
    """Read the site as it is now. Raises SiteError, NotFoundError."""
    return environment_site()


@contextmanager
def run_context(site: Site, distributor: str, *, allow_removals: bool = False) -> Iterator[RunContext]:
    """Open the workplace of a Distributor for the run; a run inside another one's context uses that one's."""
    outer = _CONTEXT.get(None)
    if outer is not None and outer.work.site is site and outer.work.distributor.name == distributor:
        yield outer
        return
    with workplace_in(site, distributor, str(runtime.flow_run.id or "")) as work:
        context = RunContext(work, allow_removals)
        token = _CONTEXT.set(context)
        quiet_known_errors()
        try:
            yield context
        finally:
            _CONTEXT.reset(token)


def log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """Return the run's logger, whose lines are read in Prefect's UI."""
    return get_run_logger()


def is_left_to_a_worker() -> bool:
    """Whether a worker carries this run out, rather than a command, whose runs may have a deployment too."""
    return WORKER_VARIABLE in os.environ


def was_scheduled() -> bool:
    """Whether a schedule started this run, rather than a person or another run."""
    return SCHEDULED_TAG in (runtime.flow_run.tags or [])


def is_too_late(schedule: Schedule) -> bool:
    """Whether a schedule started this run so late that its window is over: no worker ran then (D3)."""
    planned = runtime.flow_run.scheduled_start_time
    return was_scheduled() and planned is not None and window_is_over(schedule, planned, datetime.now(UTC))


class _Readable(logging.Filter):
    """Leaves out control characters, and tracebacks of our own errors.

    Those say in one sentence what is wrong and what to do; fifty lines of Prefect's engine add nothing.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage(), keep="\n\t"), ()
        if record.exc_info and isinstance(record.exc_info[1], SluiceError):
            record.exc_info = None
            record.exc_text = None
        return True


def quiet_known_errors() -> None:
    """Make the logs of runs readable."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Readable) for known in logger.filters):
            logger.addFilter(_Readable())
