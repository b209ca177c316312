"""``sluice store verify``: read and hash everything that Distributors keep; with ``--repair`` also mend it (E4).

``--json``: ``{"distributors": [{"distributor", "packs", "contents", "manifests", "teds", "bytes", "damages": [{"part", "path", "problem",
"concerns": [{"distribution", "revision"}], "contents", "mended", "remedy"}]}]}``; ``contents`` counts those that cannot be read there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from cli.chosen import names_of
from cli.session import Session, dry_run_option, emit, json_option, out, say, session
from cli.tables import size
from sluice.errors import StoreError
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from sluice.distributor.repair.store import Verdict, Verified

PROGRESS_EVERY = 5.0
"""Seconds between two lines of progress."""


@click.group()
def store() -> None:
    """Check the revisions and contents that Distributors keep."""


@store.command("verify")
@click.argument("names", metavar="[DISTRIBUTION]...", nargs=-1, shell_complete=names_of("distributions"))
@click.option("--repair", is_flag=True, help="Mend damaged parts from sources and from .ted files at hand.")
@dry_run_option
@json_option
@session
@click.pass_context
def verify(ctx: click.Context, session: Session, names: tuple[str, ...], repair: bool, dry_run: bool, as_json: bool) -> None:
    """Read everything again and hash it: contents, manifests, .ted files.

    Of the named Distributions, or of all. Lists damaged parts, the revisions that they concern, and what to do. The Distributor can
    work meanwhile.
    """
    found = [(name, _verified(session, name, only, repair=repair and not dry_run)) for name, only in _stores(session, names)]
    if as_json:
        emit({"distributors": [_json(name, verified) for name, verified in found]})
    else:
        for name, verified in found:
            _print(name, verified, tried=repair and not dry_run, is_dry_run=repair and dry_run)
        if not found:
            out("there is no store on this machine: nothing is built yet")
    ctx.exit(StoreError.exit_code if any(verified.unmended for _, verified in found) else 0)


def _stores(session: Session, names: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """List Distributors whose store is on this machine, each with the Distributions that are named."""
    owners = {name: session.owner(name)[1].name for name in names}
    named = dict.fromkeys(owners.values()) if names else session.site.distributors
    return [(each, tuple(name for name, owner in owners.items() if owner == each)) for each in named if session.has_store(each)]


def _verified(session: Session, distributor: str, names: tuple[str, ...], *, repair: bool) -> Verified:
    from infra.workplace import workplace_in
    from sluice.distributor.repair.store import record_damage, verify_store

    with workplace_in(session.site, distributor) as work:
        verified = verify_store(work, names, repair=repair, progress=_progress(distributor))
        if repair and verified.verdicts:
            record_damage(work, verified.verdicts)
        return verified


def _progress(distributor: str) -> Callable[[int, int], None]:
    """Make a function that prints progress to stderr, every few seconds of long work."""
    next_line = time.monotonic() + PROGRESS_EVERY

    def show(done: int, total: int) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + PROGRESS_EVERY
            say(f"{distributor}: {size(done)} of {size(total)} read ({done * 100 // max(total, 1)} %)")

    return show


def _print(distributor: str, verified: Verified, *, tried: bool, is_dry_run: bool) -> None:
    from sluice.model.damage import Part

    found = verified.examined
    figures = {"pack": found.packs, "content": found.contents, "manifest": found.manifests, ".ted file": found.teds}
    read = ", ".join(counted(number, noun) for noun, number in figures.items())
    bad, unmended = len(verified.verdicts), len(verified.unmended)
    end = "all sound" if not bad else f"{bad} damaged" + (f", {bad - unmended} of them mended" if tried else "")
    if bad and is_dry_run:
        end += f"; --repair would try to mend {sum(each.damage.part is not Part.MANIFEST for each in verified.verdicts)} of them"
    out(f"{distributor}: {read}, {size(found.bytes)} read: {end}")
    for line in _lines(verified.verdicts):
        out(f"  {line}")


def _lines(verdicts: Iterable[Verdict]) -> Iterable[str]:
    from sluice.distributor.repair.store import concerned_text

    for verdict in verdicts:
        damage = verdict.damage
        yield f"{damage.part}{f' {damage.path}' if damage.path else ''}: {damage.problem}"
        yield f"  concerns: {concerned_text(damage.concerns) or 'no kept revision'}"
        yield f"  mended: {verdict.mended}" if verdict.mended else f"  to do: {verdict.remedy}"


def _json(distributor: str, verified: Verified) -> dict[str, Any]:
    found = verified.examined
    return {
        "distributor": distributor,
        "packs": found.packs,
        "contents": found.contents,
        "manifests": found.manifests,
        "teds": found.teds,
        "bytes": found.bytes,
        "damages": [
            {
                "part": verdict.damage.part.value,
                "path": verdict.damage.path,
                "problem": verdict.damage.problem,
                "concerns": [{"distribution": name, "revision": str(revision)} for name, revision in verdict.damage.concerns],
                "contents": len(verdict.damage.lost),
                "mended": verdict.mended or None,
                "remedy": verdict.remedy or None,
            }
            for verdict in verified.verdicts
        ],
    }
