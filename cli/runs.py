"""``sluice build``, ``sign``, ``send``, ``extract``, ``distribute`` and ``refresh``: run that flow now, seen in Prefect.

In this process against the server there is; ``--detach`` leaves it to a worker by a run of the deployment. What happened to each
Subscriber is then read from the ledger and printed as a table, or with ``--json`` as ``{"runs": [{"flow", "completed", "message"}],
"rows"}``, whose rows are those of ``status --json`` with ``bytes``, ``seconds`` and ``error``. With ``--detach --json``:
``{"detached": [{"deployment", "run", "url"}]}``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cli.failures import worst_exit
from cli.outcome import Outcome, Watch, outcome_table
from cli.prefect_run import PrefectSession, RunEnd, Value, detach
from cli.rehearse import rehearsed_build, rehearsed_extract, rehearsed_refresh, rehearsed_send, rehearsed_sign
from cli.session import Session, dry_run_option, emit, json_option, no_repeats, now, session
from sluice.errors import NotFoundError, OrchestratorError

if TYPE_CHECKING:
    from sluice.model.site import Site
    from sluice.rules.reasons import StatusRow

detach_option = click.option("--detach", "detached", is_flag=True, help="Leave it to a worker and don't wait.")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Flow runs of one command."""

    runs: Sequence[tuple[str, dict[str, Value]]]
    """Flow and parameters; those of a deployment and what is to differ from them."""
    distributions: frozenset[str] = frozenset()
    """Whose rows are shown at the end; empty: none."""
    rows: Callable[[StatusRow], bool] = lambda _: True
    """Which of their rows."""


@click.command()
@click.argument("name")
@click.option("--rebaseline", is_flag=True, help="Build a new baseline even if nothing changed.")
@dry_run_option
@detach_option
@json_option
@session
@click.pass_context
def build(ctx: click.Context, session: Session, name: str, rebaseline: bool, dry_run: bool, detached: bool, as_json: bool) -> None:
    """Build and sign a Distribution where its sources changed."""
    distribution, _ = session.owner(name)
    if dry_run:
        rehearsed_build(session, name, rebaseline=rebaseline, as_json=as_json)
        return
    follows = frozenset({name}) if distribution.send_immediately else frozenset()
    wanted = Wanted([("build", {"distribution": name, "rebaseline": rebaseline})], follows)
    ctx.exit(_carry_out(session, wanted, detached=detached, as_json=as_json))


@click.command()
@click.argument("name")
@dry_run_option
@json_option
@session
@click.pass_context
def sign(ctx: click.Context, session: Session, name: str, dry_run: bool, as_json: bool) -> None:
    """Publish signed metadata of what can be sent of a Distribution."""
    session.owner(name)
    if dry_run:
        rehearsed_sign(session, name, as_json=as_json)
        return
    ctx.exit(_carry_out(session, Wanted([("sign", {"distribution": name})]), detached=False, as_json=as_json))


@click.command()
@click.argument("name")
@click.option("--to", "to", metavar="SUBSCRIBER", multiple=True, help="Only to this Subscriber; may be repeated.")
@click.option("--channel", "is_channel", is_flag=True, help="NAME is a Channel, where a Distribution has that name too.")
@click.option("--check", is_flag=True, help="Ask the Subscribers what they hold, although receipts tell.")
@dry_run_option
@detach_option
@json_option
@session
@click.pass_context
def send(
    ctx: click.Context,
    session: Session,
    name: str,
    to: tuple[str, ...],
    is_channel: bool,
    check: bool,
    dry_run: bool,
    detached: bool,
    as_json: bool,
) -> None:
    """Send what Subscribers lack of a Channel or a Distribution.

    What is received is extracted at once where Distribution or Subscriber say so, else at the Subscriber's Extract schedule.
    """
    site, to = session.site, _subscribers(session.site, to)
    channel, distribution = _channel_or_distribution(site, name, is_channel)
    if dry_run:
        rehearsed_send(session, channel=channel, distribution=distribution, to=to, check=check, as_json=as_json)
        return
    more: dict[str, Value] = {"to": list(to) or None, "check": check}
    if distribution:
        listed, members = {distribution}, set(site.subscribers_of_distribution(distribution))
        runs: list[tuple[str, dict[str, Value]]] = [("send", {"distribution": distribution, **more})]
        if detached:
            runs = [("send", {"channel": c, "distribution": distribution, **more}) for c in site.distribution(distribution).channels]
    else:
        listed = {d.name for d in site.distributions_of_channel(channel)}
        members = {s.subscriber for s in site.channel(channel).subscriptions}
        owners = sorted({site.distribution(each).distributor for each in listed})
        runs = [("send", {"channel": channel, "distributor": owner, **more}) for owner in owners]
    if not runs:
        what = "no Channel lists Distribution" if distribution else "no Distribution is listed in Channel"
        raise NotFoundError(f"{what} {name}", remedy="add it to the `channels:` of the Distribution")
    wanted = Wanted(runs, frozenset(listed), lambda row: row.subscriber in (set(to) or members))
    ctx.exit(_carry_out(session, wanted, detached=detached, as_json=as_json))


@click.command()
@click.argument("subscribers", nargs=-1, metavar="[SUBSCRIBER]...")
@click.option("--distribution", metavar="NAME", default="", help="Only this Distribution.")
@dry_run_option
@detach_option
@json_option
@session
@click.pass_context
def extract(
    ctx: click.Context, session: Session, subscribers: tuple[str, ...], distribution: str, dry_run: bool, detached: bool, as_json: bool
) -> None:
    """Have Subscribers extract what they hold, whatever their Extract schedules say."""
    site, hosts = session.site, _subscribers(session.site, subscribers)
    if distribution:
        site.distribution(distribution)
    meant = [d for d in site.distributions.values() if distribution in ("", d.name)]
    reached = [d for d in meant if not hosts or not set(hosts).isdisjoint(site.subscribers_of_distribution(d.name))]
    owners = sorted({d.distributor for d in reached})
    if dry_run:
        rehearsed_extract(session, owners, hosts, distribution, as_json=as_json)
        return
    parameters: dict[str, Value] = {"subscribers": list(hosts) or None, "distribution": distribution, "at_once": True}
    wanted = Wanted(
        [("extract", {"distributor": owner, **parameters}) for owner in owners],
        frozenset(d.name for d in reached),
        lambda row: row.subscriber in hosts if hosts else bool(row.subscriber),
    )
    ctx.exit(_carry_out(session, wanted, detached=detached, as_json=as_json))


@click.command()
@click.argument("name")
@click.option("--to", "to", metavar="SUBSCRIBER", multiple=True, help="Only to this Subscriber; may be repeated.")
@click.option("--rebaseline", is_flag=True, help="Build a new baseline even if nothing changed.")
@dry_run_option
@detach_option
@json_option
@session
@click.pass_context
def distribute(
    ctx: click.Context,
    session: Session,
    name: str,
    to: tuple[str, ...],
    rebaseline: bool,
    dry_run: bool,
    detached: bool,
    as_json: bool,
) -> None:
    """Build, sign, send and extract a Distribution now."""
    session.owner(name)
    to = _subscribers(session.site, to)
    if dry_run:
        rehearsed_build(
            session, name, rebaseline=rebaseline, as_json=as_json, sends_to=to or session.site.subscribers_of_distribution(name)
        )
        return
    wanted = Wanted(
        [("distribute", {"distribution": name, "to": list(to) or None, "rebaseline": rebaseline})],
        frozenset({name}),
        lambda row: row.subscriber in to if to else True,
    )
    ctx.exit(_carry_out(session, wanted, detached=detached, as_json=as_json))


@click.command()
@click.argument("distributor", required=False, default="")
@dry_run_option
@detach_option
@json_option
@session
@click.pass_context
def refresh(ctx: click.Context, session: Session, distributor: str, dry_run: bool, detached: bool, as_json: bool) -> None:
    """Have Distributors take up the site as it stands now.

    Renews signatures and withdraws what left the site. Without DISTRIBUTOR all of them are refreshed.
    """
    site = session.site
    names = [site.distributor(distributor).name] if distributor else sorted(site.distributors)
    if dry_run:
        rehearsed_refresh(session, names, as_json=as_json)
        return
    ctx.exit(_carry_out(session, Wanted([("refresh", {"distributor": n}) for n in names]), detached=detached, as_json=as_json))


def _carry_out(session: Session, wanted: Wanted, *, detached: bool, as_json: bool) -> int:
    if detached:
        _detach(session, wanted, as_json=as_json)
        return 0
    site = session.site
    watch = Watch(site, wanted.distributions)
    ends: list[tuple[str, RunEnd]] = []
    with PrefectSession(session) as prefect:
        for flow, parameters in wanted.runs:
            ends.append((flow, prefect.run(flow, parameters)))
    outcomes = watch.outcomes(now(), wanted=wanted.rows) if wanted.distributions else []
    _show(ends, outcomes, as_json=as_json)
    failures = [outcome.error for outcome in outcomes if outcome.error]
    return worst_exit(failures) or int(any(not end.completed for _, end in ends))


def _show(ends: Sequence[tuple[str, RunEnd]], outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    if as_json:
        runs = [{"flow": flow, "completed": end.completed, "message": end.message} for flow, end in ends]
        emit({"runs": runs, "rows": [outcome.as_json() for outcome in outcomes]})
        return
    for _, end in ends:
        click.echo(end.message)
    if outcomes:
        click.echo(outcome_table(outcomes))


def _detach(session: Session, wanted: Wanted, *, as_json: bool) -> None:
    from sluice.distributor.plan.deployments import deployments

    specs = deployments(session.site)
    started = []
    for flow, parameters in wanted.runs:
        fitting = [s for s in specs if s.flow == flow and all(parameters.get(key, value) == value for key, value in s.parameters.items())]
        if not fitting:
            raise OrchestratorError(f"flow {flow} has no deployment for this", remedy="leave out --detach")
        for spec in fitting:
            run = detach(session, spec.full_name, {**spec.parameters, **parameters})
            started.append({"deployment": spec.full_name, "run": run.name, "url": run.url})
            if not as_json:
                click.echo(f"{spec.full_name}: started {run.name}: {run.url}")
    if as_json:
        emit({"detached": started})


def _subscribers(site: Site, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(site.subscriber(name).name for name in no_repeats(names))


def _channel_or_distribution(site: Site, name: str, is_channel: bool) -> tuple[str, str]:
    if is_channel or (name in site.channels and name not in site.distributions):
        return site.channel(name).name, ""
    if name not in site.distributions:
        known = ", ".join(sorted({*site.distributions, *site.channels})) or "none"
        raise NotFoundError(f"no Distribution or Channel is named {name!r}", remedy=f"the site has: {known}")
    return "", name
