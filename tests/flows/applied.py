"""Apply a site as somebody does who agrees to every change."""

from infra.orchestrator import apply as orchestrator
from infra.orchestrator.changes import Changes
from sluice.model.site import Site


async def apply(site: Site) -> Changes:
    return await orchestrator.apply(site, decide=lambda changes: changes, say=lambda _: None)
