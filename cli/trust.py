"""``sluice trust``: a Distributor's keys, and the trust root by which Subscribers verify it (E1, E2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.chosen import chosen_subscribers, names_of, to_option
from cli.failures import worst_exit
from cli.hosts import HostResult, on_each, publishers_here, timeout_of, transport_of
from cli.session import Session, dry_run_option, now, out, session
from sluice.errors import NotFoundError, StoreError

if TYPE_CHECKING:
    from sluice.model.site import Distributor, Subscriber
    from sluice.trust.publish import Publisher


@click.group()
def trust() -> None:
    """Make keys, and install trust on Subscribers."""


@trust.command("init")
@click.argument("distributor", shell_complete=names_of("distributors"))
@dry_run_option
@session
def trust_init(session: Session, distributor: str, dry_run: bool) -> None:
    """Make the keys and the first trust root of a Distributor; existing ones are kept."""
    found = session.site.distributor(distributor)
    keys = Path(found.working_directory) / "keys"
    if dry_run:
        out(f"would make keys in {keys}, unless there are some")
    elif not make_keys(found):
        out(f"Distributor {distributor} has keys in {keys}")


def make_keys(distributor: Distributor) -> bool:
    """Make the keys and the first trust root of a Distributor and say so; False if it has them."""
    from sluice.trust.publish import Publisher

    directory = Path(distributor.working_directory)
    keys = directory / "keys"
    kept = all((keys / name).exists() for name in ("root.pem", "online.pem"))
    if not Publisher(directory, distributor=distributor.name).ensure_keys(now()):
        return False
    made = "the first trust root of Distributor {} with the existing keys" if kept else "the keys of Distributor {}"
    out(f"made {made.format(distributor.name)} in {keys}")
    out("back them up: anybody who has them can sign, and if they are lost new trust must be installed on every Subscriber")
    return True


@trust.command("push")
@click.argument("distributor", required=False, shell_complete=names_of("distributors"))
@to_option
@dry_run_option
@session
@click.pass_context
def trust_push(ctx: click.Context, session: Session, distributor: str | None, to: tuple[str, ...], dry_run: bool) -> None:
    """Install Distributors' trust roots on their Subscribers.

    Over the login that the blueprint names: that is the act of trusting. Without names: of every Distributor with keys on this
    machine, on every active Subscriber it serves.
    """
    from infra.hosts.bootstrap import distributors_of, push_trust

    site, transport = session.site, transport_of(session)
    publishers = publishers_here(site, [site.distributor(distributor).name] if distributor else site.distributors)
    subscribers = chosen_subscribers(site, to) if to else [s for _, s in sorted(site.subscribers.items()) if s.active]

    def publishers_for(subscriber: Subscriber) -> dict[str, Publisher]:
        wanted = [distributor] if distributor and to else distributors_of(site, subscriber.name)
        return {name: publishers[name] for name in wanted if name in publishers}

    def work(subscriber: Subscriber) -> list[str]:
        roots = publishers_for(subscriber)
        if not dry_run:
            push_trust(subscriber, roots, transport=transport, timeout=timeout_of(site, subscriber))
        return sorted(roots)

    def show(done: HostResult[list[str]]) -> None:
        act = "would install" if dry_run else "installed"
        outcome = f"{act} the trust root of {', '.join(done.result)}" if done.result else str(done.error)
        out(f"{done.subscriber.name}: {outcome}")

    done = on_each([s for s in subscribers if publishers_for(s)], work, show=show)
    ctx.exit(worst_exit(each.error.code for each in done if each.error is not None))


@trust.command("export")
@click.argument("distributor", shell_complete=names_of("distributors"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@dry_run_option
@session
def trust_export(session: Session, distributor: str, file: Path, dry_run: bool) -> None:
    """Save a Distributor's trust root, to carry it to Subscribers by hand; it is public.

    On the Subscriber it is <working directory>/distributors/DISTRIBUTOR/trust/root.json.
    """
    from sluice.durable import replace_atomically
    from sluice.trust.publish import Publisher

    directory = Path(session.site.distributor(distributor).working_directory)
    if not any((directory / "trust" / "repository").glob("*.root.json")):
        raise NotFoundError(f"Distributor {distributor} has no trust root", remedy=f"run `sluice trust init {distributor}`")
    root = Publisher(directory, distributor=distributor).root()
    if dry_run:
        out(f"would save the trust root of Distributor {distributor} ({len(root)} B) to {file}")
        return
    try:
        replace_atomically(file.absolute(), root, mode=0o644)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}", remedy="name a file in a directory you may write to") from error
    out(f"saved the trust root of Distributor {distributor} to {file}")
