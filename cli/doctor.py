"""``sluice doctor``: check this machine, the site, Prefect, ledger, trust and Subscribers, and change nothing.

``--json``: ``{"failed", "warnings", "findings": [{"health", "area", "object", "sentence", "remedy"}]}``; ``health`` is ok, warning or
failed. Exit code 0 if nothing failed, 1 otherwise: a warning is not a failure.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.contacts import contacts_of
from cli.failures import SOME_FAILED
from cli.findings import findings_text, host_findings, verbose_option
from cli.hosts import bundle_directory, on_each, publishers_here, timeout_of, transport_of
from cli.session import Session, emit, json_option, now, out, session
from sluice.errors import SluiceError, TrustError
from sluice.rules.diagnosis import Finding, Health, clock_went_back

if TYPE_CHECKING:
    from infra.hosts.check import CheckItem
    from sluice.model.site import Site, Subscriber


@click.command()
@click.option("--subscribers/--no-subscribers", default=True, show_default=True, help="Call every active Subscriber.")
@verbose_option
@json_option
@session
@click.pass_context
def doctor(ctx: click.Context, session: Session, subscribers: bool, listed: bool, as_json: bool) -> None:
    """Check this machine, Prefect, workers, keys and Subscribers.

    What failed comes first, each with a remedy, then warnings. Changes nothing; what agents say is recorded in the ledger. Run it as
    the account of the workers, with their settings.
    """
    found = list(_findings(session, subscribers))
    failed = sum(finding.health is Health.FAILED for finding in found)
    warnings = sum(finding.health is Health.WARNING for finding in found)
    if as_json:
        emit({"failed": failed, "warnings": warnings, "findings": [asdict(each) for each in found]})
    else:
        out(findings_text(found, listed=listed))
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
    usable: set[str] = set()
    yield from _distributor_findings(site, now(), usable, calls=subscribers)
    yield machine.agent_bundle(bundle_directory(session))
    yield from _prefect_findings(session, site)
    if subscribers:
        yield from _subscribers_findings(session, site, usable)


def _distributor_findings(site: Site, at: datetime, usable: set[str], *, calls: bool) -> Iterator[Finding]:
    """Check the files of the Distributors of this machine, and compare its clock with their ledgers.

    Args:
        usable: Gets the Distributors whose ledgers needn't be upgraded, created or repaired.
        calls: Hosts are asked later.
    """
    from infra.doctor import ledger, machine
    from infra.doctor.sources import sources
    from infra.workplace import ledger_place
    from sluice.rules.diagnosis import beliefs, builds

    here = machine.distributors_here(site)
    yield from machine.elsewhere(site)
    for distributor in here:
        yield from machine.working_directory(distributor)
        yield from machine.trust(site, distributor, at)
    by_place = {place: ledger.look(place, at) for place in dict.fromkeys(ledger_place(distributor) for distributor in here)}
    examined = list(by_place.values())
    for each in examined:
        yield from each.findings
    for distributor in here:
        snapshot = by_place[ledger_place(distributor)].snapshot
        yield from sources(site, distributor, snapshot)
        if snapshot is not None:
            usable.add(distributor.name)
            yield from builds(site, distributor.name, snapshot, at)
            yield from beliefs(site, distributor.name, snapshot, at, calls=calls)
    newest = max((time for each in examined if (time := each.newest())), default=None)
    yield clock_went_back(at, newest, what="what the ledger holds")


def _prefect_findings(session: Session, site: Site) -> Iterator[Finding]:
    from infra.orchestrator.server_address import is_healthy, read_address, running_server, state_directory

    address = running_server(session.directory)
    if address is None or not is_healthy(address.api_url):
        problem = f"nothing answers at {address.api_url}" if address else "no server is known"
        remedy = "start `sluice up`, or sluice-server.service (docs/deploy.md), and set PREFECT_API_URL to its address"
        yield Finding(Health.FAILED, "prefect", "server", problem, remedy)
        return
    from cli.prefect_run import prefect_server

    own = read_address(state_directory(session.directory))
    with prefect_server(session):  # a server answers, so none is started
        from infra.doctor import orchestrator

        yield from asyncio.run(orchestrator.look(site, embedded=own is not None and own.api_url == address.api_url, now=now()))


def _subscribers_findings(session: Session, site: Site, usable: Collection[str]) -> Iterator[Finding]:
    from infra.hosts.agent_bundle import Platform, bundles
    from infra.hosts.bootstrap import distributors_of
    from infra.hosts.check import check, needs_of

    transport, kept = transport_of(session), bundle_directory(session)
    # A check compares the agent with its bundle, which is made if there is none: here in a temporary directory.
    with tempfile.TemporaryDirectory(prefix="sluice-doctor-") as temporary:
        current = any(bundle.platform == Platform.current() and bundle.is_current for bundle in bundles(kept))

        def work(host: Subscriber) -> list[CheckItem]:
            try:
                publishers = publishers_here(site, distributors_of(site, host.name))
            except TrustError:  # reported of its Distributors above
                publishers = {}
            return check(
                host,
                publishers,
                transport=transport,
                bundles=kept if current else Path(temporary),
                timeout=timeout_of(site, host),
                needs=needs_of(site, host.name),
                contacts=contacts,
            )

        active = [each for _, each in sorted(site.subscribers.items()) if each.active]
        with contacts_of(site, usable) as contacts:
            results = on_each(active, work)
    for done in results:
        yield from host_findings(done)
