"""``sluice cancel NAME``: what waits stops, what runs finishes (I10). Prefect's own Cancel is an abort."""

from __future__ import annotations

import getpass
from contextlib import suppress

import click

from cli.ledgers import ledger_of, site_snapshot
from cli.session import Session, dry_run_option, now, session
from cli.tables import count
from sluice.errors import NotFoundError
from sluice.model.site import Site
from sluice.model.ticket import Phase


@click.command()
@click.argument("name")
@dry_run_option
@session
def cancel(session: Session, name: str, dry_run: bool) -> None:
    """Stop what waits to be sent; what runs finishes.

    NAME is a Distribution or a Channel. Runs that begin later aren't stopped by it.
    """
    site, at = session.site, now()
    distributions = _meant(site, name)
    snapshot = site_snapshot(site)
    tickets = [t for t in snapshot.tickets if t.live(at) and t.distribution in distributions]
    running = {(t.subscriber, t.distribution) for t in tickets if t.phase is Phase.RUNNING}
    retried = {pair for pair, state in snapshot.states.items() if state.next_try is not None and pair[1] in distributions}
    waiting = (retried | {(t.subscriber, t.distribution) for t in tickets}) - running
    if not dry_run:
        for distributor in sorted({site.distribution(each).distributor for each in distributions}):
            with ledger_of(site, distributor) as ledger:
                if ledger is not None:
                    ledger.request_cancel(name, at=at, by=_who())
    done = "would be cancelled" if dry_run else "is cancelled"
    click.echo(f"{name} {done}: {count(len(waiting), 'send')} waiting, {count(len(running), 'send')} under way to be finished")


def _who() -> str:
    with suppress(OSError, KeyError):  # an account without a name
        return getpass.getuser()
    return ""


def _meant(site: Site, name: str) -> set[str]:
    found = {d.name for d in site.distributions_of_channel(name)} if name in site.channels else set()
    if name in site.distributions:
        found.add(name)
    if not found and name not in site.channels:
        known = ", ".join(sorted({*site.distributions, *site.channels})) or "none"
        raise NotFoundError(f"no Distribution or Channel is named {name!r}", remedy=f"the site has: {known}")
    return found
