"""``sluice release``: hosts forget that a Distribution placed anything; its files stay.

``--json``: ``{"distribution", "subscribers": [{"subscriber", "distributor", "outcome", "revision", "joined_by", "error"}],
"not_in_the_site": [], "not_asked": [{"subscriber", "distributor"}]}``; ``outcome`` is ``released``, ``nothing there`` or, with
``--dry-run``, ``would be released`` or ``nothing there, says the ledger``; null if there is an ``error``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cli.chosen import chosen_subscribers, names_of, to_option
from cli.failures import error_json, worst_exit
from cli.hosts import HostResult, on_each
from cli.ledgers import ledger_of
from cli.session import Session, dry_run_option, emit, json_option, out, say, session
from sluice.errors import NotFoundError, UnknownDistributorError
from sluice.model.platforms import platform_matches

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
@click.argument("distribution", shell_complete=names_of("distributions"))
@to_option
@dry_run_option
@json_option
@session
@click.pass_context
def release(ctx: click.Context, session: Session, distribution: str, to: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Have hosts forget that a Distribution placed anything.

    Its files stay as they are: nothing of it is removed later, and other Distributions may take its paths over. It may have left the
    site, or had another Distributor, whose record on the host is released too. Without --to: on every Subscriber that has something of it
    by its receipts. What is being sent or extracted is waited for.
    """
    site, rows = session.site, _rows(session.site, distribution)
    owner, *earlier = signers = _signers(site, distribution)
    has = {pair: revision for pair, revision in rows.items() if revision}
    # Of an earlier owner a ledger that Distributors share keeps no record: each host of the Distribution is asked.
    known = {name for name, _ in (rows if earlier else has)}
    hosts = chosen_subscribers(site, to or sorted(known & site.subscribers.keys()))
    done = []
    for signer in signers:
        asked = [each for each in hosts if to or (each.name, signer) in has or (signer in earlier and not dry_run)]
        if dry_run:
            planned = ((each, _foretold(site, signer, distribution, each.name, has.get((each.name, signer)))) for each in asked)
            found = [HostResult(host, result, None) for host, result in planned]
        else:
            found = _carry_out(site, signer, distribution, asked) if asked else []
        silent = [] if signer == owner else [each for each in found if (each.subscriber.name, signer) not in has and _is_nothing(each)]
        done += [(signer, each) for each in found if each not in silent]
    gone = [] if to else sorted({name for name, _ in has} - site.subscribers.keys())
    others = sorted(pair for pair in has if pair[1] not in signers and (not to or pair[0] in {each.name for each in hosts}))
    if as_json:
        not_asked = [{"subscriber": name, "distributor": by} for name, by in others]
        results = [_json(signer, each) for signer, each in done]
        emit({"distribution": distribution, "subscribers": results, "not_in_the_site": gone, "not_asked": not_asked})
    else:
        lines = [_line(distribution, each, "" if signer == owner else signer) for signer, each in done]
        lines += [f"{name}: not asked: it isn't in the site any more" for name in gone]
        lines += [
            f"{name}: what Distributor {by} placed stays: it isn't in the site, or its keys aren't on this machine" for name, by in others
        ]
        nobody = f"by its receipts no Subscriber has anything of {distribution}: name those to ask with --to"
        out("\n".join(lines) or nobody)
    ctx.exit(worst_exit(each.error.code for _, each in done if each.error is not None))


def _rows(site: Site, distribution: str) -> Mapping[tuple[str, str], RevisionNumber | None]:
    """Return what Subscribers have of it by receipts, by Subscriber and Distributor. What is doubted they may have all the same."""
    found = {}
    for distributor in sorted(site.distributors):
        with ledger_of(site, distributor) as ledger:
            states = ledger.states(distributions=[distribution]).values() if ledger is not None else ()
        for each in states:
            found[each.subscriber, each.distributor] = each.extracted or each.held or (each.offered if each.doubt else None)
    return found


def _foretold(site: Site, signer: str, distribution: str, name: str, revision: RevisionNumber | None) -> Released:
    outcome = "would be released" if revision else "nothing there, says the ledger"
    return Released(outcome, revision, _joined_by(site, signer, distribution, name))


def _is_nothing(done: HostResult[Released]) -> bool:
    return done.result is not None and done.result.revision is None


def _carry_out(site: Site, signer: str, distribution: str, hosts: Sequence[Subscriber]) -> list[HostResult[Released]]:
    from infra.workplace import workplace_in
    from sluice.distributor.deliver.release import Release, renew_signature
    from sluice.distributor.deliver.sender import distributor_sender
    from sluice.distributor.send_queue.watch import QueueWatch

    with workplace_in(site, signer) as work:
        watch = QueueWatch(signer, None, ledger=work.ledger, clock=work.clock, lease_seconds=work.lease_seconds)
        watch.start()  # one for all: it renews each claim as long as that is held
        sender = distributor_sender(work)
        is_owner = distribution not in site.distributions or site.distribution(distribution).distributor == signer

        def release_on(host: Subscriber) -> Released:
            steps = Release(work, watch, sender, host, distribution, lambda reason: say(f"{host.name}: waits: {reason}"))
            joined = _joined_by(site, signer, distribution, host.name)
            try:
                receipt = steps.carry_out()
            except UnknownDistributorError:
                if is_owner:
                    raise
                receipt = None  # it never placed anything there
            return Released("released", receipt.revision, joined) if receipt else Released("nothing there", None, joined)

        with closing(watch):
            renew_signature(work, distribution)
            return on_each(hosts, release_on, show=lambda each: say(_line(distribution, each)) if len(hosts) > 1 else None)


def _signers(site: Site, distribution: str) -> Sequence[str]:
    """Return the Distributors that signed it here, its owner first. Raises NotFoundError."""
    from infra.workplace import workplace_in
    from sluice.trust.roles import distribution_role

    owner = site.distributions[distribution].distributor if distribution in site.distributions else ""
    role, known, found = distribution_role(distribution), set[str](), [owner] if owner else []
    for name in sorted(site.distributors.keys() - {owner}):
        with workplace_in(site, name) as work:
            signed = work.publisher.versions()
        found += [name] if role in signed else []
        known |= {each.removeprefix(distribution_role("")) for each in signed if each.startswith(distribution_role(""))}
    if found:
        return found
    names = ", ".join(sorted(known | site.distributions.keys())) or "none"
    raise NotFoundError(f"no Distributor of the site has, or had, a Distribution {distribution!r}", remedy=f"it is one of: {names}")


def _joined_by(site: Site, signer: str, distribution: str, subscriber: str) -> Sequence[str]:
    found = site.distributions.get(distribution)
    host = site.subscriber(subscriber)
    if found is None or found.distributor != signer or not found.active or not host.active:
        return ()
    if not platform_matches(host.platform, found.platforms):
        return ()
    channels = map(site.channel, found.channels)
    return [c.name for c in channels if c.active and any(s.subscriber == subscriber and s.active for s in c.subscriptions)]


def _line(distribution: str, done: HostResult[Released], earlier: str = "") -> str:
    name, found = done.subscriber.name, done.result
    if found is None:
        return f"{name}: {done.error}"
    if found.revision is None:
        return f"{name}: {found.outcome}"
    again = (
        f"; Channel {', '.join(found.joined_by)} sends it there again when it next starts, by schedule or by hand"
        if found.joined_by
        else ""
    )
    of = f" of Distributor {earlier}" if earlier else ""
    return f"{name}: {distribution} {found.revision}{of} {found.outcome}: its files stay{again}"


def _json(signer: str, done: HostResult[Released]) -> dict[str, Any]:
    found = done.result
    return {
        "subscriber": done.subscriber.name,
        "distributor": signer,
        "outcome": found.outcome if found else None,
        "revision": str(found.revision) if found and found.revision else None,
        "joined_by": list(found.joined_by) if found else [],
        "error": error_json(done.error) if done.error else None,
    }
