"""``sluice plan`` and ``sluice apply``: Prefect brought in line with a site.

Pools and queues come first, then each deployment whose digest differs, then what is gone is removed, then the heartbeat
automation. Each step may be repeated: an apply that was killed is finished by the next. Only objects that carry this site's
tag are changed or removed; one that has a name we need and belongs to somebody else is an error, before anything is written.
"""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import Automation

from infra.orchestrator import heartbeat, server_objects
from infra.orchestrator.changes import Act, Change, Changes, ObjectKind, differences, in_order
from infra.orchestrator.translate import translated
from sluice.distributor.plan.deployments import DIGEST_TAG, TAG, deployments, is_of_site, pools
from sluice.errors import OrchestratorError
from sluice.model.site import Site


class _Comparison:
    """A site beside what the server has: the one reading that plan and apply share."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.pools = {pool.name: pool for pool in pools(site)}
        self.specs = {spec.full_name: spec for spec in deployments(site)}
        self.found_pools: dict[str, WorkPool] = {}
        self.found_queues: dict[str, dict[str, int | None]] = {}
        self.found: dict[str, DeploymentResponse] = {}
        self.automations: list[Automation] = []

    async def read(self, client: PrefectClient) -> None:
        with translated("reading what Prefect has"):
            self.found_pools = await server_objects.read_pools(client)
            for name in self.pools.keys() & self.found_pools.keys():
                self.found_queues[name] = await server_objects.read_queues(client, name)
            self.found = await server_objects.read_deployments(client, sorted({spec.flow for spec in self.specs.values()}))
            self.automations = await client.read_automations_by_name(heartbeat.NAME)

    def refuse_taken(self) -> None:
        """Raise OrchestratorError for a name the site needs that belongs to somebody else."""
        taken = [f"deployment {n}" for n in self.specs.keys() & self.found.keys() if not is_of_site(self.site, self.found[n].tags)]
        pools = {n: (self.found_pools[n].description or "").split() for n in self.pools.keys() & self.found_pools.keys()}
        taken += [f"work pool {name}" for name, tags in pools.items() if not is_of_site(self.site, tags)]
        if taken:
            raise OrchestratorError(
                f"{', '.join(sorted(taken))} on this Prefect server belongs to somebody else",
                remedy="rename it there or the object here, or use another server (a pool of ours has its site: tag in its description)",
            )

    def changes(self) -> Changes:
        return in_order([*self._of_pools(), *self._of_queues(), *self._of_deployments(), *self._of_automation()])

    def gone(self) -> list[str]:
        """Deployments of this site that it no longer has."""
        ours = (n for n, d in self.found.items() if TAG in d.tags and is_of_site(self.site, d.tags))
        return sorted(name for name in ours if name not in self.specs)

    def _of_pools(self) -> list[Change]:
        found = []
        for name, pool in self.pools.items():
            if name not in self.found_pools:
                found.append(Change(Act.CREATE, ObjectKind.POOL, name))
            elif differs := differences(server_objects.pool_fields(self.found_pools[name]), server_objects.pool_fields(pool)):
                found.append(Change(Act.UPDATE, ObjectKind.POOL, name, differs))
        for name, there in self.found_pools.items():
            if name not in self.pools and is_of_site(self.site, (there.description or "").split()):
                found.append(Change(Act.DELETE, ObjectKind.POOL, name))
        return found

    def _of_queues(self) -> list[Change]:
        found = []
        for name, pool in self.pools.items():
            there = self.found_queues.get(name, {})
            for queue, priority in pool.queues.items():
                if queue not in there:
                    found.append(Change(Act.CREATE, ObjectKind.QUEUE, f"{name}/{queue}"))
                elif differs := differences({"priority": there[queue]}, {"priority": priority}):
                    found.append(Change(Act.UPDATE, ObjectKind.QUEUE, f"{name}/{queue}", differs))
        return found

    def _of_deployments(self) -> list[Change]:
        found = [Change(Act.DELETE, ObjectKind.DEPLOYMENT, name) for name in self.gone()]
        for name, spec in self.specs.items():
            there = self.found.get(name)
            if there is None:
                found.append(Change(Act.CREATE, ObjectKind.DEPLOYMENT, name))
            elif DIGEST_TAG + spec.digest not in there.tags:
                kept = server_objects.spec_fields(spec)
                found.append(Change(Act.UPDATE, ObjectKind.DEPLOYMENT, name, differences(server_objects.found_fields(there), kept)))
        return found

    def _of_automation(self) -> list[Change]:
        wanted = heartbeat.heartbeat_automation().model_dump(mode="json")
        if not self.automations:
            return [Change(Act.CREATE, ObjectKind.AUTOMATION, heartbeat.NAME)]
        there = self.automations[0].model_dump(mode="json")
        # Whoever switched it off or changed its actions in Prefect had a reason; only what it matches is ours.
        differs = differences(_trigger(there), _trigger(wanted))
        return [Change(Act.UPDATE, ObjectKind.AUTOMATION, heartbeat.NAME, differs)] if differs else []


async def plan(site: Site) -> Changes:
    """What ``apply`` would change; reads only.

    Raises:
        OrchestratorError: Prefect can't be reached, or a name the site needs is taken by somebody else.
    """
    with translated("connecting"):
        async with get_client() as client:
            comparison = _Comparison(site)
            await comparison.read(client)
            comparison.refuse_taken()
            return comparison.changes()


async def apply(site: Site) -> Changes:
    """Bring Prefect in line with the site and return what was changed; nothing to do costs a few reads.

    Raises:
        OrchestratorError: As for ``plan``, or Prefect refused a change; what was done before stays, and a repetition goes on.
    """
    with translated("connecting"):
        async with get_client() as client:
            comparison = _Comparison(site)
            await comparison.read(client)
            comparison.refuse_taken()
            changes = comparison.changes()
            for change in changes.changes:
                with translated(f"the {change.act} of {change.kind} {change.name}"):
                    await _carry_out(client, comparison, change)
            return changes


async def remove_gone(site: Site, distributor: str) -> list[str]:
    """Remove the deployments of one Distributor whose objects left the site (A14): what a refresh may do without an apply.

    Returns:
        Their full names.
    """
    with translated("removing deployments that are gone"):
        async with get_client() as client:
            comparison = _Comparison(site)
            await comparison.read(client)
            gone = [n for n in comparison.gone() if _left(site, distributor, comparison.found[n])]
            for name in gone:
                await client.delete_deployment(comparison.found[name].id)
            return gone


def _left(site: Site, distributor: str, found: DeploymentResponse) -> bool:
    """Whether what a deployment of a Distributor is about is in the site no more; one that was merely renamed is left to apply."""
    about = found.parameters
    gone = about.get("distribution", "") not in ("", *site.distributions) or about.get("channel", "") not in ("", *site.channels)
    return gone and f"distributor:{distributor}" in found.tags


async def _carry_out(client: PrefectClient, comparison: _Comparison, change: Change) -> None:
    exists = change.act is Act.UPDATE
    match change.kind, change.act:
        case ObjectKind.POOL, Act.DELETE:
            await client.delete_work_pool(change.name)
        case ObjectKind.POOL, _:
            await server_objects.write_pool(client, comparison.pools[change.name], exists=exists)
        case ObjectKind.QUEUE, _:
            pool, _, queue = change.name.partition("/")
            priority = comparison.pools[pool].queues[queue]
            await server_objects.write_queue(client, pool, queue, priority, exists=exists)
        case ObjectKind.DEPLOYMENT, Act.DELETE:
            await client.delete_deployment(comparison.found[change.name].id)
        case ObjectKind.DEPLOYMENT, _:
            await server_objects.write_deployment(client, comparison.specs[change.name], comparison.found.get(change.name))
        case ObjectKind.AUTOMATION, Act.CREATE:
            await client.create_automation(heartbeat.heartbeat_automation())
        case ObjectKind.AUTOMATION, _:
            await client.update_automation(comparison.automations[0].id, heartbeat.heartbeat_automation())


def _trigger(automation: dict[str, Any]) -> dict[str, object]:
    trigger = automation["trigger"]
    whole = {key: trigger[key] for key in ("match", "match_related", "within")}
    return whole | {key: sorted(trigger[key]) for key in ("after", "expect", "for_each")}
