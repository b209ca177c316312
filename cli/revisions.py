"""``sluice revisions NAME``: the kept revisions of a Distribution, the files to send of each, and the disk space they take.

``--json``: ``{"distribution", "distributor", "max_revisions", "effort", "disk": {"revisions", "contents", "own_contents"},
"revisions": [{"revision", "built", "files", "bytes", "manifest_bytes", "manifest_sha256", "signed",
"damage", "teds": [{"file", "base", "small", "bytes", "payload", "of_whole", "whole",
"frames": {kind: number}, "made", "index_sha256", "path"}]}]}``.
``of_whole`` is the payload's share of the whole ``.ted``'s of revision ``whole``, its own or the latest before it; null if there is none.
If a revision's manifest cannot be read, ``damage`` says why and what to do, the fields read from it are null, and the exit code is that of
a StoreError; else ``damage`` is null.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.chosen import names_of
from cli.disk import disk_text
from cli.ledgers import events_of
from cli.session import Session, emit, json_option, out, session, utc
from cli.tables import moment, size, table
from sluice.errors import NotFoundError, StoreError
from sluice.model.revision import RevisionNumber
from sluice.rules.wording import counted, share

if TYPE_CHECKING:
    from sluice.model.site import Site
    from sluice.ports import Store, TedFile


@click.command()
@click.argument("name", shell_complete=names_of("distributions"))
@json_option
@session
@click.pass_context
def revisions(ctx: click.Context, session: Session, name: str, as_json: bool) -> None:
    """List the revisions of a Distribution.

    Kept revisions are shown, oldest first, each with the files that were made to send it: whole or from a base, their sizes compared
    with the whole, and the frames in them. Last comes the disk space they take.
    """
    distribution, distributor = session.owner(name)
    store = session.store(name)
    signed = set(session.signed(name))
    times = build_times(session.site, name)
    rows = [described(store, name, number, times.get(number), signed) for number in store.revisions(name)]
    kept = set(map(str, store.revisions(name)))  # a newer baseline may have replaced some meanwhile
    rows = [row for row in rows if row["revision"] in kept]
    _compare(rows)
    used = store.disk_used([name])[name]
    if as_json:
        emit(
            {
                "distribution": name,
                "distributor": distributor.name,
                "max_revisions": distribution.max_revisions,
                "effort": distribution.effort.value,
                "disk": asdict(used),
                "revisions": rows,
            }
        )
    elif not rows:
        out(f"{name} has no revision yet: run `sluice build {name}`")
    else:
        out(_table(rows))
        most = distribution.max_revisions
        limit = "unlimited revisions are" if most is None else f"at most {counted(most, 'revision')} {'is' if most == 1 else 'are'}"
        out(f"on disk {disk_text(used)}")
        out(f"{limit} kept; effort {distribution.effort}{_newest_text(rows[-1])}")
        for row in rows:
            if row["damage"]:
                out(f"{row['revision']} is damaged: {row['damage']}")
    ctx.exit(StoreError.exit_code if any(row["damage"] for row in rows) else 0)


def described(store: Store, name: str, number: RevisionNumber, built: datetime | None, signed: set[str]) -> dict[str, Any]:
    """Make the JSON of one revision, also of one whose manifest is damaged or gone."""
    from sluice.model.manifest import EntryKind
    from sluice.trust.roles import manifest_target

    found: dict[str, Any] = {
        "revision": str(number),
        "built": utc(built),
        **dict.fromkeys(("files", "bytes", "manifest_bytes", "manifest_sha256")),
        "signed": manifest_target(name, number) in signed,
        "damage": None,
        "teds": [],
    }
    try:
        found["teds"] = [shown for ted in store.teds(name, number) if (shown := _ted(ted)) is not None]
        manifest = store.manifest(name, number)
        data = store.manifest_bytes(name, number)
    except StoreError as error:
        return {**found, "damage": str(error)}
    except NotFoundError:
        return {**found, "damage": f"its manifest is gone: run `sluice build {name} --rebaseline` to replace it by a new baseline"}
    files = sum(entry.kind is EntryKind.FILE for destination in manifest.destinations for entry in destination.entries)
    return found | {
        "files": files,
        "bytes": sum(content for _, content in manifest.contents()),
        "manifest_bytes": len(data),
        "manifest_sha256": hashlib.sha256(data).hexdigest(),
    }


def build_times(site: Site, name: str) -> dict[RevisionNumber, datetime]:
    """Return the time at which each revision was built, by the ledger's events."""
    from sluice.model.event import EventKind

    found: dict[RevisionNumber, datetime] = {}
    for recorded in events_of(site, site.distribution(name).distributor, distribution=name, kinds=[EventKind.BUILT]):
        if recorded.event.revision is not None:
            found.setdefault(recorded.event.revision, recorded.event.at)
    return found


def _ted(ted: TedFile) -> dict[str, Any] | None:
    """Make the JSON of a file; None if it is gone by now: set aside as damaged, or removed with its revision."""
    from sluice.formats.ted.index import parse_index

    try:
        status = Path(ted.path).stat()
    except FileNotFoundError:
        return None
    return {
        "file": ted.name,
        "base": None if ted.base is None else str(ted.base),
        "small": ted.small,
        "bytes": status.st_size,
        "payload": ted.payload,
        "of_whole": None,
        "whole": None,
        "frames": dict(Counter(frame.kind.value for frame in parse_index(ted.index).frames)),
        "made": utc(datetime.fromtimestamp(status.st_mtime, UTC)),
        "index_sha256": hashlib.sha256(ted.index).hexdigest(),
        "path": ted.path,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        contents = ["damaged", "-"] if row["damage"] else [str(row["files"]), size(row["bytes"])]
        first = [row["revision"], moment(row["built"]), *contents, "yes" if row["signed"] else "no"]
        files = [
            [_base_text(ted), size(ted["bytes"]), _share(ted, row["revision"]), _frames(ted["frames"]), moment(ted["made"]), ted["path"]]
            for ted in row["teds"]
        ]
        for file in files or [["-"] * 6]:
            lines.append(first + file)
            first = [""] * 5
    return table(
        ["revision", "built (utc)", "files", "contents", "signed", "base", "file size", "of whole", "frames", "made (utc)", "file"],
        lines,
        right={"files", "contents", "file size", "of whole"},
    )


def _compare(rows: list[dict[str, Any]]) -> None:
    """Compare every file's payload with that of a whole one."""
    whole, payload = None, 0
    for row in rows:
        whole, payload = next(((row["revision"], ted["payload"]) for ted in row["teds"] if ted["base"] is None), (whole, payload))
        for ted in row["teds"]:
            ted |= {"of_whole": round(ted["payload"] / payload, 6), "whole": whole} if payload else {}


def _newest_text(row: dict[str, Any]) -> str:
    """Say which share of the whole a Subscriber with the base receives; empty if that is unknown."""
    deltas = [ted for ted in row["teds"] if ted["base"] is not None and ted["of_whole"] is not None]
    if not deltas:
        return ""
    last = max(deltas, key=lambda ted: (RevisionNumber.parse(ted["base"]), not ted["small"]))
    return f"; {row['revision']} from {last['base']} is {share(last['of_whole'])} of {last['whole']} whole"


def _base_text(ted: dict[str, Any]) -> str:
    if ted["base"] is None:
        return "none: whole"
    return f"{ted['base']}, small" if ted["small"] else str(ted["base"])


def _share(ted: dict[str, Any], revision: str) -> str:
    if ted["of_whole"] is None:
        return "-"
    return share(ted["of_whole"]) + ("" if ted["whole"] == revision else f" of {ted['whole']}")


def _frames(kinds: dict[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "none"
