"""``sluice revisions NAME``: the kept revisions of a Distribution, their bases, sizes and digests."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.ledgers import ledger_of
from cli.session import Session, emit, json_option, session, utc
from cli.tables import moment, size, table

if TYPE_CHECKING:
    from sluice.model.revision import RevisionNumber
    from sluice.model.site import Site
    from sluice.ports import Store, TedFile

EVENTS = 1000
"""Events read at once."""


@click.command()
@click.argument("name")
@json_option
@session
def revisions(session: Session, name: str, as_json: bool) -> None:
    """List the revisions of a Distribution.

    Those that are kept, oldest first, with their bases, sizes and digests.
    """
    from sluice.trust.publish import Publisher

    distribution, distributor = session.owner(name)
    directory = Path(distributor.working_directory)
    store = session.store(name)
    signed = set(Publisher(directory, distributor=distributor.name).listing(name)) if (directory / "trust/repository").is_dir() else set()
    times = build_times(session.site, name)
    rows = [described(store, name, number, times.get(number), signed) for number in store.revisions(name)]
    used = store.disk_used(name)
    if as_json:
        emit(
            {
                "distribution": name,
                "distributor": distributor.name,
                "max_revisions": distribution.max_revisions,
                "disk": {"revisions": used.revisions, "contents": used.contents},
                "revisions": rows,
            }
        )
    elif not rows:
        click.echo(f"{name} has no revision yet: run `sluice build {name}`")
    else:
        click.echo(_table(rows))
        limit = "unlimited" if distribution.max_revisions is None else f"at most {distribution.max_revisions}"
        click.echo(f"on disk: revisions {size(used.revisions)}, contents {size(used.contents)}; {limit} revisions are kept")


def described(store: Store, name: str, number: RevisionNumber, built: datetime | None, signed: set[str]) -> dict[str, Any]:
    """The JSON of one revision."""
    import hashlib

    from sluice.model.manifest import EntryKind
    from sluice.trust.roles import manifest_target

    manifest = store.manifest(name, number)
    data = store.manifest_bytes(name, number)
    teds = [_ted(ted) for ted in store.teds(name, number)]
    files = sum(entry.kind is EntryKind.FILE for destination in manifest.destinations for entry in destination.entries)
    return {
        "revision": str(number),
        "built": utc(built),
        "files": files,
        "bytes": sum(content for _, content in manifest.contents()),
        "manifest_bytes": len(data),
        "manifest_sha256": hashlib.sha256(data).hexdigest(),
        "signed": manifest_target(name, number) in signed,
        "teds": teds,
    }


def build_times(site: Site, name: str) -> dict[RevisionNumber, datetime]:
    """When each revision was built, as the ledger's events say."""
    from sluice.model.state import EventKind

    found: dict[RevisionNumber, datetime] = {}
    with ledger_of(site, site.distribution(name).distributor) as ledger:
        after = 0
        while ledger is not None and (events := ledger.events(distribution=name, after=after, limit=EVENTS)):
            after = events[-1].number
            for recorded in events:
                if recorded.event.kind is EventKind.BUILT and recorded.event.revision is not None:
                    found.setdefault(recorded.event.revision, recorded.event.at)
    return found


def _ted(ted: TedFile) -> dict[str, Any]:
    import hashlib

    return {
        "file": ted.name,
        "base": None if ted.base is None else str(ted.base),
        "bytes": Path(ted.path).stat().st_size,
        "payload": ted.payload,
        "index_sha256": hashlib.sha256(ted.index).hexdigest(),
        "path": ted.path,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        built = "" if row["built"] is None else moment(datetime.fromisoformat(row["built"]))
        first = [row["revision"], built, str(row["files"]), size(row["bytes"]), "yes" if row["signed"] else "no"]
        for ted in row["teds"] or [None]:
            file = (
                ["-", "-", "-", "-"] if ted is None else [ted["base"] or "none", size(ted["bytes"]), ted["index_sha256"][:16], ted["path"]]
            )
            lines.append(first + file)
            first = ["", "", "", "", ""]
    return table(
        ["revision", "built (utc)", "files", "contents", "signed", "base", "file size", "digest", "file"],
        lines,
        right={"files", "contents", "file size"},
    )
