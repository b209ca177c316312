"""What Distributions take on their Distributor's disk, as every command that shows them says it (C6)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cli.session import Session
from cli.tables import size
from sluice.errors import StoreError

if TYPE_CHECKING:
    from sluice.ports import DiskUse


def disk_used(session: Session, names: Iterable[str]) -> dict[str, DiskUse]:
    """By Distribution, in name order; without those whose Distributor's store isn't on this machine or can't be read."""
    from infra.workplace import store_of

    by_owner: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        by_owner.setdefault(session.site.distributions[name].distributor, []).append(name)
    found: dict[str, DiskUse] = {}
    for owner, owned in by_owner.items():
        distributor = session.site.distributors[owner]
        if (Path(distributor.working_directory) / "store").is_dir():
            with suppress(StoreError):  # what else is shown is worth more than a refusal
                found |= store_of(distributor, session.site).disk_used(owned)
    return dict(sorted(found.items()))


def disk_json(used: DiskUse) -> dict[str, int]:
    """Bytes."""
    return {"revisions": used.revisions, "contents": used.contents, "own_contents": used.own_contents}


def disk_text(used: DiskUse) -> str:
    """``4.1 MiB: revisions 2.0 MiB, contents 2.1 MiB``, and what of the latter others need too."""
    shared = used.contents - used.own_contents
    others = f", {size(shared)} of them shared with other Distributions" if shared else ""
    return f"{size(used.revisions + used.contents)}: revisions {size(used.revisions)}, contents {size(used.contents)}{others}"
