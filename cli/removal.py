"""``sluice subscriber remove``: take Sluice away from hosts, and what Distributors here know of them.

``--json``: ``{"subscribers": [{"subscriber", "steps": [TEXT], "stay": [PATH], "error"}]}``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from cli.chosen import names_of
from cli.confirm import confirm, yes_option
from cli.failures import error_json, worst_exit
from cli.hosts import chosen, on_each, publishers_here, timeout_of, transport_of
from cli.session import Session, dry_run_option, emit, json_option, say, session
from sluice.model.names import name_is_valid
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from infra.hosts.removal import Removed
    from sluice.errors import SluiceError
    from sluice.model.site import Subscriber

    _Row = tuple[str, Removed | None, SluiceError | None]


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="SUBSCRIBER...", shell_complete=names_of("subscribers"))
@click.option("--forget", "is_gone", is_flag=True, help="The host is gone: forget it on this machine alone, without calling it.")
@yes_option
@dry_run_option
@json_option
@session
@click.pass_context
def remove(ctx: click.Context, session: Session, names: tuple[str, ...], is_gone: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Take Sluice away from hosts; distributed files stay.

    Agent, identity, trust and revisions in its working directory, the line in the crontab, and its key and state at the Distributors on
    this machine. Nothing else is touched: if other files are in the working directory, they are named and nothing is removed. May be
    repeated. Take its document out of the site afterwards.
    """
    from infra.doctor.machine import distributors_here
    from infra.hosts.removal import Removed, remove_from_host
    from infra.workplace import workplace_in
    from sluice.distributor.forget import forget_subscriber

    site, transport = session.site, transport_of(session)
    publishers_here(site, site.distributors)  # refuses a machine on which no Distributor knows of any Subscriber

    def forget(name: str, *, only_look: bool) -> list[str]:
        steps: list[str] = []
        for distributor in distributors_here(site):
            with workplace_in(site, distributor.name) as work:
                steps += forget_subscriber(work, name, dry_run=only_look)
        return steps

    def work(host: Subscriber, *, only_look: bool) -> Removed:
        """Remove from the host first: an interrupted removal is repeated as a whole."""
        done = remove_from_host(host, transport=transport, timeout=timeout_of(site, host), dry_run=only_look)
        return replace(done, steps=(*done.steps, *forget(host.name, only_look=only_look)))

    def carry_out(*, only_look: bool) -> list[_Row]:
        if is_gone:
            return [(name, Removed(name, tuple(forget(name, only_look=only_look))), None) for name in _valid(names)]
        found = on_each(chosen(session, names, every=False), partial(work, only_look=only_look))
        return [(each.subscriber.name, each.result, each.error) for each in found]

    if not dry_run:
        confirm(counted(len(set(names)), "Subscriber"), "remove", yes=yes, show=lambda: _show(carry_out(only_look=True), "would "))
    done = carry_out(only_look=dry_run)
    if as_json:
        emit({"subscribers": [_json(*each) for each in done]})
    else:
        _show(done, "would " if dry_run else "")
    ctx.exit(worst_exit(error.code for _, _, error in done if error is not None))


def _valid(names: tuple[str, ...]) -> list[str]:
    for name in names:
        if not name_is_valid(name):
            raise click.UsageError(f"{name!r} is no name of a Subscriber")
    return list(dict.fromkeys(names))


def _show(done: list[_Row], would: str) -> None:
    for name, result, error in done:
        if result is None:
            say(f"{name}: failed: {error}")
            continue
        for step in result.steps or ("nothing of Sluice's is there",):
            say(f"{name}: {would if result.steps else ''}{step}")
        for path in result.stay:
            say(f"{name}: {path} stays, with everything that was distributed to it")


def _json(name: str, result: Removed | None, error: SluiceError | None) -> dict[str, Any]:
    return {
        "subscriber": name,
        "steps": list(result.steps) if result else [],
        "stay": list(result.stay) if result else [],
        "error": error_json(error) if error else None,
    }
