"""Show how a run ended, as a table artifact and as its end state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State as RunState
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from infra.orchestrator.tables import ROWS_MAX, artifact_key, keep_next_times
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.plan.sends import SendTarget
from sluice.errors import SluiceError
from sluice.model.assignment import Assignment
from sluice.model.site import Site
from sluice.model.state import State
from sluice.rules.space import size
from sluice.rules.wording import pairs_done
from tasks.run_context import log
from tasks.states import common_name

NAMED_MAX = 5
"""Failures, or doubted pairs, named in the end state's message."""


def row_of(target: SendTarget) -> DeliveryResult:
    """Make the row of a target that isn't sent."""
    state = target.state or State.WAITING
    return DeliveryResult(target.subscriber, target.distribution, target.revision, state, target.reason, was_tried=False)


def failure_row(assignment: Assignment, error: BaseException) -> DeliveryResult:
    """Make the row of a Subscriber whose task raised, be it a bug: a fan-out never raises half-done."""
    known = error if isinstance(error, SluiceError) else SluiceError(f"{type(error).__name__}: {error}", remedy="report it: this is a bug")
    return DeliveryResult(*assignment.pair, None, State.FAILED, f"{assignment.revision}: {known}", error=known)


async def publish_table(key: str, rows: Sequence[DeliveryResult], description: str) -> None:
    """Show the rows as the run's table, failures first; a server that refuses only leaves it out."""
    ordered = sorted(rows, key=lambda row: (not row.is_error, row.distribution, row.subscriber))
    table = [_cells(row) for row in ordered[:ROWS_MAX]]
    if len(ordered) > ROWS_MAX:
        description += f" The first {ROWS_MAX} of {len(ordered)} rows."
    try:
        await acreate_table_artifact(table, key=artifact_key(key), description=description)
    except Exception as error:  # noqa: BLE001 - the ledger has it all; the table is for reading
        log().warning("the table of this run isn't shown: %s", error)


async def show_next_times(site: Site, distributor: str) -> None:
    """Renew the table of next times; ignored if the server refuses."""
    try:
        async with get_client() as client:
            await keep_next_times(client, site, distributor, datetime.now(UTC))
    except Exception as error:  # noqa: BLE001 - the table is for reading
        log().debug("the next times aren't shown: %s", error)


async def name_run(name: str, site: Site, about: Iterable[tuple[str, str]], channel: str = "") -> None:
    """Give the run its name and tags once it is known what it does; ignored if the server refuses.

    Args:
        about: Distributions and revisions.
        channel: The one that is sent.
    """
    if not flow_run.id:
        return
    tags = {f"channel:{channel}"} if channel else set()
    for distribution, revision in about:
        tags |= {f"distribution:{distribution}", f"revision:{revision}", f"priority:{site.distribution(distribution).priority}"}
    try:
        async with get_client() as client:
            await client.update_flow_run(flow_run.id, name=name, tags=sorted({*flow_run.tags, *tags}))
    except Exception as error:  # noqa: BLE001 - a name isn't worth a failed run
        log().debug("the run can't be named: %s", error)


def end_state(rows: Sequence[DeliveryResult], what: str, besides: str = "") -> RunState[Any]:
    """Return Completed, or Failed with the Subscribers that failed and why.

    Args:
        what: The act of the run, for the message: ``send night``.
        besides: Told after everything else.
    """
    failed = [row for row in rows if row.is_error]
    tried = [row for row in rows if row.was_tried]
    done = [row for row in tried if not row.is_error and row.state in (State.INSTALLED, State.RECEIVED)]
    pairs = [(row.subscriber, row.distribution) for row in tried]
    text = f"{what}: {pairs_done(len(done), pairs)}" if tried else "nothing was due"
    data = {"rows": [_json(row) for row in rows]}
    if not failed:
        return Completed(name=common_name(tried), message=text + besides, data=data)
    named = "; ".join(f"{row.subscriber} ({row.distribution}): {row.reason or row.error}" for row in failed[:NAMED_MAX])
    more = f"; and {len(failed) - NAMED_MAX} more" if len(failed) > NAMED_MAX else ""
    names = ", ".join(dict.fromkeys(row.subscriber for row in failed[:NAMED_MAX]))
    # The data is for those who were told each failure as it happened.
    message = f"{text}. {named}{more}{besides}"
    return Failed(name=common_name(failed), message=message, data=f"{text}; not done: {names}{more.replace(';', '')}{besides}")


def ended(name: str, message: str) -> RunState[Any]:
    """Return the end of a run that had nothing to do, by a name that says so: ``Gone``, ``Inactive``, ``No change``."""
    log().info(message)
    return Completed(name=name, message=message, data={"rows": []})


def _cells(row: DeliveryResult) -> dict[str, Any]:
    return {
        "Subscriber": row.subscriber,
        "Distribution": row.distribution,
        "Revision": str(row.revision or ""),
        "State": row.state.value,
        "From": str(row.base or ""),
        "Sent": size(row.bytes),
        "Lent": size(row.supplement),
        "Resumed": size(row.resumed),
        "Seconds": round(row.seconds, 1),
        "Reason": row.reason,
    }


def _json(row: DeliveryResult) -> dict[str, Any]:
    return {
        "subscriber": row.subscriber,
        "distribution": row.distribution,
        "revision": str(row.revision) if row.revision else None,
        "state": row.state.value,
        "base": str(row.base) if row.base else None,
        "bytes": row.bytes,
        "lent": row.supplement,
        "resumed": row.resumed,
        "seconds": round(row.seconds, 3),
        "reason": row.reason,
    }
