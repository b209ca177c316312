"""``sluice doctor``: this machine, the site, Prefect, ledger, trust and Subscribers, each looked at and nothing changed.

``--json``: ``{"failed", "warnings", "findings": [{"health", "area", "object", "sentence", "remedy"}]}``; ``health`` is ok, warning or
failed. Exit code 0 where nothing failed, 1 otherwise: a warning is no failure.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.failures import SOME_FAILED
from cli.hosts import Done, bundle_directory, on_each, publishers_here, timeout_of, transport_of
from cli.session import Session, emit, json_option, now, session
from cli.tables import count, table
from sluice.errors import SluiceError, TrustError
from sluice.rules.diagnosis import Finding, Health, clock_went_back

if TYPE_CHECKING:
    from infra.hosts.check import CheckItem
    from sluice.model.site import Site, Subscriber


@click.command()
@click.option("--subscribers/--no-subscribers", default=True, show_default=True, help="Call every active Subscriber.")
@json_option
@session
@click.pass_context
def doctor(ctx: click.Context, session: Session, subscribers: bool, as_json: bool) -> None:
    """Check this machine, Prefect, workers, keys and Subscribers.

    Says of each what is well and what isn't, and what to do. Changes nothing. Run it as the account that the workers run as, with
    their settings.
    """
    found = list(_findings(session, subscribers))
    failed = sum(finding.health is Health.FAILED for finding in found)
    warnings = sum(finding.health is Health.WARNING for finding in found)
    if as_json:
        rows = [{"health": f.health.value, "area": f.area, "object": f.object, "sentence": f.sentence, "remedy": f.remedy} for f in found]
        emit({"failed": failed, "warnings": warnings, "findings": rows})
    else:
        click.echo(
            table(["", "area", "object", "finding", "remedy"], [[f.health.value, f.area, f.object, f.sentence, f.remedy] for f in found])
        )
        click.echo(f"\n{len(found)} checks: {failed} failed, {count(warnings, 'warning')}")
    ctx.exit(SOME_FAILED if failed else 0)


def _findings(session: Session, subscribers: bool) -> Iterator[Finding]:
    from infra.doctor import machine

    yield machine.python()
    try:
        site = session.site
    except SluiceError as error:
        yield from machine.site_failed(session.directory, error)
        return
    yield machine.site_is_valid(site, os.environ.get("SLUICE_SITE"))
    yield from machine.identities(site)
    yield from _of_distributors(site, now())
    yield machine.agent_bundle(bundle_directory(session))
    yield from _of_prefect(session, site)
    if subscribers:
        yield from _of_subscribers(session, site)


def _of_distributors(site: Site, at: datetime) -> Iterator[Finding]:
    """What those at home on this machine have here, and this machine's clock beside what their ledgers hold."""
    from infra.doctor import ledger, machine
    from infra.workplace import ledger_place

    here = machine.distributors_here(site)
    yield from machine.elsewhere(site)
    for distributor in here:
        yield from machine.working_directory(distributor)
        yield from machine.trust(site, distributor, at)
    looked = [ledger.look(place, at) for place in dict.fromkeys(ledger_place(distributor) for distributor in here)]
    for each in looked:
        yield from each.findings
    newest = max((time for each in looked if (time := each.newest())), default=None)
    yield clock_went_back(at, newest, what="what the ledger holds")


def _of_prefect(session: Session, site: Site) -> Iterator[Finding]:
    from infra.orchestrator.server_address import is_healthy, read_address, running_server, state_directory

    address = running_server(session.directory)
    if address is None or not is_healthy(address.api_url):
        where = f"nothing answers at {address.api_url}" if address else "no server is known"
        remedy = "start `sluice up`, or sluice-server.service (docs/deploy.md); PREFECT_API_URL says where it is"
        yield Finding(Health.FAILED, "prefect", "server", where, remedy)
        return
    from cli.prefect_run import PrefectSession

    own = read_address(state_directory(session.directory))
    with PrefectSession(session):  # it answers, so none is started
        from infra.doctor import orchestrator

        yield from asyncio.run(orchestrator.look(site, embedded=own is not None and own.api_url == address.api_url, now=now()))


def _of_subscribers(session: Session, site: Site) -> Iterator[Finding]:
    from infra.hosts.agent_bundle import Platform, bundles
    from infra.hosts.bootstrap import distributors_of
    from infra.hosts.check import check, needs_of

    transport, kept = transport_of(session), bundle_directory(session)
    # Checking one compares its agent with the bundle for it, which is made where there is none: for this once, elsewhere.
    with tempfile.TemporaryDirectory(prefix="sluice-doctor-") as apart:
        current = any(bundle.platform == Platform.here() and bundle.is_current for bundle in bundles(kept))

        def work(host: Subscriber) -> list[CheckItem]:
            try:
                publishers = publishers_here(site, distributors_of(site, host.name))
            except TrustError:  # said of its Distributors above
                publishers = {}
            return check(
                host,
                publishers,
                transport=transport,
                bundles=kept if current else Path(apart),
                timeout=timeout_of(site, host),
                needs=needs_of(site, host.name),
            )

        active = [each for _, each in sorted(site.subscribers.items()) if each.active]
        for done in on_each(active, work, said=lambda _: None):
            yield from _of_subscriber(done)


def _of_subscriber(done: Done[list[CheckItem]]) -> Iterator[Finding]:
    if done.error is not None:
        yield Finding(Health.FAILED, "subscriber", done.subscriber.name, done.error.message, done.error.remedy)
    for item in done.result or ():
        health = Health.FAILED if not item.ok else Health.WARNING if item.remedy else Health.OK
        yield Finding(health, "subscriber", done.subscriber.name, f"{item.item}: {item.detail}", item.remedy)
