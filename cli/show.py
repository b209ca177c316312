"""``sluice show``: effective settings and their origin (A15), and the next time of every schedule (D1)."""

from __future__ import annotations

from dataclasses import asdict

import click

from cli.chosen import names_of
from cli.disk import disk_text, disk_used
from cli.schedules import schedule_table
from cli.session import Session, emit, json_option, now, out, session
from cli.tables import table
from sluice.errors import NotFoundError

SCHEDULES = "schedules"
KINDS = ("distributors", "subscribers", "channels", "distributions")


@click.command()
@click.argument("kind", shell_complete=names_of(*KINDS))
@click.argument("name", required=False, shell_complete=names_of(*KINDS))
@json_option
@session
def show(session: Session, kind: str, name: str | None, as_json: bool) -> None:
    """Show effective settings and their origin.

    KIND is distributor, subscriber, channel or distribution, and may be left out if the name is unique.
    `sluice show schedules` lists the next time of every schedule.
    """
    if kind == SCHEDULES and name is None:
        from sluice.distributor.plan.next_times import schedule_rows

        rows = schedule_rows(session.site, now())
        if as_json:
            emit({"schedules": rows})
        else:
            out(schedule_table(rows))
        return
    from sluice.blueprint.render.settings import effective_settings

    kind, name = (_kind_of(session, kind), kind) if name is None else (kind.lower(), name)
    settings = effective_settings(session.site, kind, name)
    used = disk_used(session, [name]).get(name) if kind == "distribution" else None
    if as_json:
        disk = {} if used is None else {"disk": asdict(used)}
        emit({"kind": kind, "name": name, "settings": [{"setting": s, "value": v, "origin": o} for s, v, o in settings], **disk})
        return
    out(table(["setting", "value", "origin"], [list(row) for row in settings]))
    if used is not None:
        out(f"on the Distributor's disk {disk_text(used)}")


def _kind_of(session: Session, name: str) -> str:
    site = session.site
    kinds = {
        "distributor": site.distributors,
        "subscriber": site.subscribers,
        "channel": site.channels,
        "distribution": site.distributions,
    }
    found = [kind for kind, named in kinds.items() if name in named]
    if not found:
        known = sorted({known for named in kinds.values() for known in named})
        raise NotFoundError(f"nothing is named {name!r}", remedy=f"the site has: {', '.join(known) or 'nothing'}")
    if len(found) > 1:
        raise NotFoundError(f"{name} is a {' and a '.join(found)}", remedy=f"say which: `sluice show {found[0]} {name}`")
    return found[0]
