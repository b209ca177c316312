"""Ask hosts for a dry run what extractions would remove there (C9).

With ``--json`` rows ``{"subscriber", "distribution", "revision", "paths", "count", "problem"}``: the first 1,000 paths and the number of
all (20,001: more than 20,000, and maybe none named), or why the extraction would fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click

from cli.ask import ask_agents
from cli.session import Session
from cli.tables import lines
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from sluice.formats.rehearsals import Removals
    from sluice.model.manifest import Manifest
    from sluice.model.recipe import RenderedRecipe
    from sluice.sender.conversation import Conversation

SHOWN_MAX = 20
"""Paths shown to a person; --json has up to 1,000."""


@dataclass(frozen=True, slots=True)
class RehearsedRemovals:
    """The answers of the hosts, and the errors of those that could not be asked."""

    rows: list[tuple[str, Manifest, Removals]] = field(default_factory=list)
    unasked: list[tuple[str, str]] = field(default_factory=list)
    """Subscriber, error."""

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rows."""
        return [
            {"subscriber": name, "distribution": manifest.distribution, "revision": str(manifest.revision), **asdict(found)}
            for name, manifest, found in self.rows
        ]

    def show(self) -> None:
        """Print them; nothing if nothing would be removed."""
        for name, manifest, found in self.rows:
            what = f"{manifest.distribution} {manifest.revision}"
            if found.problem:
                click.echo(f"{name} would fail to extract {what}: {lines(found.problem)}")
            elif found.count:
                click.echo(f"{name} would remove {_number(found)} with {what}{':' if found.paths else ''}")
                for path in found.paths[:SHOWN_MAX]:
                    click.echo(f"    {lines(path)}")
                if found.paths and found.count > SHOWN_MAX:
                    click.echo(f"    and {found.count - SHOWN_MAX} more")
        for name, error in self.unasked:
            click.echo(f"{name} could not be asked what it would remove: {error}")


def _number(found: Removals) -> str:
    from sluice.formats.rehearsals import COUNT_MAX

    return f"more than {counted(COUNT_MAX, 'path')}" if found.count > COUNT_MAX else counted(found.count, "path")


def newest_manifest(session: Session, distribution: str) -> Manifest | None:
    """Return the manifest of the newest revision that is built; None if there is none."""
    store = session.store(distribution)
    kept = store.revisions(distribution)
    return store.manifest(distribution, kept[-1]) if kept else None


def newest_manifests(session: Session, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Manifest]:
    """Map (Subscriber, Distribution) to the manifest of the newest revision that is built; without those that have none."""
    newest = {name: newest_manifest(session, name) for _, name in pairs}
    return {(subscriber, name): found for subscriber, name in pairs if (found := newest[name])}


def rehearsed_removals(session: Session, manifests: Mapping[tuple[str, str], Manifest]) -> RehearsedRemovals:
    """Ask Subscribers what a revision would remove; none is asked if neither the revision nor one before it synchronizes.

    Args:
        manifests: (Subscriber, Distribution) to the revision's.
    """
    from sluice.model.feature import Feature
    from sluice.sender.rehearsing import rehearse_removals

    def ask(conversation: Conversation, name: str, distribution: str, recipe: RenderedRecipe) -> tuple[str, Manifest, Removals]:
        manifest = manifests[name, distribution]
        return name, manifest, rehearse_removals(conversation, manifest, recipe.destinations)

    active = [pair for pair in sorted(manifests) if session.site.subscriber(pair[0]).active]
    pairs = [pair for pair in active if _synchronizes(session, manifests[pair])]
    return RehearsedRemovals(*ask_agents(session, pairs, Feature.SYNCHRONIZE, ask))


def _synchronizes(session: Session, manifest: Manifest) -> bool:
    from sluice.formats.manifest.document import parse_header
    from sluice.model.site import Synchronize

    store = session.store(manifest.distribution)
    kept = [store.manifest_bytes(manifest.distribution, each) for each in store.revisions(manifest.distribution)]
    headers = [manifest, *(parse_header(data.partition(b"\n")[0])[0] for data in kept)]
    return any(destination.synchronize != Synchronize.NO for header in headers for destination in header.destinations)
