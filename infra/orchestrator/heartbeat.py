"""The automation that marks a silent run as crashed.

A flow run whose worker and process both died stays Running in Prefect. Runs of Sluice's deployments give a sign of life every
``HEARTBEAT_SECONDS``; one automation for the whole server, matched by Sluice's tag, marks those that fall silent as crashed. A crashed run
needs no clean-up: every step may be repeated.

It also fires for runs that have ended: a sign of life comes from the run's process, later than the server's own event of the end,
and starts the wait again. That does nothing: ``force`` is off, so Prefect leaves a terminal state as it is and says so in its log.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from sluice.distributor.plan.deployments import HEARTBEAT_SECONDS, TAG

NAME = "sluice: crash runs that fell silent"
MISSED = 5
"""Signs of life that may fail to come, so that no live run is marked as crashed while the server stalls for a minute.

The last one before the stall is up to one interval old, SQLite lets a writer wait 60 s (two intervals), the next one comes up to one
interval later: 120 s of silence at most, and one interval for events that are late under load.
"""


def heartbeat_automation() -> AutomationCore:
    """Return the automation that the server must have."""
    return AutomationCore(
        name=NAME,
        description="A run of Sluice that gave no sign of life for a while is crashed, so that it doesn't look as if it ran.",
        enabled=True,
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            # Any event of the run: states have names of their own (Inactive, Gone), which become the events' names.
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification.model_validate({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification.model_validate(
                {"prefect.resource.id": [f"prefect.tag.{TAG}"], "prefect.resource.role": ["tag"]}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=HEARTBEAT_SECONDS * MISSED),
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                force=False,
                state=StateType.CRASHED,
                message="No sign of life: the worker's machine or process died. The next run continues from what the ledger knows.",
            )
        ],
    )
