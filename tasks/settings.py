"""Settings of all tasks: nothing is cached and nothing persisted, results are plain JSON, retries ask the error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from sluice.errors import NoSpaceError, SluiceError


class Common(TypedDict):
    """Keyword arguments of every task."""

    cache_policy: Any
    persist_result: bool
    result_serializer: str


class Local(Common):
    """Keyword arguments of steps on the Distributor's own disk: another build holds the lock, a file changed while it was read."""

    retries: int
    retry_delay_seconds: float
    retry_condition_fn: Callable[[Task[..., Any], TaskRun, State[Any]], bool]


COMMON: Common = {"cache_policy": NO_CACHE, "persist_result": False, "result_serializer": "json"}


def error_of(state: State[Any]) -> BaseException | None:
    """Return the exception of a failed state."""
    return state.data if isinstance(state.data, BaseException) else None


def if_retryable(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again: if the error's class is retryable, but for a full disk, which no half minute empties and retries would hide."""
    error = error_of(state)
    return isinstance(error, SluiceError) and error.retryable and not isinstance(error, NoSpaceError)


LOCAL: Local = {**COMMON, "retries": 3, "retry_delay_seconds": 10.0, "retry_condition_fn": if_retryable}
