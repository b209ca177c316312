"""``sluice status`` and ``sluice why``: the state of each Subscriber with each Distribution (X1).

``status --json``: ``{"rows": [{"subscriber", "distribution", "channel", "held", "extracted", "latest", "state", "reason", "since",
"bytes_sent"}], "disk": {distribution: {"revisions", "contents", "own_contents"}}}`` (C6); ``why --json``: one such row with
``"sentence"`` and ``"actions": [{"phase", "label", "exit_code", "seconds", "output"}]``, those that failed if the Subscriber's last
receipt is a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.disk import disk_text, disk_used
from cli.ledgers import failed_actions, site_snapshot
from cli.session import Session, distributions_of, emit, json_option, now, session
from cli.tables import lines, moment, size, table

if TYPE_CHECKING:
    from sluice.model.order import ActionReport
    from sluice.model.site import Site
    from sluice.rules.status_row import StatusRow


@click.command()
@click.argument("name", required=False, default="")
@click.option("--subscriber", default="", metavar="NAME", help="Only this Subscriber.")
@json_option
@session
def status(session: Session, name: str, subscriber: str, as_json: bool) -> None:
    """Show the state of each Subscriber.

    A row for each Subscriber and Distribution, from the ledger. NAME is a Distribution or a Channel; without it
    everything is shown.
    """
    from sluice.rules.reasons import status_rows

    site = session.site
    rows = _of_name(site, name, status_rows(site, site_snapshot(site), now(), subscriber=subscriber))
    if subscriber and not rows:
        site.subscriber(subscriber)
    used = disk_used(session, {row.distribution for row in rows} & site.distributions.keys())
    if as_json:
        emit({"rows": [dict(row.as_json()) for row in rows], "disk": {name: asdict(each) for name, each in used.items()}})
        return
    click.echo(status_table(rows) if rows else "no Channel joins a Subscriber with a Distribution")
    for name, each in used.items():
        click.echo(f"{name} on the Distributor's disk {disk_text(each)}")


@click.command()
@click.argument("subscriber")
@click.argument("distribution")
@json_option
@session
def why(session: Session, subscriber: str, distribution: str, as_json: bool) -> None:
    """Say why a Subscriber has, or does not have, a revision.

    If an action failed there, its output follows, and that of undoing it.
    """
    from sluice.rules import reasons

    site, at = session.site, now()
    snapshot = site_snapshot(site)
    sentence = reasons.why(site, snapshot, subscriber, distribution, at)
    failed = failed_actions(site, snapshot, subscriber, distribution)
    if as_json:
        row = reasons.status_row(site, snapshot, subscriber, distribution, at).as_json()
        emit({**row, "sentence": sentence, "actions": [_action_json(report) for report in failed]})
        return
    click.echo(sentence)
    for report in failed:
        click.echo(f"{report.phase} action, {lines(report.label)}, {_end(report)}{', printed:' if report.output else ', printed nothing'}")
        for line in lines(report.output).splitlines():
            click.echo(f"    {line}")


def _action_json(report: ActionReport) -> dict[str, object]:
    return {
        "phase": report.phase,
        "label": lines(report.label),
        "exit_code": report.exit_code,
        "seconds": report.seconds,
        "output": lines(report.output),
    }


def _end(report: ActionReport) -> str:
    return "ended at its time limit" if report.exit_code is None else f"exit code {report.exit_code}"


def status_table(rows: Sequence[StatusRow]) -> str:
    """Lay out status rows for people; times are in UTC, as in the reasons."""
    return table(
        ["subscriber", "distribution", "channel", "held", "extracted", "latest", "state", "since (utc)", "sent", "reason"],
        [
            [
                row.subscriber or "-",
                row.distribution,
                row.channel or "-",
                str(row.held or "-"),
                str(row.extracted or "-"),
                str(row.latest or "-"),
                row.state.value,
                moment(row.since) or "-",
                size(row.bytes_sent),
                row.reason,
            ]
            for row in rows
        ],
        right={"sent"},
    )


def _of_name(site: Site, name: str, rows: Sequence[StatusRow]) -> Sequence[StatusRow]:
    if not name:
        return rows
    found = [row for row in rows if row.distribution == name]
    if found or name in site.distributions:
        return found
    listed = distributions_of(site, name)
    members = {s.subscriber for s in site.channel(name).subscriptions}
    return [row for row in rows if row.distribution in listed and row.subscriber in members]
