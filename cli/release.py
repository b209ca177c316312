"""``sluice release``: hosts forget that a Distribution placed anything; its files stay.

``--json``: ``{"distribution", "subscribers": [{"subscriber", "outcome", "revision", "joined_by", "error"}], "not_in_the_site": []}``;
``outcome`` is ``released``, ``nothing there`` or, with ``--dry-run``, ``would be released`` or ``nothing there, says the ledger``; null if
there is an ``error``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cli.failures import error_json, worst_exit
from cli.hosts import HostResult, on_each
from cli.ledgers import site_snapshot
from cli.runs import to_option
from cli.session import Session, dry_run_option, emit, json_option, say, session
from sluice.errors import NotFoundError
from sluice.rules.belief import of_owner

if TYPE_CHECKING:
    from sluice.model.revision import RevisionNumber
    from sluice.model.site import Site, Subscriber


@dataclass(frozen=True, slots=True)
class Released:
    """How it ended on one Subscriber."""

    outcome: str
    revision: RevisionNumber | None
    joined_by: Sequence[str]
    """Active Channels that would send it there again."""


@click.command()
@click.argument("distribution")
@to_option
@dry_run_option
@json_option
@session
@click.pass_context
def release(ctx: click.Context, session: Session, distribution: str, to: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Have hosts forget that a Distribution placed anything.

    Its files stay as they are: nothing of it is removed later, and other Distributions may take its paths over. It may have left the
    site. Without --to: on every Subscriber that has something of it by its receipts. What is being sent or extracted is waited for.
    """
    site, signer = session.site, _signer(session.site, distribution)
    states = {pair[0]: state for pair, state in site_snapshot(site).states.items() if pair[1] == distribution and of_owner(state, signer)}
    # What is doubted is asked too: the host may have it all the same.
    has = {name: found for name, each in states.items() if (found := each.extracted or each.held or (each.offered if each.doubt else None))}
    hosts = [site.subscriber(name) for name in dict.fromkeys(to) or sorted(has.keys() & site.subscribers.keys())]
    if dry_run:
        words = {True: "would be released", False: "nothing there, says the ledger"}
        planned = (Released(words[each.name in has], has.get(each.name), _joined_by(site, distribution, each.name)) for each in hosts)
        done = [HostResult(host, found, None) for host, found in zip(hosts, planned, strict=True)]
    else:
        done = _carry_out(site, signer, distribution, hosts)
    gone = [] if to else sorted(has.keys() - site.subscribers.keys())
    if as_json:
        emit({"distribution": distribution, "subscribers": [_json(each) for each in done], "not_in_the_site": gone})
    else:
        lines = [_line(distribution, each) for each in done] + [f"{name}: not asked: it isn't in the site any more" for name in gone]
        nobody = f"by its receipts no Subscriber has anything of {distribution}: name those to ask with --to"
        click.echo("\n".join(lines) or nobody)
    ctx.exit(worst_exit(each.error.code for each in done if each.error is not None))


def _carry_out(site: Site, signer: str, distribution: str, hosts: Sequence[Subscriber]) -> list[HostResult[Released]]:
    from infra.workplace import workplace_in
    from sluice.distributor.deliver.release import Release, renew_signature
    from sluice.distributor.deliver.sender import distributor_sender
    from sluice.distributor.send_queue.watch import QueueWatch

    with workplace_in(site, signer) as work:
        watch = QueueWatch(signer, None, ledger=work.ledger, clock=work.clock, lease_seconds=work.lease_seconds)
        watch.start()  # one for all: it renews each claim as long as that is held
        sender = distributor_sender(work)

        def release_on(host: Subscriber) -> Released:
            steps = Release(work, watch, sender, host, distribution, lambda reason: say(f"{host.name}: waits: {reason}"))
            receipt = steps.carry_out()
            joined = _joined_by(site, distribution, host.name)
            return Released("released", receipt.revision, joined) if receipt else Released("nothing there", None, joined)

        with closing(watch):
            renew_signature(work, distribution)
            return on_each(hosts, release_on, show=lambda each: say(_line(distribution, each)) if len(hosts) > 1 else None)


def _signer(site: Site, distribution: str) -> str:
    """Return the Distributor that owns a Distribution, or signed it before it left the site. Raises NotFoundError."""
    from infra.workplace import workplace_in
    from sluice.trust.roles import distribution_role

    if distribution in site.distributions:
        return site.distribution(distribution).distributor
    role, known = distribution_role(distribution), set[str]()
    for name in sorted(site.distributors):
        with workplace_in(site, name) as work:
            signed = work.publisher.versions()
        if role in signed:
            return name
        known |= {each.removeprefix(distribution_role("")) for each in signed if each.startswith(distribution_role(""))}
    names = ", ".join(sorted(known | site.distributions.keys())) or "none"
    raise NotFoundError(f"no Distributor of the site has, or had, a Distribution {distribution!r}", remedy=f"it is one of: {names}")


def _joined_by(site: Site, distribution: str, subscriber: str) -> Sequence[str]:
    found = site.distributions.get(distribution)
    if found is None or not found.active or not site.subscriber(subscriber).active:
        return ()
    channels = map(site.channel, found.channels)
    return [c.name for c in channels if c.active and any(s.subscriber == subscriber and s.active for s in c.subscriptions)]


def _line(distribution: str, done: HostResult[Released]) -> str:
    name, found = done.subscriber.name, done.result
    if found is None:
        return f"{name}: {done.error}"
    if found.revision is None:
        return f"{name}: {found.outcome}"
    again = f"; Channel {', '.join(found.joined_by)} sends it there again at its next start" if found.joined_by else ""
    return f"{name}: {distribution} {found.revision} {found.outcome}: its files stay{again}"


def _json(done: HostResult[Released]) -> dict[str, Any]:
    found = done.result
    return {
        "subscriber": done.subscriber.name,
        "outcome": found.outcome if found else None,
        "revision": str(found.revision) if found and found.revision else None,
        "joined_by": list(found.joined_by) if found else [],
        "error": error_json(done.error) if done.error else None,
    }
