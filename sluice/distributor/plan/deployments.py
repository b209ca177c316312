"""Plan the Prefect deployments, pools and queues of a site. Pure: data in, data out, nothing of Prefect's.

============================  ================================================  ==========================  =================
deployment                    runs                                              pool                        at once
============================  ================================================  ==========================  =================
build/<distribution>          on the Distribution's Build schedule              <distributor>.build         1, others queue
send/<channel>                on the Channel's Send schedule                    <distributor>.send          any number
extract/<distributor>         on each distinct Extract schedule of those it     <distributor>.send          any number
                              serves, each under its own slug
refresh/<distributor>         on the Distributor's Refresh schedule             <distributor>.send          1, others queue
distribute/<distribution>     when somebody asks                                <distributor>.send          1, others queue
============================  ================================================  ==========================  =================

A Channel that lists Distributions of several Distributors (A6) has one send deployment for each, ``send/<channel>@<distributor>``:
a Distributor's store and keys are on its own machine. Names carry no period (A9), so pools can't be confused.

Priority among builds is the queues of the build pool; priority among sends lives in the ledger's send queue alone. A schedule
carries no parameters (pausing one in Prefect empties them): the flows find what is due. Nothing here names a path: the
worker's environment says where the site is (``SLUICE_SITE``), so the same deployments fit every machine.

What is inactive (A7) keeps its deployment with its schedules switched off and the tag ``inactive``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

from sluice.distributor.plan.deployment_names import build_pool, send_name, send_pool
from sluice.distributor.plan.ownership import site_tags
from sluice.distributor.plan.schedule_words import schedule_words
from sluice.model.schedule import Schedule
from sluice.model.site import Channel, Distribution, Distributor, Priority, Site
from sluice.rules.triggers import prefect_schedule
from sluice.rules.wording import counted

BUILD_LIMIT = 2
"""Builds of one Distributor at once: each reads a whole tree and compresses it."""
TAG = "sluice"
"""Every deployment of every site carries it; so do its runs."""
DIGEST_TAG = "digest:"
INACTIVE_TAG = "inactive"
DEFAULT_QUEUE = "default"
QUEUES: Mapping[str, int] = {p.value: p.rank + 1 for p in Priority}
"""Queues of a build pool and their priorities; 1 goes first."""
HEARTBEAT_SECONDS = 30
"""Between two signs of life of a run; Prefect allows no less."""
FLOWS_VERSION = 1
"""Part of every digest: raised when a flow's parameters change, so that ``apply`` sends them anew."""


class Collision(StrEnum):
    """How Prefect treats a run that starts while its deployment is at its limit."""

    ENQUEUE = "ENQUEUE"


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """A work pool of a Distributor."""

    name: str
    description: str
    limit: int | None
    queues: Mapping[str, int]
    """Name to priority; ``default`` exists always and isn't listed."""


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """One schedule of a deployment. ``slug`` names it from one apply to the next."""

    slug: str
    rule: Mapping[str, str | float | int]
    """As ``prefect.yaml`` writes it: ``cron``, ``rrule`` or ``interval`` (seconds) with ``anchor_date``; and ``timezone``."""
    active: bool
    source: Schedule
    """As the site has it: no part of the digest."""


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """One deployment, complete."""

    flow: str
    name: str
    parameters: Mapping[str, str]
    schedules: tuple[ScheduleSpec, ...]
    tags: tuple[str, ...]
    """Without the digest's."""
    description: str
    pool: str
    queue: str = DEFAULT_QUEUE
    limit: int | None = None
    collision: Collision | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS)})

    @property
    def full_name(self) -> str:
        """As Prefect writes it: flow/name."""
        return f"{self.flow}/{self.name}"

    @property
    def entrypoint(self) -> str:
        """The flow function by its import path, so that it is found wherever Sluice is installed."""
        return f"flows.{self.flow}.{self.flow}"

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with any field."""
        whole = asdict(self)
        for schedule in whole["schedules"]:
            del schedule["source"]
        return hashlib.sha256(json.dumps([FLOWS_VERSION, whole], sort_keys=True).encode()).hexdigest()[:12]

    @property
    def all_tags(self) -> tuple[str, ...]:
        """All tags, the digest's included, sorted."""
        return tuple(sorted({*self.tags, DIGEST_TAG + self.digest}))


def pools(site: Site) -> list[PoolSpec]:
    """List two pools for each Distributor, in name order."""
    found, marks = [], " ".join(site_tags(site))
    for name in sorted(site.distributors):
        found.append(PoolSpec(build_pool(name), f"Builds of Distributor {name}. {marks}", BUILD_LIMIT, dict(QUEUES)))
        found.append(PoolSpec(send_pool(name), f"Sends, extracts and refreshes of Distributor {name}. {marks}", None, {}))
    return found


def deployments(site: Site) -> list[DeploymentSpec]:
    """List every deployment of the site, sorted by flow and name. Schedules of kind never and immediately don't appear."""
    words = schedule_words(site)
    found = [_build(site, d, words) for d in site.distributions.values()]
    found += [_distribute(site, d, words) for d in site.distributions.values()]
    for channel in site.channels.values():
        found += _sends(site, channel, words)
    for distributor in site.distributors.values():
        found += [_extract(site, distributor), _refresh(site, distributor)]
    return sorted(found, key=lambda spec: spec.full_name)


def keeps_active(wanted: bool, found: bool | None, *, was_inactive: bool) -> bool:
    """Whether a schedule is to be active: somebody's pause in Prefect is kept, one that came from ``active: false`` isn't.

    Args:
        wanted: As the site says.
        found: As Prefect has it; None if it is new.
        was_inactive: The deployment carries the tag ``inactive``.
    """
    return wanted and (found is None or found or was_inactive)


def _build(site: Site, distribution: Distribution, words: Mapping[str, str]) -> DeploymentSpec:
    channels = ", ".join(distribution.channels) or "none, so it is built but not sent"
    act = f"Builds a new revision of **{distribution.name}** ({distribution.type}) if its sources changed, and signs it."
    about = f"Distributor {distribution.distributor}, Channels: {channels}."
    spec = _of_distribution(site, distribution, "build", build_pool(distribution.distributor), act, about, words[distribution.name])
    schedules = _schedules("build", distribution.build, active=distribution.active)
    return replace(spec, schedules=schedules, queue=distribution.priority.value)


def _distribute(site: Site, distribution: Distribution, words: Mapping[str, str]) -> DeploymentSpec:
    act = f"Builds, signs, sends and extracts **{distribution.name}** at once, whatever the schedules say."
    about = f"{_count(_served(site, [distribution]))}."
    return _of_distribution(site, distribution, "distribute", send_pool(distribution.distributor), act, about, words[distribution.name])


def _of_distribution(site: Site, distribution: Distribution, flow: str, pool: str, *paragraphs: str) -> DeploymentSpec:
    return DeploymentSpec(
        flow=flow,
        name=distribution.name,
        parameters={"distribution": distribution.name},
        schedules=(),
        tags=_tags(site, distribution.distributor, f"distribution:{distribution.name}", active=distribution.active),
        description=_text(distribution.description, *paragraphs),
        pool=pool,
        limit=1,
        collision=Collision.ENQUEUE,
    )


def _sends(site: Site, channel: Channel, words: Mapping[str, str]) -> list[DeploymentSpec]:
    listed = site.distributions_of_channel(channel.name)
    found = []
    for distributor in sorted({d.distributor for d in listed}):
        names = ", ".join(d.name for d in listed if d.distributor == distributor)
        found.append(
            DeploymentSpec(
                flow="send",
                name=send_name(site, channel, distributor),
                parameters={"channel": channel.name, "distributor": distributor},
                schedules=_schedules("send", channel.send, active=channel.active),
                tags=_tags(site, distributor, f"channel:{channel.name}", active=channel.active),
                description=_text(
                    channel.description,
                    f"Sends **{names}** to {_count({s.subscriber for s in channel.subscriptions})} of Channel **{channel.name}**.",
                    *(words[d.name] for d in listed if d.distributor == distributor),
                ),
                pool=send_pool(distributor),
            )
        )
    return found


def _extract(site: Site, distributor: Distributor) -> DeploymentSpec:
    served = _served(site, site.distributions_of_distributor(distributor.name))
    distinct = {site.subscriber(name).extract for name in served if site.subscriber(name).active}
    schedules = [spec for schedule in distinct for spec in _schedules(_slug(schedule), schedule, active=True)]
    return DeploymentSpec(
        flow="extract",
        name=distributor.name,
        parameters={"distributor": distributor.name},
        schedules=tuple(sorted(schedules, key=lambda s: s.slug)),
        tags=_tags(site, distributor.name),
        description=_text(
            "",
            f"Has the Subscribers of Distributor **{distributor.name}** extract what they hold, when their Extract schedules say so.",
            f"{_count(served)}.",
        ),
        pool=send_pool(distributor.name),
    )


def _refresh(site: Site, distributor: Distributor) -> DeploymentSpec:
    return DeploymentSpec(
        flow="refresh",
        name=distributor.name,
        parameters={"distributor": distributor.name},
        schedules=_schedules("refresh", distributor.refresh, active=True),
        tags=_tags(site, distributor.name),
        description=_text(
            distributor.description,
            f"Re-reads the site for Distributor **{distributor.name}**, renews its signatures, withdraws what left the site.",
        ),
        pool=send_pool(distributor.name),
        limit=1,
        collision=Collision.ENQUEUE,
    )


def _schedules(slug: str, schedule: Schedule, *, active: bool) -> tuple[ScheduleSpec, ...]:
    rule = prefect_schedule(schedule)
    return () if rule is None else (ScheduleSpec(slug, rule, active, schedule),)


def _slug(schedule: Schedule) -> str:
    rule = json.dumps(asdict(schedule), sort_keys=True, default=str)
    return f"{schedule.kind}-{hashlib.sha256(rule.encode()).hexdigest()[:8]}"


def _served(site: Site, distributions: Iterable[Distribution]) -> set[str]:
    return {name for d in distributions for name in site.subscribers_of_distribution(d.name)}


def _tags(site: Site, distributor: str, *more: str, active: bool = True) -> tuple[str, ...]:
    inactive = () if active else (INACTIVE_TAG,)
    return tuple(sorted({TAG, *site_tags(site), f"distributor:{distributor}", *more, *inactive}))


def _text(*paragraphs: str) -> str:
    # `prefect deploy` would fill in text in double braces.
    return "\n\n".join(p.strip().replace("{{", "{ {") for p in paragraphs if p.strip())


def _count(subscribers: Iterable[str]) -> str:
    return counted(len(set(subscribers)), "Subscriber")
