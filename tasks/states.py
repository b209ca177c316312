"""Name the end states of task runs and flow runs (J3), one word each, so that a list of runs can be filtered by it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from prefect.client.schemas.objects import State as RunState
from prefect.states import Cancelled, Completed, Failed

from sluice.distributor.deliver.result import DeliveryResult
from sluice.errors import LockedTargetError, NoSpaceError, SluiceError, StoreLockedError, TransportTimeoutError, UnreachableError
from sluice.model.state import State

_ENDS = {State.INSTALLED: "Installed", State.RECEIVED: "Received", State.NOT_APPLICABLE: "Not applicable"}
_FAILURES: tuple[tuple[str, tuple[type[SluiceError], ...]], ...] = (
    ("Locked", (LockedTargetError, StoreLockedError)),
    ("No space", (NoSpaceError,)),
    ("Unavailable", (UnreachableError, TransportTimeoutError)),
)


def _failure_name(error: SluiceError) -> str:
    return next((name for name, classes in _FAILURES if isinstance(error, classes)), "Failed")


def failed(error: SluiceError) -> RunState[Any]:
    """Return Failed, named after the error; its message has the remedy."""
    return Failed(name=_failure_name(error), message=str(error), data=error)


def state_of(row: DeliveryResult) -> RunState[Any]:
    """Return the end state of a Subscriber's last task run."""
    if row.error is not None:
        return failed(row.error)
    if row.state is State.CANCELLED:
        return Cancelled(message=row.reason)
    return Completed(name=_ENDS.get(row.state), message=row.reason)


def common_name(rows: Collection[DeliveryResult]) -> str | None:
    """Return the name that the ends of all rows share; None: Prefect's own."""
    names = {_name(row) for row in rows}
    return names.pop() if len(names) == 1 else None


def _name(row: DeliveryResult) -> str | None:
    if row.error is None:
        return _ENDS.get(row.state)
    name = _failure_name(row.error)
    # The Channel's next start tries again what has used up its retries.
    return "Waiting for Channel" if name == "Failed" and row.state in (State.WAITING, State.UNAVAILABLE) else name
