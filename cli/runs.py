"""``sluice build``, ``sign``, ``send``, ``extract``, ``verify``, ``distribute`` and ``refresh``: run a flow now, seen in Prefect.

They run in this process; ``--detach`` leaves them to a worker as runs of their deployments. The outcome for each Subscriber is then
read from the ledger and printed as a table, or with ``--json`` as ``{"runs": [{"flow", "completed", "message"}],
"rows"}``, whose rows are those of ``status --json`` with ``bytes``, ``seconds`` and ``error``. With ``--detach --json``:
``{"detached": [{"deployment", "run", "url"}]}``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cli.chosen import chosen_names, names_of, to_option
from cli.failures import worst_exit
from cli.outcome import Outcome, Watch, outcome_table
from cli.prefect_run import RunEnd, Value, detach, prefect_server, run_flow
from cli.rehearse import rehearsed_build, rehearsed_extract, rehearsed_refresh, rehearsed_send, rehearsed_sign
from cli.rehearse_changes import Demanded
from cli.session import Session, distributions_of, dry_run_option, emit, json_option, now, out, session
from sluice.errors import NotFoundError, OrchestratorError
from sluice.model.order import Demand

if TYPE_CHECKING:
    from sluice.rules.status_row import StatusRow

detach_option = click.option("--detach", "detached", is_flag=True, help="Leave it to a worker and don't wait.")
verify_option = click.option("--verify", is_flag=True, help="Also read back what is installed, and repair what differs.")
force_option = click.option("--force", is_flag=True, help="Write every file anew and run the actions, although it is installed.")
rebaseline_option = click.option("--rebaseline", is_flag=True, help="Build a new baseline even if nothing changed.")

allow_removals_option = click.option(
    "--allow-removals", is_flag=True, help="Go on although a source became empty, or more than max_removals would be removed."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Flow runs of one command."""

    runs: Sequence[tuple[str, dict[str, Value]]]
    """Flow and parameters; with ``--detach`` those of a deployment and the ones that shall differ from them."""
    distributions: frozenset[str] = frozenset()
    """Distributions whose rows are shown at the end; empty: none."""
    rows: Callable[[StatusRow], bool] = lambda _: True
    """Which of their rows."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a command that runs flows, with the options all of them share."""

    session: Session
    dry_run: bool
    as_json: bool
    detached: bool = False

    def carry_out(self, wanted: Wanted) -> int:
        """Run the flows, or leave them to a worker, print the result, and return the exit code."""
        if self.detached:
            _detach(self.session, wanted, as_json=self.as_json)
            return 0
        with prefect_server(self.session, *(flow for flow, _ in wanted.runs)):
            watch = Watch(self.session.site, wanted.distributions)
            ends = [(flow, run_flow(self.session, flow, parameters)) for flow, parameters in wanted.runs]
        outcomes = watch.outcomes(now(), wanted=wanted.rows) if wanted.distributions else []
        _show(ends, outcomes, as_json=self.as_json)
        failures = [outcome.error for outcome in outcomes if outcome.error]
        return worst_exit(failures) or int(any(not end.completed for _, end in ends))


def flow_command(command: Callable[..., int]) -> Callable[..., None]:
    """Give a command the options that all flow runs share, a ``Call`` in their place, and an exit code by returning it."""

    def called(ctx: click.Context, /, dry_run: bool, detached: bool, as_json: bool, **arguments: Any) -> None:
        ctx.exit(command(Call(ctx.ensure_object(Session), dry_run, as_json, detached), **arguments))

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    return dry_run_option(detach_option(json_option(click.pass_context(called))))


@click.command()
@click.argument("name", shell_complete=names_of("distributions"))
@rebaseline_option
@allow_removals_option
@flow_command
def build(call: Call, name: str, rebaseline: bool, allow_removals: bool) -> int:
    """Build and sign a Distribution if its sources changed."""
    distribution, _ = call.session.owner(name)
    if call.dry_run:
        demanded = Demanded(allow_removals=allow_removals)
        return rehearsed_build(call.session, name, rebaseline=rebaseline, as_json=call.as_json, demanded=demanded)
    follows = frozenset({name}) if distribution.send_immediately else frozenset()
    parameters: dict[str, Value] = {"distribution": name, "rebaseline": rebaseline, "allow_removals": allow_removals}
    return call.carry_out(Wanted([("build", parameters)], follows))


@click.command()
@click.argument("name", shell_complete=names_of("distributions"))
@dry_run_option
@json_option
@session
@click.pass_context
def sign(ctx: click.Context, session: Session, name: str, dry_run: bool, as_json: bool) -> None:
    """Publish signed metadata of a Distribution's revisions."""
    session.owner(name)
    if dry_run:
        rehearsed_sign(session, name, as_json=as_json)
    else:
        ctx.exit(Call(session, dry_run, as_json).carry_out(Wanted([("sign", {"distribution": name})])))


@click.command()
@click.argument("name", shell_complete=names_of("distributions", "channels"))
@to_option
@click.option("--channel", "is_channel", is_flag=True, help="NAME is a Channel, if a Distribution has that name too.")
@click.option("--check", is_flag=True, help="Ask the Subscribers what they hold, instead of relying on receipts.")
@verify_option
@force_option
@allow_removals_option
@flow_command
def send(call: Call, name: str, to: tuple[str, ...], is_channel: bool, check: bool, verify: bool, force: bool, allow_removals: bool) -> int:
    """Send the newest revisions to Subscribers without them.

    NAME is a Distribution or a Channel. Received revisions are extracted at once if Distribution or Subscriber say so, else at the
    Subscriber's Extract schedule.
    """
    site, to = call.session.site, chosen_names(call.session.site, to)
    is_channel = is_channel or (name in site.channels and name not in site.distributions)
    channel, distribution = (site.channel(name).name, "") if is_channel else ("", name)
    named = distributions_of(site, name, is_channel=is_channel)
    check = check or verify or force
    if call.dry_run:
        demanded = Demanded(Demand.of(verify=verify, force=force), allow_removals)
        return rehearsed_send(
            call.session, channel=channel, distribution=distribution, to=to, check=check, demanded=demanded, as_json=call.as_json
        )
    more: dict[str, Value] = {"to": list(to) or None, "check": check, "verify": verify, "force": force}
    more["allow_removals"] = allow_removals
    if distribution:
        members = set(site.subscribers_of_distribution(distribution))
        runs: list[tuple[str, dict[str, Value]]] = [("send", {"distribution": distribution, **more})]
        if call.detached:
            runs = [("send", {"channel": c, "distribution": distribution, **more}) for c in site.distribution(distribution).channels]
    else:
        members = {s.subscriber for s in site.channel(channel).subscriptions}
        owners = sorted({site.distribution(each).distributor for each in named})
        runs = [("send", {"channel": channel, "distributor": owner, **more}) for owner in owners]
    if not runs:
        what = "no Channel lists Distribution" if distribution else "no Distribution is listed in Channel"
        raise NotFoundError(f"{what} {name}", remedy="add it to the `channels:` of the Distribution")
    return call.carry_out(Wanted(runs, named, lambda row: row.subscriber in (set(to) or members)))


_hosts = click.argument("subscribers", nargs=-1, metavar="[SUBSCRIBER]...", shell_complete=names_of("subscribers"))
_of_them = click.option(
    "--distribution", metavar="NAME", default="", shell_complete=names_of("distributions"), help="Only this Distribution."
)


@click.command()
@_hosts
@_of_them
@verify_option
@force_option
@allow_removals_option
@flow_command
def extract(call: Call, subscribers: tuple[str, ...], distribution: str, verify: bool, force: bool, allow_removals: bool) -> int:
    """Have Subscribers extract what they hold now.

    Their Extract schedules are not waited for. SUBSCRIBER is a name, or a selector such as 'role == "web"'; without any: all.
    """
    return _extract(call, subscribers, distribution, Demanded(Demand.of(verify=verify, force=force), allow_removals), at_once=True)


@click.command()
@_hosts
@_of_them
@flow_command
def verify(call: Call, subscribers: tuple[str, ...], distribution: str) -> int:
    """Read back what is installed, and repair what differs.

    Every file is read and hashed on its host, whatever the blueprint's `verify` says. Nothing new is extracted. SUBSCRIBER is a
    name, or a selector such as 'role == "web"'; without any: all.
    """
    return _extract(call, subscribers, distribution, Demanded(Demand.VERIFY), at_once=False)


def _extract(call: Call, subscribers: tuple[str, ...], distribution: str, demanded: Demanded, *, at_once: bool) -> int:
    site, hosts = call.session.site, chosen_names(call.session.site, subscribers)
    if distribution:
        site.distribution(distribution)
    selected = [d for d in site.distributions.values() if distribution in ("", d.name)]
    reached = [d for d in selected if not hosts or not set(hosts).isdisjoint(site.subscribers_of_distribution(d.name))]
    owners = sorted({d.distributor for d in reached})
    if call.dry_run:
        return rehearsed_extract(call.session, owners, hosts, distribution, demanded=demanded, at_once=at_once, as_json=call.as_json)
    demand = demanded.demand
    asked: dict[str, Value] = {"at_once": at_once, "verify": demand is Demand.VERIFY, "force": demand is Demand.FORCE}
    asked["allow_removals"] = demanded.allow_removals
    parameters: dict[str, Value] = {"subscribers": list(hosts) or None, "distribution": distribution, **asked}
    wanted = Wanted(
        [("extract", {"distributor": owner, **parameters}) for owner in owners],
        frozenset(d.name for d in reached),
        lambda row: row.subscriber in hosts if hosts else bool(row.subscriber),
    )
    return call.carry_out(wanted)


@click.command()
@click.argument("name", shell_complete=names_of("distributions"))
@to_option
@rebaseline_option
@allow_removals_option
@verify_option
@force_option
@flow_command
def distribute(call: Call, name: str, to: tuple[str, ...], rebaseline: bool, allow_removals: bool, verify: bool, force: bool) -> int:
    """Build, sign, send and extract a Distribution now."""
    session = call.session
    session.owner(name)
    to = chosen_names(session.site, to)
    if call.dry_run:
        receivers = to or session.site.subscribers_of_distribution(name)
        demanded = Demanded(Demand.of(verify=verify, force=force), allow_removals)
        return rehearsed_build(session, name, rebaseline=rebaseline, as_json=call.as_json, sends_to=receivers, demanded=demanded)
    parameters: dict[str, Value] = {"distribution": name, "to": list(to) or None, "rebaseline": rebaseline}
    parameters |= {"allow_removals": allow_removals, "verify": verify, "force": force}
    return call.carry_out(Wanted([("distribute", parameters)], frozenset({name}), lambda row: not to or row.subscriber in to))


@click.command()
@click.argument("distributor", required=False, default="", shell_complete=names_of("distributors"))
@flow_command
def refresh(call: Call, distributor: str) -> int:
    """Have Distributors act on the site as it is now.

    Renews signatures and withdraws what is no longer in the site. Without DISTRIBUTOR all of them are refreshed.
    """
    site = call.session.site
    names = [site.distributor(distributor).name] if distributor else sorted(site.distributors)
    if call.dry_run:
        rehearsed_refresh(call.session, names, as_json=call.as_json)
        return 0
    return call.carry_out(Wanted([("refresh", {"distributor": n}) for n in names]))


def _show(ends: Sequence[tuple[str, RunEnd]], outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    if as_json:
        runs = [{"flow": flow, "completed": end.completed, "message": end.message} for flow, end in ends]
        emit({"runs": runs, "rows": [outcome.as_json() for outcome in outcomes]})
        return
    for _, end in ends:
        out(end.summary or end.message)
    if outcomes:
        out(outcome_table(outcomes, {pair for _, end in ends for pair in end.told}))


def _detach(session: Session, wanted: Wanted, *, as_json: bool) -> None:
    from sluice.distributor.plan.deployments import deployments

    specs = deployments(session.site)
    started = []
    for flow, parameters in wanted.runs:
        matching = [s for s in specs if s.flow == flow and all(parameters.get(key, value) == value for key, value in s.parameters.items())]
        if not matching:
            raise OrchestratorError(f"flow {flow} has no deployment for this", remedy="leave out --detach")
        for spec in matching:
            run = detach(session, spec.full_name, {**spec.parameters, **parameters})
            started.append({"deployment": spec.full_name, "run": run.name, "url": run.url})
            if not as_json:
                out(f"{spec.full_name}: started {run.name}: {run.url}")
    if as_json:
        emit({"detached": started})
