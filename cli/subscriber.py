"""``sluice subscriber``, also written ``subscribers``: install and check agents on hosts, and list the Subscribers of the site."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cli.chosen import matching_subscribers, names_of
from cli.contacts import contacts_of, record_bootstrap
from cli.failures import error_json, worst_exit
from cli.findings import findings_text, host_findings, verbose_option
from cli.hosts import HostResult, bundle_directory, chosen, on_each, publishers_here, timeout_of, transport_of
from cli.removal import remove
from cli.session import Session, dry_run_option, emit, json_option, out, say, session
from cli.tables import table
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from infra.hosts.bootstrap import Bootstrapped
    from infra.hosts.check import CheckItem
    from sluice.model.site import Subscriber

_names = click.argument("names", nargs=-1, metavar="[SUBSCRIBER]...", shell_complete=names_of("subscribers"))
_every = click.option("--all", "every", is_flag=True, help="Every active Subscriber of the site.")


@click.group()
def subscriber() -> None:
    """List Subscribers; install and check agents on their hosts, and remove them.

    SUBSCRIBER is a name, or a selector for active ones, such as 'role == "web"'.
    """


@subscriber.command("bootstrap")
@_names
@_every
@click.option("--replace-key", is_flag=True, help="Accept a new receipt key: the host was set up anew.")
@click.option("--crontab", "own_crontab", is_flag=True, help="Add the recovery line of `local:` Subscribers to your own crontab.")
@dry_run_option
@json_option
@session
@click.pass_context
def subscriber_bootstrap(
    ctx: click.Context,
    session: Session,
    names: tuple[str, ...],
    every: bool,
    replace_key: bool,
    own_crontab: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Install agent, identity, keys and trust on hosts.

    Over the login that the blueprint names; the host needs Python 3.11 and nothing else. Existing parts are left as they are, so it
    may be repeated, and repairs what `sluice subscriber check` finds missing.
    """
    from infra.hosts import bootstrap

    site, transport, bundles = session.site, transport_of(session), bundle_directory(session)

    def work(host: Subscriber) -> Bootstrapped:
        result = bootstrap.bootstrap(
            host,
            publishers_here(site, bootstrap.distributors_of(site, host.name)),
            transport=transport,
            bundles=bundles,
            timeout=timeout_of(site, host),
            replace_key=replace_key,
            own_crontab=own_crontab,
            dry_run=dry_run,
        )
        return result if dry_run else record_bootstrap(result, host, contacts, transport, timeout_of(site, host))

    def show(done: HostResult[Bootstrapped]) -> None:
        name = done.subscriber.name
        if done.result is None:
            say(f"{name}: failed: {done.error}")
            return
        lines = [f"{'would ' if dry_run else ''}{step.text}" for step in done.result.steps] or ["has everything"]
        for line in (*lines, *done.result.notes):
            say(f"{name}: {line}")

    with contacts_of(site) as contacts:
        done = on_each(chosen(session, names, every), work, show=show)
    if as_json:
        emit({"subscribers": [_bootstrapped(each) for each in done]})
    else:
        failed = sum(each.error is not None for each in done)
        are = "can be" if dry_run else "is" if len(done) - failed == 1 else "are"
        out(f"{len(done) - failed} of {counted(len(done), 'Subscriber')} {are} bootstrapped")
    ctx.exit(worst_exit(each.error.code for each in done if each.error is not None))


subscriber.add_command(remove)


@subscriber.command("check")
@_names
@_every
@verbose_option
@json_option
@session
@click.pass_context
def subscriber_check(ctx: click.Context, session: Session, names: tuple[str, ...], every: bool, listed: bool, as_json: bool) -> None:
    """List what is missing on hosts, changing nothing there.

    What their agents say is compared with the ledger, and recorded in it.
    """
    from infra.hosts.bootstrap import distributors_of
    from infra.hosts.check import check, needs_of

    site, transport, bundles = session.site, transport_of(session), bundle_directory(session)

    def work(host: Subscriber) -> list[CheckItem]:
        publishers = publishers_here(site, distributors_of(site, host.name))
        return check(
            host,
            publishers,
            transport=transport,
            bundles=bundles,
            timeout=timeout_of(site, host),
            needs=needs_of(site, host.name),
            contacts=contacts,
        )

    with contacts_of(site) as contacts:
        done = on_each(chosen(session, names, every), work)
    if as_json:
        emit({"subscribers": [_checked(each) for each in done]})
    else:
        out(findings_text([finding for each in done for finding in host_findings(each)], listed=listed))
    missing = any(not item.ok for each in done for item in each.result or ())
    ctx.exit(worst_exit(each.error.code for each in done if each.error is not None) or int(missing))


@subscriber.command("list")
@click.option("--where", metavar="SELECTOR", default="", help='Only these, for example \'site == "helsinki" and role != "db"\'.')
@json_option
@session
def subscribers_list(session: Session, where: str, as_json: bool) -> None:
    """List the Subscribers of the site."""
    site = session.site
    found = matching_subscribers(site, where) if where else [each for _, each in sorted(site.subscribers.items())]
    if as_json:
        emit({"subscribers": [_described(each) for each in found]})
        return
    rows = [
        [
            each.name,
            str(each.address),
            each.platform,
            "yes" if each.active else "no",
            ", ".join(f"{k}={v}" for k, v in sorted(each.tags.items())),
        ]
        for each in found
    ]
    out(table(["subscriber", "address", "platform", "active", "tags"], rows))


def _described(found: Subscriber) -> dict[str, Any]:
    return {
        "name": found.name,
        "description": found.description,
        "address": str(found.address),
        "platform": found.platform,
        "active": found.active,
        "tags": dict(found.tags),
    }


def _bootstrapped(done: HostResult[Bootstrapped]) -> dict[str, Any]:
    steps = done.result.steps if done.result else ()
    return {
        "subscriber": done.subscriber.name,
        "steps": [{"act": step.act.value, "distributor": step.distributor or None, "text": step.text} for step in steps],
        "notes": list(done.result.notes) if done.result else [],
        "error": error_json(done.error) if done.error else None,
    }


def _checked(done: HostResult[list[CheckItem]]) -> dict[str, Any]:
    items = [asdict(item) for item in done.result or ()]
    return {
        "subscriber": done.subscriber.name,
        "ok": done.error is None and all(i["ok"] for i in items),
        "items": items,
        "error": error_json(done.error) if done.error else None,
    }
