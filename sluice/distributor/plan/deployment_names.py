"""Names of a site's work pools and deployments in Prefect."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.model.site import Channel, Site


def build_pool(distributor: str) -> str:
    """Name the pool that builds run in."""
    return f"{distributor}.build"


def send_pool(distributor: str) -> str:
    """Name the pool that everything else runs in."""
    return f"{distributor}.send"


def send_deployments(site: Site, distribution: str) -> list[tuple[str, str]]:
    """List Channel and full name of the send deployments that reach a Distribution's Subscribers, active Channels only."""
    owner = site.distribution(distribution).distributor
    channels = [site.channel(name) for name in site.distribution(distribution).channels]
    return [(c.name, f"send/{send_name(site, c, owner)}") for c in channels if c.active]


def send_name(site: Site, channel: Channel, distributor: str) -> str:
    """Name the send deployment of a Channel for one of the Distributors that own what it lists."""
    shared = len({d.distributor for d in site.distributions_of_channel(channel.name)}) > 1
    return f"{channel.name}@{distributor}" if shared else channel.name


def deployment_of(site: Site, flow: str, parameters: Mapping[str, object]) -> str:
    """Return the full name of the deployment that a run with these parameters is of; empty if there is none."""
    match flow:
        case "build" | "distribute":
            return f"{flow}/{parameters['distribution']}"
        case "extract" | "refresh":
            return f"{flow}/{parameters['distributor']}"
        case "send" if (name := str(parameters.get("channel") or "")) and not parameters.get("distribution"):
            owners = {str(parameters.get("distributor") or "")} - {""} or {d.distributor for d in site.distributions_of_channel(name)}
            return f"send/{send_name(site, site.channel(name), owners.pop())}" if len(owners) == 1 else ""
    return ""
