"""``sluice plan`` and ``sluice apply``: what would change, in Prefect and on Subscribers, and doing it (A12).

``plan --json``: ``{"create": [], "update": [], "delete": [], "send": [{"subscriber", "distribution", "revision", "bytes"}], "refresh":
[{"distributor", "next"}]}``; the first three list ``{"kind", "name"}``, an update with ``"differs"``. ``apply --json`` prints those.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from cli.session import Session, dry_run_option, emit, json_option, now, say, session, utc
from cli.tables import count, size, table

if TYPE_CHECKING:
    from infra.orchestrator.changes import Changes
    from sluice.model.revision import RevisionNumber
    from sluice.ports import Store


@click.command()
@json_option
@session
def plan(session: Session, as_json: bool) -> None:
    """Show what would change in Prefect and on Subscribers.

    What would change in Prefect is what `sluice apply` does; then come the sends that are due, with their bytes at most.
    """
    changes, sends, refreshes = planned(session)
    if as_json:
        emit({**changes.as_json(), "send": sends, "refresh": refreshes})
    else:
        _show_plan(changes, sends, refreshes)


@click.command()
@dry_run_option
@click.option("--refresh", "and_refresh", is_flag=True, help="Have the Distributors act on it now, not at their next refresh.")
@json_option
@session
@click.pass_context
def apply(ctx: click.Context, session: Session, dry_run: bool, and_refresh: bool, as_json: bool) -> None:
    """Bring Prefect in line with the site.

    Pools, queues, deployments and schedules are made, changed and removed; a schedule that was paused in Prefect stays so. What
    concerns Subscribers, revisions and trust acts at the Distributor's refresh.
    """
    from cli.prefect_run import PrefectSession

    if dry_run:
        changes, sends, refreshes = planned(session)
        if as_json:
            emit({**changes.as_json(), "send": sends, "refresh": refreshes})
        else:
            _show_plan(changes, sends, refreshes)
        return
    site = session.site
    with PrefectSession(session) as prefect:
        from infra.orchestrator.apply import apply as apply_site

        changes = asyncio.run(apply_site(site))
        if as_json:
            emit(changes.as_json())
        else:
            _show_changes(changes, "nothing to change in Prefect")
        ends = [prefect.run("refresh", {"distributor": name}) for name in sorted(site.distributors)] if and_refresh else []
    for end in ends:
        say(end.message)
    if changes and not and_refresh and not as_json:
        _show_refreshes(refresh_times(session))
    ctx.exit(int(not all(end.completed for end in ends)))


def planned(session: Session) -> tuple[Changes, list[dict[str, Any]], list[dict[str, Any]]]:
    """What apply would change, what is to be sent, and when the Distributors refresh. Reads only."""
    from cli.prefect_run import PrefectSession

    site = session.site
    with PrefectSession(session):
        from infra.orchestrator.apply import plan as plan_site

        changes = asyncio.run(plan_site(site))
    return changes, sends_due(session), refresh_times(session)


def sends_due(session: Session) -> list[dict[str, Any]]:
    """What Subscribers lack of the latest revisions, with the bytes that go where nothing has arrived yet."""
    from cli.ledgers import site_snapshot
    from sluice.operations.send_plan import plan_sends

    site, snapshot = session.site, site_snapshot(session.site)
    latest = {name: built.revision for name, built in snapshot.built.items()}
    found = []
    for target in plan_sends(site, latest=latest, states=snapshot.states):
        if target.is_due and target.revision is not None:
            found.append(
                {
                    "subscriber": target.subscriber,
                    "distribution": target.distribution,
                    "revision": str(target.revision),
                    "bytes": 0 if target.is_held else wire_bytes(session.store(target.distribution), target.distribution, target.revision),
                }
            )
    return found


def wire_bytes(store: Store, distribution: str, revision: RevisionNumber) -> int:
    """An upper bound of what one send moves: manifest uncompressed, index and payload of the ``.ted`` for those that hold nothing."""
    whole = [ted for ted in store.teds(distribution, revision) if ted.base is None]
    return len(store.manifest_bytes(distribution, revision)) + sum(ted.payload + len(ted.index) for ted in whole)


def refresh_times(session: Session) -> list[dict[str, Any]]:
    """When each Distributor acts on a changed site by itself."""
    from sluice.rules.due import next_start

    at = now()
    return [{"distributor": d.name, "next": utc(next_start(d.refresh, at))} for _, d in sorted(session.site.distributors.items())]


def _show_plan(changes: Changes, sends: list[dict[str, Any]], refreshes: list[dict[str, Any]]) -> None:
    _show_changes(changes, "Prefect is in line with the site")
    if sends:
        click.echo("\nto be sent:")
        click.echo(
            table(
                ["subscriber", "distribution", "revision", "bytes"],
                [[s["subscriber"], s["distribution"], s["revision"], size(s["bytes"])] for s in sends],
                right={"bytes"},
            )
        )
        click.echo(f"{count(len(sends), 'send')}, at most {size(sum(s['bytes'] for s in sends))}")
    else:
        click.echo("nothing is to be sent")
    if changes:
        _show_refreshes(refreshes)


def _show_changes(changes: Changes, nothing: str) -> None:
    for change in changes.changes:
        click.echo(str(change))
    if not changes:
        click.echo(nothing)


def _show_refreshes(refreshes: list[dict[str, Any]]) -> None:
    for refresh in refreshes:
        when = f"at the next refresh {refresh['next']}" if refresh["next"] else "when it is refreshed (never by itself)"
        click.echo(f"Distributor {refresh['distributor']}: applies {when}, or now with `sluice refresh {refresh['distributor']}`")
