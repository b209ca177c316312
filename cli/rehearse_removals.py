"""What extractions would take away on the hosts that answer (C9): the part of a dry run that asks them. Nothing there changes.

With ``--json`` rows ``{"subscriber", "distribution", "revision", "paths", "count", "problem"}``: the first 1,000 paths and the number of
all (20,001: more than 20,000, and maybe none named), or why the extraction would fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from cli.hosts import on_each, timeout_of, transport_of
from cli.rehearse_actions import ASK_SECONDS
from cli.session import Session
from cli.tables import count, lines

if TYPE_CHECKING:
    from sluice.formats.rehearsals import Removals
    from sluice.model.manifest import Manifest
    from sluice.model.site import Subscriber

SHOWN_MAX = 20
"""Paths shown to a person; --json has up to 1,000."""


@dataclass(frozen=True, slots=True)
class RehearsedRemovals:
    """What the hosts answered, and why the others didn't."""

    rows: list[tuple[str, Manifest, Removals]] = field(default_factory=list)
    unasked: list[tuple[str, str]] = field(default_factory=list)
    """Subscriber, error."""

    def as_json(self) -> list[dict[str, Any]]:
        """The rows."""
        return [
            {
                "subscriber": name,
                "distribution": manifest.distribution,
                "revision": str(manifest.revision),
                "paths": list(found.paths),
                "count": found.count,
                "problem": found.problem,
            }
            for name, manifest, found in self.rows
        ]

    def show(self) -> None:
        """For people; nothing where nothing would go."""
        for name, manifest, found in self.rows:
            what = f"{manifest.distribution} {manifest.revision}"
            if found.problem:
                click.echo(f"{name} would fail to extract {what}: {lines(found.problem)}")
            elif found.count:
                click.echo(f"{name} would remove {_told(found)} with {what}{':' if found.paths else ''}")
                for path in found.paths[:SHOWN_MAX]:
                    click.echo(f"    {lines(path)}")
                if found.paths and found.count > SHOWN_MAX:
                    click.echo(f"    and {found.count - SHOWN_MAX} more")
        for name, error in self.unasked:
            click.echo(f"{name} couldn't be asked what it would remove: {error}")


def _told(found: Removals) -> str:
    from sluice.formats.rehearsals import COUNT_MAX

    return f"more than {count(COUNT_MAX, 'path')}" if found.count > COUNT_MAX else count(found.count, "path")


def newest_manifest(session: Session, distribution: str) -> Manifest | None:
    """Of the newest revision that is built; None where there is none."""
    store = session.store(distribution)
    kept = store.revisions(distribution)
    return store.manifest(distribution, kept[-1]) if kept else None


def removals_of_newest(session: Session, pairs: Sequence[tuple[str, str]]) -> RehearsedRemovals:
    """What extracting the newest revisions would take away, by Subscriber and Distribution."""
    newest = {name: newest_manifest(session, name) for _, name in pairs}
    return rehearsed_removals(session, {(subscriber, name): found for subscriber, name in pairs if (found := newest[name])})


def rehearsed_removals(session: Session, wanted: Mapping[tuple[str, str], Manifest]) -> RehearsedRemovals:
    """Ask each Subscriber what it would take away with a revision: by Subscriber and Distribution.

    Where neither the revision nor one before it synchronizes, nobody is asked.
    """
    by_subscriber: dict[str, list[Manifest]] = {}
    for (subscriber, _), manifest in sorted(wanted.items()):
        if session.site.subscriber(subscriber).active and _synchronizes(session, manifest):
            by_subscriber.setdefault(subscriber, []).append(manifest)
    transport = transport_of(session) if by_subscriber else None

    def ask(subscriber: Subscriber) -> list[tuple[str, Manifest, Removals]]:
        return [(subscriber.name, each, _asked(session, subscriber, each, transport)) for each in by_subscriber[subscriber.name]]

    done = on_each([session.site.subscriber(name) for name in by_subscriber], ask, said=lambda _: None)
    rows = [row for each in done for row in each.result or ()]
    return RehearsedRemovals(rows, [(each.subscriber.name, each.error.message) for each in done if each.error])


def _synchronizes(session: Session, manifest: Manifest) -> bool:
    from sluice.formats.manifest.document import parse_header
    from sluice.model.site import Synchronize

    store = session.store(manifest.distribution)
    kept = [store.manifest_bytes(manifest.distribution, each) for each in store.revisions(manifest.distribution)]
    headers = [manifest, *(parse_header(data.partition(b"\n")[0])[0] for data in kept)]
    return any(destination.synchronize != Synchronize.NO for header in headers for destination in header.destinations)


def _asked(session: Session, subscriber: Subscriber, manifest: Manifest, transport: Any) -> Removals:
    from sluice.blueprint.render.recipe import recipe
    from sluice.errors import AgentVersionError
    from sluice.model.feature import Feature
    from sluice.sender.call import call_agent

    name = manifest.distribution
    made, owner = recipe(session.site, name, subscriber.name), session.site.distribution(name).distributor
    call = call_agent(subscriber, owner, transport=transport, timeout=min(ASK_SECONDS, timeout_of(session.site, subscriber)))
    try:
        if Feature.SYNCHRONIZE not in call.hello.features:
            raise AgentVersionError("its agent is too old to say", remedy=f"run: sluice subscriber bootstrap {subscriber.name}")
        return call.conversation.rehearse_removals(manifest, made.destinations)
    finally:
        call.close()
