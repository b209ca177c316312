"""``sluice plan`` and ``sluice apply``: show what would change in Prefect and on Subscribers, and change Prefect (A12).

docs/plan.md describes both, with ``--json`` and the exit codes.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.changes_markdown import changes_markdown
from cli.changes_text import changes_text
from cli.confirm import confirm, yes_option
from cli.failures import CHANGES
from cli.predictions import bytes_cell, links_json, predicted, prediction_json, show_links, time_cell
from cli.session import Session, dry_run_option, emit, json_option, json_text, now, out, say, session, utc
from cli.tables import table
from sluice.durable import replace_atomically
from sluice.errors import PlanDiffersError
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from infra.orchestrator.changes import Changes
    from infra.orchestrator.reviewed import ReviewedPlan
    from sluice.model.site import Site

_NAMED = 5
"""Changes that an error names; all of them are shown before it."""
_FILE = click.Path(path_type=Path, dir_okay=False)


def _read_plan(_ctx: click.Context, _option: click.Parameter, path: Path | None) -> ReviewedPlan | None:
    from infra.orchestrator.reviewed import ReviewedPlan

    try:
        return ReviewedPlan.read(path) if path else None
    except ValueError as error:
        raise click.BadParameter(f"{path}: {error}: name a file of `sluice plan --save`") from None


_reviewed_option = click.option(
    "--reviewed",
    type=_FILE,
    callback=_read_plan,
    metavar="FILE",
    help="Fail unless FILE, made by `sluice plan --save`, says all that would be changed in Prefect.",
)


@click.command()
@click.option("--exit-code", "tell", is_flag=True, help=f"Exit with {CHANGES} if `sluice apply` would change something in Prefect.")
@click.option("--save", type=_FILE, metavar="FILE", help="Write the plan to FILE too, as JSON, for --reviewed.")
@click.option("--markdown", type=_FILE, metavar="FILE", help="Write the changes in Prefect to FILE as Markdown, for a comment.")
@_reviewed_option
@json_option
@session
@click.pass_context
def plan(
    ctx: click.Context, session: Session, tell: bool, save: Path | None, markdown: Path | None, reviewed: ReviewedPlan | None, as_json: bool
) -> None:
    """Show what would change in Prefect and on Subscribers.

    Changes in Prefect are made by `sluice apply`, old -> new for each field; then come the sends that are due, with the bytes and the
    time they will take.
    """
    changes = _planned(session)
    document = _document(session, changes)
    if save:
        replace_atomically(save, json_text(document).encode("utf-8", "backslashreplace"))
    if markdown:
        replace_atomically(markdown, changes_markdown(changes, document["digest"]).encode("utf-8", "backslashreplace"))
    _show_plan(document, changes, reviewed, as_json=as_json)
    ctx.exit(CHANGES if changes and tell else 0)


@click.command()
@dry_run_option
@yes_option
@_reviewed_option
@click.option("--refresh", "and_refresh", is_flag=True, help="Have the Distributors act on it now, not at their next refresh.")
@json_option
@session
@click.pass_context
def apply(
    ctx: click.Context, session: Session, dry_run: bool, yes: bool, reviewed: ReviewedPlan | None, and_refresh: bool, as_json: bool
) -> None:
    """Bring Prefect in line with the site.

    Pools, queues, deployments and schedules are created, changed and removed; a schedule that was paused in Prefect stays paused. Before
    anything is deleted it asks; without a terminal it refuses, unless --yes is given, or a plan that somebody reviewed says it. Changes
    that concern Subscribers, revisions and trust take effect at the Distributor's refresh.
    """
    from cli.prefect_run import prefect_server, run_flow

    if dry_run:
        changes = _planned(session)
        _show_plan(_document(session, changes), changes, reviewed, as_json=as_json)
        return
    site = session.site
    _say_ended(session)
    with prefect_server(session):
        changes = _applied(site, yes=yes, reviewed=reviewed)
        if as_json:
            emit(changes.as_json())
        else:
            out(changes_text(changes, done=True))
        ends = [run_flow(session, "refresh", {"distributor": name}) for name in sorted(site.distributors)] if and_refresh else []
    for end in ends:
        say(end.message)
    if changes and not and_refresh and not as_json:
        _show_refreshes(refresh_times(session))
    ctx.exit(int(not all(end.completed for end in ends)))


class _Asks(Exception):
    """Nobody agreed to these deletions yet."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes


def _hold(reviewed: ReviewedPlan | None, changes: Changes) -> None:
    """Raise PlanDiffersError, and show on stderr why, if a plan was reviewed that doesn't say all of these changes."""
    if reviewed and (beyond := reviewed.beyond(changes)):
        say(changes_text(replace(changes, changes=beyond), done=False))
        names = ", ".join(map(str, beyond[:_NAMED])) + (f" and {len(beyond) - _NAMED} more" if len(beyond) > _NAMED else "")
        raise PlanDiffersError(
            f"the reviewed plan doesn't say what would be done now: {names}; nothing was changed",
            remedy="make a plan anew with `sluice plan --save FILE`, and have it reviewed",
        )


def _applied(site: Site, *, yes: bool, reviewed: ReviewedPlan | None) -> Changes:
    """Bring Prefect in line; before anything is deleted, have somebody agree to those very deletions."""
    from infra.orchestrator.apply import apply as apply_site

    agreed: frozenset[str] = frozenset()

    def decide(changes: Changes) -> Changes:
        _hold(reviewed, changes)
        if yes or reviewed or agreed.issuperset(map(str, changes.deletions)):
            return changes
        raise _Asks(changes)

    while True:
        try:
            return asyncio.run(apply_site(site, decide=decide, say=say))
        except _Asks as asks:  # outside of the event loop, in which Ctrl-C would have to be typed twice
            changes = asks.changes
        shown = changes if sys.stdin.isatty() else replace(changes, changes=changes.deletions)
        confirm(counted(len(changes.deletions), "object"), "delete", yes=False, show=partial(say, changes_text(shown, done=False)))
        agreed = frozenset(map(str, changes.deletions))


def sends_due(session: Session) -> list[dict[str, Any]]:
    """List the sends of latest revisions that are due, as ``prediction_json``."""
    from cli.ledgers import site_snapshot
    from sluice.distributor.plan.extractions import extracting_at_once
    from sluice.distributor.plan.sends import plan_sends

    snapshot = site_snapshot(session.site)
    latest = {**snapshot.unrecorded, **{name: built.revision for name, built in snapshot.built.items()}}
    due = [target for target in plan_sends(session.site, latest=latest, states=snapshot.states) if target.is_due]
    predictions = predicted(session, due, exact=False, extracting=extracting_at_once(session.site, due, now()))
    return [prediction_json(target, predictions.get((target.subscriber, target.distribution))) for target in due]


def refresh_times(session: Session) -> list[dict[str, Any]]:
    """List when each Distributor acts on a changed site by itself."""
    from sluice.rules.due import next_start

    at = now()
    return [{"distributor": d.name, "next": utc(next_start(d.refresh, at))} for _, d in sorted(session.site.distributors.items())]


def _planned(session: Session) -> Changes:
    """Return what apply would change. Reads only."""
    from cli.prefect_run import prefect_server

    site = session.site
    _say_ended(session)
    with prefect_server(session):
        from infra.orchestrator.apply import plan as plan_site

        return asyncio.run(plan_site(site))


def _document(session: Session, changes: Changes) -> dict[str, Any]:
    """Make the JSON of a plan: the changes, the sends that are due, and when the Distributors refresh."""
    from infra.orchestrator.reviewed import plan_json

    sends = sends_due(session)
    return {**plan_json(changes), "send": sends, "links": links_json(sends), "refresh": refresh_times(session)}


def _show_plan(document: dict[str, Any], changes: Changes, reviewed: ReviewedPlan | None, *, as_json: bool) -> None:
    if as_json:
        _hold(reviewed, changes)  # of two documents nobody could read either
        emit(document)
        return
    out(changes_text(changes, done=False))
    if sends := document["send"]:
        out("\nsends that are due:")
        cells = [[s["subscriber"], s["distribution"], s["revision"], s["base"] or "-", bytes_cell(s), time_cell(s)] for s in sends]
        out(table(["subscriber", "distribution", "revision", "from", "both ways", "time"], cells, right={"both ways", "time"}))
        show_links(sends)
    else:
        out("no send is due")
    if changes:
        _show_refreshes(document["refresh"])
    _hold(reviewed, changes)


def _say_ended(session: Session) -> None:
    """Name the schedules by which nothing starts any more: Prefect shows nothing of them."""
    from sluice.blueprint.check.advice import ended_schedules

    for each in ended_schedules(session.site, now()):
        say(str(each))


def _show_refreshes(refreshes: list[dict[str, Any]]) -> None:
    for refresh in refreshes:
        when = f"at the next refresh {refresh['next']}" if refresh["next"] else "when it is refreshed (never by itself)"
        out(f"Distributor {refresh['distributor']}: applies {when}, or now with `sluice refresh {refresh['distributor']}`")
