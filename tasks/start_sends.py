"""Send immediately: have the Channels of a Distribution send it as soon as it is built (D6)."""

from __future__ import annotations

from prefect import task
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound

from sluice.distributor.plan.deployment_names import send_deployments
from tasks.fan_out import send_all
from tasks.plan import planned_sends
from tasks.report import publish_table
from tasks.run_context import current, is_left_to_a_worker, log
from tasks.settings import COMMON


@task(
    name="send immediately",
    task_run_name="send {distribution} {revision} immediately",
    description="Start the send deployments of the Distribution's Channels; each at most once per revision",
    **COMMON,
)
async def start_sends(distribution: str, revision: str) -> list[str]:
    """Leave the sends to workers if a worker runs this; a run in the foreground sends by itself.

    Returns:
        The deployments that were started.
    """
    context = current()
    started = []
    for channel, deployment in send_deployments(context.work.site, distribution):
        if is_left_to_a_worker() and await _started(deployment, channel, distribution, revision):
            started.append(deployment)
            continue
        rows = await send_all(context, await planned_sends(context, channel=channel, distribution=distribution))
        await publish_table(f"send-{distribution}-{revision}", rows, f"{distribution} {revision}: the state of each Subscriber.")
    return started


async def _started(deployment: str, channel: str, distribution: str, revision: str) -> bool:
    parameters = {"channel": channel, "distribution": distribution, "distributor": current().work.distributor.name, "revision": revision}
    try:
        run = await arun_deployment(
            deployment,
            parameters=parameters,
            timeout=0,
            as_subflow=False,
            idempotency_key=f"{deployment}/{distribution}/{revision}",
        )
    except ObjectNotFound:
        log().warning("Prefect has no deployment %s (run `sluice apply`): sending from here", deployment)
        return False
    log().info("started %s: %s", deployment, run.name)
    return True
