"""``sluice plan`` and ``sluice apply``: show what would change in Prefect and on Subscribers, and change Prefect (A12).

``plan --json``: ``{"create": [], "update": [], "delete": [], "adopt": [NAME], "send": [{"subscriber", "distribution", "revision", "base",
"bytes", "exact", "seconds", "link"}], "links": [{"link", "sends", "bytes", "exact", "seconds"}], "refresh": [{"distributor", "next"}]}``;
the first three list ``{"kind", "name"}``, an update with ``"differs"``. ``apply --json`` prints the first four. ``bytes`` count both
directions, null is unknown; if ``exact`` is false a delta isn't made yet, and ``bytes`` is about the most it can be.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from cli.predictions import bytes_cell, links_json, predicted, prediction_json, seconds_cell, show_links
from cli.session import Session, dry_run_option, emit, json_option, now, say, session, utc
from cli.tables import table

if TYPE_CHECKING:
    from infra.orchestrator.changes import Changes


@click.command()
@json_option
@session
def plan(session: Session, as_json: bool) -> None:
    """Show what would change in Prefect and on Subscribers.

    Changes in Prefect are made by `sluice apply`; then come the sends that are due, with the bytes and the time they will take.
    """
    _show_plan(session, as_json=as_json)


@click.command()
@dry_run_option
@click.option("--refresh", "and_refresh", is_flag=True, help="Have the Distributors act on it now, not at their next refresh.")
@json_option
@session
@click.pass_context
def apply(ctx: click.Context, session: Session, dry_run: bool, and_refresh: bool, as_json: bool) -> None:
    """Bring Prefect in line with the site.

    Pools, queues, deployments and schedules are created, changed and removed; a schedule that was paused in Prefect stays paused.
    Changes that concern Subscribers, revisions and trust take effect at the Distributor's refresh.
    """
    from cli.prefect_run import prefect_server, run_flow

    if dry_run:
        _show_plan(session, as_json=as_json)
        return
    site = session.site
    _say_ended(session)
    with prefect_server(session):
        from infra.orchestrator.apply import apply as apply_site

        changes = asyncio.run(apply_site(site, say=say))
        if as_json:
            emit(changes.as_json())
        else:
            _show_changes(changes, "nothing to change in Prefect")
        ends = [run_flow(session, "refresh", {"distributor": name}) for name in sorted(site.distributors)] if and_refresh else []
    for end in ends:
        say(end.message)
    if changes and not and_refresh and not as_json:
        _show_refreshes(refresh_times(session))
    ctx.exit(int(not all(end.completed for end in ends)))


def sends_due(session: Session) -> list[dict[str, Any]]:
    """List the sends of latest revisions that are due, as ``prediction_json``."""
    from cli.ledgers import site_snapshot
    from sluice.distributor.plan.extractions import extracting_at_once
    from sluice.distributor.plan.sends import plan_sends

    snapshot = site_snapshot(session.site)
    latest = {name: built.revision for name, built in snapshot.built.items()}
    due = [target for target in plan_sends(session.site, latest=latest, states=snapshot.states) if target.is_due]
    predictions = predicted(session, due, exact=False, extracting=extracting_at_once(session.site, due, now()))
    return [prediction_json(target, predictions.get((target.subscriber, target.distribution))) for target in due]


def refresh_times(session: Session) -> list[dict[str, Any]]:
    """List when each Distributor acts on a changed site by itself."""
    from sluice.rules.due import next_start

    at = now()
    return [{"distributor": d.name, "next": utc(next_start(d.refresh, at))} for _, d in sorted(session.site.distributors.items())]


def _show_plan(session: Session, *, as_json: bool) -> None:
    """Print what apply would change, the sends that are due, and when the Distributors refresh. Reads only."""
    from cli.prefect_run import prefect_server

    site = session.site
    _say_ended(session)
    with prefect_server(session):
        from infra.orchestrator.apply import plan as plan_site

        changes = asyncio.run(plan_site(site))
    sends, refreshes = sends_due(session), refresh_times(session)
    if as_json:
        emit({**changes.as_json(), "send": sends, "links": links_json(sends), "refresh": refreshes})
        return
    _show_changes(changes, "Prefect is in line with the site")
    if sends:
        click.echo("\nsends that are due:")
        cells = [[s["subscriber"], s["distribution"], s["revision"], s["base"] or "-", bytes_cell(s), seconds_cell(s)] for s in sends]
        click.echo(table(["subscriber", "distribution", "revision", "from", "both ways", "time"], cells, right={"both ways", "time"}))
        show_links(links_json(sends))
    else:
        click.echo("no send is due")
    if changes:
        _show_refreshes(refreshes)


def _say_ended(session: Session) -> None:
    """Name the schedules by which nothing starts any more: Prefect shows nothing of them."""
    from sluice.blueprint.check.advice import ended_schedules

    for each in ended_schedules(session.site, now()):
        say(str(each))


def _show_changes(changes: Changes, nothing: str) -> None:
    if changes.adopted:
        click.echo(f"from before sites had ids, and taken for this site's by their names: {', '.join(changes.adopted)}")
    for change in changes.changes:
        click.echo(str(change))
    if not changes:
        click.echo(nothing)


def _show_refreshes(refreshes: list[dict[str, Any]]) -> None:
    for refresh in refreshes:
        when = f"at the next refresh {refresh['next']}" if refresh["next"] else "when it is refreshed (never by itself)"
        click.echo(f"Distributor {refresh['distributor']}: applies {when}, or now with `sluice refresh {refresh['distributor']}`")
