"""``sluice cancel NAME``: waiting sends are stopped, running ones finish (I10). Prefect's own Cancel is an abort."""

from __future__ import annotations

import getpass
from contextlib import suppress

import click

from cli.chosen import names_of
from cli.ledgers import ledger_of, site_snapshot
from cli.session import Session, distributions_of, dry_run_option, now, out, session
from sluice.model.ticket import Phase
from sluice.rules.wording import counted


@click.command()
@click.argument("name", shell_complete=names_of("distributions", "channels"))
@dry_run_option
@session
def cancel(session: Session, name: str, dry_run: bool) -> None:
    """Stop sends that wait; those under way finish.

    NAME is a Distribution or a Channel. Runs that begin later aren't stopped.
    """
    site, at = session.site, now()
    distributions = distributions_of(site, name) | (distributions_of(site, name, is_channel=True) if name in site.channels else set())
    snapshot = site_snapshot(site, distributions=distributions)
    tickets = [t for t in snapshot.tickets if t.live(at) and t.distribution in distributions]
    running = {(t.subscriber, t.distribution) for t in tickets if t.phase is Phase.RUNNING}
    retried = {pair for pair, state in snapshot.states.items() if state.next_try is not None and pair[1] in distributions}
    waiting = (retried | {(t.subscriber, t.distribution) for t in tickets}) - running
    if not dry_run:
        for distributor in sorted({site.distribution(each).distributor for each in distributions}):
            with ledger_of(site, distributor) as ledger:
                if ledger is not None:
                    ledger.request_cancel(name, at=at, by=_account())
    done = "would be cancelled" if dry_run else "is cancelled"
    out(f"{name} {done}: {counted(len(waiting), 'send')} waiting, {counted(len(running), 'send')} under way that will finish")


def _account() -> str:
    with suppress(OSError, KeyError):  # an account without a name
        return getpass.getuser()
    return ""
