"""Where a flow run works: its workplace, opened once per run, found by its tasks through the context.

Tasks take names and revision numbers; what those name is looked up here. So nothing but names is ever a parameter in Prefect.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

from prefect import runtime
from prefect.logging import get_run_logger

from infra.workplace import Workplace, environment_site, workplace_in
from sluice.errors import SluiceError
from sluice.model.schedule import Schedule
from sluice.model.site import Site
from sluice.rules.due import window_is_over

_PLACE: ContextVar[Place] = ContextVar("place")
SCHEDULED_TAG = "auto-scheduled"
"""Prefect's tag on runs that a schedule made."""


@dataclass(frozen=True, slots=True)
class Place:
    """A run's workplace and the run's id, which the ledger notes."""

    work: Workplace
    flow_run: str


def here() -> Place:
    """The place of the run we are in."""
    return _PLACE.get()


def read_site() -> Site:
    """The site as it stands now. Raises SiteError, NotFoundError."""
    return environment_site()


@contextmanager
def working(site: Site, distributor: str) -> Iterator[Place]:
    """Open the workplace of a Distributor for the run; a run inside another one's context uses that one's."""
    outer = _PLACE.get(None)
    if outer is not None and outer.work.site is site and outer.work.distributor.name == distributor:
        yield outer
        return
    place = Place(workplace_in(site, distributor), str(runtime.flow_run.id or ""))
    token = _PLACE.set(place)
    quiet_known_errors()
    try:
        with place.work:
            yield place
    finally:
        _PLACE.reset(token)


def log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """The run's logger: what is said here is read in Prefect's UI."""
    return get_run_logger()


def was_scheduled() -> bool:
    """Whether a schedule started this run, rather than a person or another run."""
    return SCHEDULED_TAG in (runtime.flow_run.tags or [])


def is_too_late(schedule: Schedule) -> bool:
    """Whether a schedule started this run so late that its window is over: no worker ran then (D3)."""
    planned = runtime.flow_run.scheduled_start_time
    return was_scheduled() and planned is not None and window_is_over(schedule, planned, datetime.now(UTC))


class _WithoutTraceback(logging.Filter):
    """Our own errors say in one sentence what is wrong and what to do; fifty lines of Prefect's engine say nothing more."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], SluiceError):
            record.exc_info = None
            record.exc_text = None
        return True


def quiet_known_errors() -> None:
    """Leave tracebacks of SluiceErrors out of the logs of runs."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, _WithoutTraceback) for known in logger.filters):
            logger.addFilter(_WithoutTraceback())
