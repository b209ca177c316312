"""Tell of the flow runs of a server as they begin and end: names, outcomes and how long they took."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterEndTime, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from sluice.rules.wording import duration, printable

LOOK_BACK = timedelta(minutes=1)
"""Runs whose end was recorded late are found too."""
_RUNNING = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))


class Follower:
    """Looks at a server now and then; each begin and each end since it was made is told once."""

    def __init__(self, client: PrefectClient, tell: Callable[[str], None], *, since: datetime) -> None:
        self._client, self._tell, self._since = client, tell, since
        self._begun, self._ended = set[UUID](), dict[UUID, datetime]()

    async def look(self) -> None:
        """Look once. Raises what Prefect's client does."""
        for run in await self._client.read_flow_runs(flow_run_filter=_RUNNING, sort=FlowRunSort.START_TIME_ASC):
            if run.id not in self._begun:
                self._begun.add(run.id)
                self._say(run.start_time, f"{run.name}: begun")
        after = FlowRunFilter(end_time=FlowRunFilterEndTime.model_validate({"after_": self._since}))
        for run in sorted(await self._client.read_flow_runs(flow_run_filter=after, sort=FlowRunSort.END_TIME_DESC), key=_end):
            if run.id not in self._ended:
                self._begun.discard(run.id)
                self._say(run.end_time, _end_text(run))
            self._ended[run.id] = _end(run)
        newest = max(self._ended.values(), default=self._since)
        self._since = max(self._since, newest - LOOK_BACK)
        self._ended = {run: at for run, at in self._ended.items() if at >= self._since}

    def _say(self, at: datetime | None, text: str) -> None:
        self._tell(f"{(at or datetime.now(UTC)).astimezone(UTC):%Y-%m-%d %H:%M:%S} {printable(text, replacement=' ')}")


def _end(run: FlowRun) -> datetime:
    return run.end_time or datetime.max.replace(tzinfo=UTC)


def _end_text(run: FlowRun) -> str:
    state, took = run.state, f" in {duration(run.total_run_time)}" if run.start_time else ""
    outcome = (state.name or state.type.value).lower() if state else "ended"
    return f"{run.name}: {outcome}{took}" + (f": {state.message}" if state and state.message else "")
