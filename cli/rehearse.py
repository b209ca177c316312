"""Dry runs: what build, sign, send, extract, distribute and refresh would do, by the same rules and without Prefect. Nothing is changed.

With ``--json``: ``{"build": {...}, "send": [...]}`` and the like, as each function says; where actions would run also what they would
meet (``rehearse_actions.py``): ``"actions"`` and ``"unasked"``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import click

from cli.ledgers import site_snapshot
from cli.predictions import bytes_cell, extracting_at_once, links_json, predicted, prediction_json, seconds_cell, show_links
from cli.rehearse_actions import rehearsed_actions
from cli.session import Session, emit, now, utc
from cli.tables import count, size, table

if TYPE_CHECKING:
    from sluice.model.revision import RevisionNumber
    from sluice.operations.build import BuildResult
    from sluice.operations.send_plan import SendTarget


def rehearsed_build(session: Session, name: str, *, rebaseline: bool, as_json: bool, sends_to: Collection[str] = ()) -> None:
    """``{"build": {"revision", "previous", "files", "bytes", "bytes_new", "added", "modified", "removed"}, "send_to": []}``.

    ``revision`` is null where nothing changed.
    """
    from infra.workplace import workplace_in
    from sluice.operations.build import build

    distribution, distributor = session.owner(name)
    with workplace_in(session.site, distributor.name) as work:
        result = build(distribution, store=work.store, source=work.source, rebaseline=rebaseline, dry_run=True)
    met = rehearsed_actions(session, ((subscriber, name) for subscriber in sends_to))
    if as_json:
        emit({"build": _build_json(result), "send_to": sorted(sends_to), **met.as_json()})
        return
    found = f"{count(result.files, 'file')}, {size(result.bytes)}"
    if result.revision is None:
        click.echo(f"would build nothing: {name} has no change since {result.previous or 'ever'} ({found})")
    else:
        changes = f"{result.added} added, {result.modified} modified, {result.removed} removed"
        click.echo(f"would build {name} {result.revision}: {found}; {changes}; {size(result.bytes_new)} of new content")
    if sends_to:
        click.echo(f"would send it to those of {', '.join(sorted(sends_to))} that lack it, and have them extract it")
    met.show()


def rehearsed_sign(session: Session, name: str, *, as_json: bool) -> None:
    """``{"publish": [targets that would be listed anew], "withdraw": [targets that would no longer be]}``."""
    from pathlib import Path

    from sluice.operations.sign import listing
    from sluice.trust.publish import Publisher

    _, distributor = session.owner(name)
    directory = Path(distributor.working_directory)
    wanted = listing(name, session.store(name))
    listed = Publisher(directory, distributor=distributor.name).listing(name) if (directory / "trust/repository").is_dir() else {}
    new = sorted(target for target, digest in wanted.items() if listed.get(target) != digest)
    gone = sorted(set(listed) - set(wanted))
    if as_json:
        emit({"publish": new, "withdraw": gone})
        return
    for target in new:
        click.echo(f"would publish {target}")
    for target in gone:
        click.echo(f"would withdraw {target}")
    if not new and not gone:
        click.echo("what is signed is up to date")


def rehearsed_send(session: Session, *, channel: str, distribution: str, to: Sequence[str], check: bool, as_json: bool) -> None:
    """``{"send": [{..., "state", "reason"}], "links": [...]}``, the first as of ``sluice plan``.

    ``state`` and ``reason`` are null where it would be sent. Deltas that aren't there yet are made for their size, and thrown away.
    """
    from sluice.operations.send_plan import plan_sends

    site, states = session.site, site_snapshot(session.site).states
    meant = [distribution] if distribution else [d.name for d in site.distributions_of_channel(channel)]
    latest = {name: kept[-1] for name in meant if (kept := session.store(name).revisions(name))}
    targets: dict[tuple[str, str], SendTarget] = {}
    for each in to or (None,):
        found = plan_sends(
            site, channel=channel or None, distribution=distribution or None, to=each, latest=latest, states=states, check=check
        )
        targets |= {(target.subscriber, target.distribution): target for target in found}
    at_once = extracting_at_once(session, targets.values())
    predictions = predicted(session, targets.values(), exact=True, extracting=at_once)
    rows = [
        prediction_json(target, predictions.get(pair))
        | {"state": target.state.value if target.state else None, "reason": target.reason or None}
        for pair, target in targets.items()
    ]
    met = rehearsed_actions(session, at_once)
    if as_json:
        emit({"send": rows, "links": links_json(rows), **met.as_json()})
        return
    if rows:
        cells = [
            [
                r["subscriber"],
                r["distribution"],
                r["revision"] or "-",
                bytes_cell(r),
                "-" if r["reason"] else seconds_cell(r),
                r["reason"] or _outlook(targets[r["subscriber"], r["distribution"]], r),
            ]
            for r in rows
        ]
        click.echo(table(["subscriber", "distribution", "revision", "bytes", "time", "would be"], cells, right={"bytes", "time"}))
        show_links(links_json(rows))
    else:
        click.echo("nobody would be sent anything")
    met.show()


def rehearsed_extract(session: Session, owners: Sequence[str], subscribers: Sequence[str], distribution: str, *, as_json: bool) -> None:
    """``{"extract": [{"subscriber", "distribution", "revision", "at"}]}``."""
    from sluice.operations.extract_plan import plan_extracts

    states, at = site_snapshot(session.site).states, now()
    found = [
        target
        for owner in owners
        for target in plan_extracts(
            session.site, owner, states, at, subscribers=subscribers, distribution=distribution or None, at_once=True
        )
    ]
    met = rehearsed_actions(session, ((target.subscriber, target.distribution) for target in found))
    if as_json:
        rows = [(t.subscriber, t.distribution, str(t.revision), utc(t.at)) for t in found]
        told = [dict(zip(("subscriber", "distribution", "revision", "at"), row, strict=True)) for row in rows]
        emit({"extract": told, **met.as_json()})
        return
    for target in found:
        click.echo(f"{target.subscriber} would extract {target.distribution} {target.revision}")
    if not found:
        click.echo("no Subscriber holds something that it hasn't extracted")
    met.show()


def rehearsed_refresh(session: Session, distributors: Sequence[str], *, as_json: bool) -> None:
    """``{"refresh": [{"distributor", "sign": [Distributions]}]}``."""
    site = session.site
    found = {name: [d.name for d in site.distributions_of_distributor(name)] for name in distributors}
    if as_json:
        emit({"refresh": [{"distributor": name, "sign": owned} for name, owned in found.items()]})
        return
    for name, owned in found.items():
        click.echo(f"would refresh {name}: renew what is signed of {', '.join(owned) or 'nothing'}, withdraw what left the site")


def _outlook(target: SendTarget, row: dict[str, Any]) -> str:
    if target.is_held:
        return "extracted"
    return f"sent as what differs from {row['base']}" if row["base"] else "sent"


def _build_json(result: BuildResult) -> dict[str, Any]:
    return {
        "revision": _text(result.revision),
        "previous": _text(result.previous),
        "files": result.files,
        "bytes": result.bytes,
        "bytes_new": result.bytes_new,
        "added": result.added,
        "modified": result.modified,
        "removed": result.removed,
    }


def _text(revision: RevisionNumber | None) -> str | None:
    return None if revision is None else str(revision)
