"""Tables in Prefect that are kept up to date in place: what is so now, not what a run did."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey

from sluice.distributor.plan.next_times import schedule_rows
from sluice.model.site import Site

ROWS_MAX = 1000
"""Rows of a table in Prefect."""


def artifact_key(text: str) -> str:
    """Return a text in the form that keys of artifacts have."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "run"


async def keep_table(client: PrefectClient, key: str, rows: Sequence[Mapping[str, object]], description: str) -> None:
    """Replace a table's rows; one that isn't there yet is created.

    Args:
        key: Names it in Prefect's list of artifacts.
    """
    if (form := artifact_key(key)) != key:  # which names that differ in case or punctuation share
        form = f"{form}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"
    key, data = form, json.dumps(list(rows[:ROWS_MAX]))
    if len(rows) > ROWS_MAX:
        description += f" The first {ROWS_MAX} of {len(rows)} rows."
    latest = await client.read_latest_artifacts(artifact_filter=ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=[key])))
    if latest:
        await client.update_artifact(latest[0].latest_id, ArtifactUpdate(data=data, description=description))
    else:
        await client.create_artifact(ArtifactCreate(key=key, type="table", data=data, description=description))


async def keep_next_times(client: PrefectClient, site: Site, distributor: str, at: datetime) -> None:
    """Show when a Distributor builds, sends, has extracted and refreshes next (J4)."""
    rows = [
        {"Stage": row["stage"], "Name": row["name"], "Schedule": row["schedule"], "Next": row["next"] if row["active"] else "inactive"}
        for row in schedule_rows(site, at, distributor)
        if row["next"] or not row["active"]
    ]
    await keep_table(client, f"next-times-{distributor}", rows, f"Next times of Distributor {distributor}, as of {at:%Y-%m-%d %H:%M} UTC.")
