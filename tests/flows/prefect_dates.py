"""The instants at which Prefect's server starts a schedule's runs, by its own classes and on its own way there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile

from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.server.schemas import actions
from prefect.server.schemas.schedules import SCHEDULE_TYPES

from infra.orchestrator.time_zones import list_time_zones_once
from sluice.model.schedule import Schedule
from sluice.rules.due import of_whole_windows, starts
from sluice.rules.triggers import PrefectSchedule


def on_server(form: PrefectSchedule) -> SCHEDULE_TYPES:
    """Make Prefect's schedule as it arrives at the server: through the client's model, JSON and the server's model."""
    list_time_zones_once()
    sent = DeploymentScheduleCreate.model_validate({"slug": "build", "schedule": form})
    kept = actions.DeploymentScheduleCreate.model_validate_json(sent.model_dump_json(exclude_unset=True))
    return kept.schedule


def theirs(kept: SCHEDULE_TYPES, begin: datetime, end: datetime) -> list[datetime]:
    """List Prefect's instants of a stretch, however many there are: it gives a thousand at a time."""
    found: set[datetime] = set()
    while some := {datetime.fromtimestamp(d.timestamp(), UTC) for d in kept._get_dates_generator(n=1000, start=begin, end=end)} - found:
        found |= some
        begin = max(found) + timedelta(seconds=1)
    return sorted(found)


def ours(schedule: Schedule, begin: datetime, end: datetime) -> list[datetime]:
    """List the starts of a stretch; of a random window its begin, with which the run starts."""
    return list(takewhile(lambda start: start <= end, starts(of_whole_windows(schedule), begin)))
