"""Bring Prefect in line with a site: ``sluice plan`` and ``sluice apply``.

Pools and queues come first, then deployments that are gone are removed and those that differ are written, then comes the heartbeat
automation. Somebody's change in Prefect is a difference too; a pause is none. Each step may be repeated: an apply that was killed is
finished by the next. Only objects that carry this site's id are changed or removed, and no pool that others' deployments use; a name the
site needs that belongs to somebody else is an error, before anything is written. Objects from before sites had ids are told by their
Distributors' names: those that the site needs are adopted once, the others stay.

With each update of a deployment Prefect deletes the runs that it planned for it and whose start is still to come. They are planned again at
once; and an update waits until no start is due within seconds, so that Prefect's own scheduler, which looks every 5 s, plans each of them
in time if the apply is killed between the two. So no start is lost, and none is doubled.
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import Automation, AutomationCore

from infra.orchestrator import heartbeat, server_objects
from infra.orchestrator.changes import Act, Change, Changes, Fields, ObjectKind, differences, in_order
from infra.orchestrator.shown import shown
from infra.orchestrator.tables import keep_next_times
from infra.orchestrator.time_zones import list_time_zones_once
from infra.orchestrator.translate import translated
from sluice.distributor.plan.deployments import DIGEST_TAG, TAG, deployments, pools
from sluice.distributor.plan.ownership import SITE_ID_TAG, SITE_TAG, Owner, owner_of, site_ids
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
        self.lodgers: dict[str, list[str]] = {}
        """Others' deployments in this site's pools that are gone."""

    async def read(self, client: PrefectClient) -> None:
        """Read everything that is compared."""
        with translated("reading what Prefect has"):
            self.found_pools = await server_objects.read_pools(client)
            for name in self.pools.keys() & self.found_pools.keys():
                self.found_queues[name] = await server_objects.read_queues(client, name)
            self.found = await server_objects.read_deployments(client, sorted({spec.flow for spec in self.specs.values()}))
            self.automations = await client.read_automations_by_name(heartbeat.NAME)
            for name in self._gone_pools():
                within = await server_objects.deployments_in(client, name)
                self.lodgers[name] = sorted(d.name for d in within if owner_of(self.site, d.tags) is not Owner.THIS)

    def refuse_taken(self) -> None:
        """Raise OrchestratorError if a name the site needs belongs to somebody else."""
        owners = {label: owner_of(self.site, tags) for label, tags in self._standing().items()}
        taken = sorted(label for label, owner in owners.items() if owner in (Owner.ANOTHER, Owner.NOBODY))
        if not taken:
            return
        marks = sorted({tag for label in taken for tag in self._standing()[label] if tag.startswith((SITE_TAG, SITE_ID_TAG))})
        whose = f"another site ({', '.join(marks)})" if marks else "somebody else"
        ids = sorted(site_ids(marks))
        same = f"; if both are one site: echo {shlex.quote(ids[0])} >{shlex.quote(f'{self.site.directory}/site-id')}" if ids else ""
        raise OrchestratorError(
            f"{', '.join(taken)} on this Prefect server belongs to {whose}",
            remedy=f"rename the object there or here, or use another server{same}",
        )

    def changes(self) -> Changes:
        """Return what an apply would change, in its order."""
        adopted = [label for label, tags in self._standing().items() if owner_of(self.site, tags) is Owner.UNMARKED]
        kept = [f"work pool {n} stays: deployments that aren't this site's use it: {', '.join(o)}" for n, o in self.lodgers.items() if o]
        return in_order([*self._pool_changes(), *self._deployment_changes(), *self._automation_changes()], adopted, kept)

    def gone(self) -> list[str]:
        """Return the names of this site's deployments that the site no longer has."""
        ours = (n for n, d in self.found.items() if TAG in d.tags and owner_of(self.site, d.tags) is Owner.THIS)
        return sorted(name for name in ours if name not in self.specs)

    def _standing(self) -> dict[str, list[str]]:
        """Map each object that stands under a name of the site's to its tags."""
        tags = {f"deployment {name}": self.found[name].tags for name in sorted(self.specs.keys() & self.found.keys())}
        return tags | {f"work pool {name}": self._pool_tags(name) for name in sorted(self.pools.keys() & self.found_pools.keys())}

    def _pool_tags(self, name: str) -> list[str]:
        return (self.found_pools[name].description or "").split()

    def _gone_pools(self) -> list[str]:
        gone = self.found_pools.keys() - self.pools.keys()
        return sorted(name for name in gone if owner_of(self.site, self._pool_tags(name)) is Owner.THIS)

    def _pool_changes(self) -> Iterator[Change]:
        for name, pool in self.pools.items():
            found = self.found_pools.get(name)
            yield from _changed(
                ObjectKind.POOL, name, server_objects.pool_fields(found) if found else None, server_objects.pool_fields(pool)
            )
            queues = self.found_queues.get(name, {})
            for queue, priority in pool.queues.items():
                found_queue = {"priority": queues[queue]} if queue in queues else None
                yield from _changed(ObjectKind.QUEUE, f"{name}/{queue}", found_queue, {"priority": priority})
        for name in self._gone_pools():
            if not self.lodgers[name]:
                yield from _changed(ObjectKind.POOL, name, server_objects.pool_fields(self.found_pools[name]), None)

    def _deployment_changes(self) -> Iterator[Change]:
        ours = {name for spec in self.specs.values() for name in (*spec.parameters, *spec.environment)}
        for name in self.gone():
            gone = _changed(ObjectKind.DEPLOYMENT, name, server_objects.found_fields(self.found[name]), None)
            yield from (replace(change, differs=shown(change.differs, None, ours=ours)) for change in gone)
        for name, spec in self.specs.items():
            found = self.found.get(name)
            has, tags = (server_objects.found_fields(found), found.tags) if found else (None, ())
            changes = list(_changed(ObjectKind.DEPLOYMENT, name, has, server_objects.spec_fields(spec, found)))
            if found and not changes and DIGEST_TAG + spec.digest not in tags:  # written by another version of Sluice
                digest = next((tag.removeprefix(DIGEST_TAG) for tag in tags if tag.startswith(DIGEST_TAG)), None)
                changes = [Change(Act.UPDATE, ObjectKind.DEPLOYMENT, name, {"digest": {"found": digest, "wanted": spec.digest}})]
            yield from (replace(change, differs=shown(change.differs, spec, ours=ours)) for change in changes)

    def _automation_changes(self) -> Iterator[Change]:
        # Only the trigger is ours: whoever switched the automation off or changed its actions in Prefect had a reason.
        found = _trigger_fields(self.automations[0].model_dump(mode="json")) if self.automations else None
        wanted = _trigger_fields(heartbeat.heartbeat_automation().model_dump(mode="json"))
        yield from _changed(ObjectKind.AUTOMATION, heartbeat.NAME, found, wanted)


def _changed(kind: ObjectKind, name: str, found: Fields | None, wanted: Fields | None) -> Iterator[Change]:
    """Yield the creation, update or deletion that an object needs, if any; None: it isn't there, or isn't wanted."""
    act = Act.CREATE if found is None else Act.DELETE if wanted is None else Act.UPDATE
    if differs := differences(found or {}, wanted or {}):
        yield Change(act, kind, name, differs)


@asynccontextmanager
async def _compared(site: Site) -> AsyncIterator[tuple[PrefectClient, _Comparison]]:
    list_time_zones_once()
    with translated("connecting"):
        async with get_client() as client:
            comparison = _Comparison(site)
            await comparison.read(client)
            yield client, comparison


async def plan(site: Site) -> Changes:
    """Return what ``apply`` would change; only read.

    Raises:
        OrchestratorError: Prefect can't be reached, or a name the site needs is taken by somebody else.
    """
    async with _compared(site) as (_, comparison):
        comparison.refuse_taken()
        return comparison.changes()


async def apply(site: Site, *, decide: Callable[[Changes], Changes], say: Callable[[str], object] = print) -> Changes:
    """Bring Prefect in line with the site and return what was changed; if nothing differs, that costs a few reads.

    Args:
        decide: Gets all changes before the first is made, and returns those to make; or raises, and nothing is changed.
        say: Called with each start that is waited for, for a person.
    Raises:
        OrchestratorError: As for ``plan``, or Prefect refused a change; changes made before it are kept, and a repetition makes the others.
    """
    async with _compared(site) as (client, comparison):
        comparison.refuse_taken()
        changes = decide(comparison.changes())
        for change in changes.changes:
            with translated(f"the {change.act} of {change.kind} {change.name}"):
                await _carry_out(client, comparison, change, say)
        for name in site.distributors:
            with translated(f"the next times of {name}"):
                await keep_next_times(client, site, name, datetime.now(UTC))
        return changes


async def remove_gone(site: Site, distributor: str) -> list[str]:
    """Remove the deployments of one Distributor whose objects left the site (A14): what a refresh may do without an apply.

    Returns:
        Their full names.
    """
    async with _compared(site) as (client, comparison):
        gone = [n for n in comparison.gone() if _has_lost_its_object(site, distributor, comparison.found[n])]
        for name in gone:
            with translated(f"the removal of deployment {name}"):
                await client.delete_deployment(comparison.found[name].id)
        return gone


def _has_lost_its_object(site: Site, distributor: str, found: DeploymentResponse) -> bool:
    """Whether the Distribution or Channel of a Distributor's deployment left the site; apply alone removes one that was only renamed."""
    about = found.parameters
    gone = about.get("distribution", "") not in ("", *site.distributions) or about.get("channel", "") not in ("", *site.channels)
    return gone and f"distributor:{distributor}" in found.tags


async def _carry_out(client: PrefectClient, comparison: _Comparison, change: Change, say: Callable[[str], object]) -> None:
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
            await server_objects.write_deployment(client, comparison.specs[change.name], comparison.found.get(change.name), say)
        case ObjectKind.AUTOMATION, Act.CREATE:
            await client.create_automation(heartbeat.heartbeat_automation())
        case ObjectKind.AUTOMATION, _:
            found = comparison.automations[0]
            theirs = {name: getattr(found, name) for name in AutomationCore.model_fields.keys() - {"trigger", "owner_resource"}}
            await client.update_automation(found.id, heartbeat.heartbeat_automation().model_copy(update=theirs))


def _trigger_fields(automation: dict[str, Any]) -> dict[str, object]:
    trigger = automation["trigger"]
    whole = {key: trigger[key] for key in ("match", "match_related", "within")}
    return whole | {key: sorted(trigger[key]) for key in ("after", "expect", "for_each")}
