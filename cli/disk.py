"""The disk space of Distributions on their Distributor, for every command that shows it (C6)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from cli.session import Session
from cli.tables import size
from sluice.errors import StoreError

if TYPE_CHECKING:
    from sluice.ports import DiskUse


def disk_used(session: Session, names: Iterable[str]) -> dict[str, DiskUse]:
    """Map Distributions to disk use, in name order; without those whose store isn't on this machine or cannot be read."""
    from infra.workplace import store_of

    by_owner: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        by_owner.setdefault(session.site.distributions[name].distributor, []).append(name)
    found: dict[str, DiskUse] = {}
    for owner, owned in by_owner.items():
        if session.has_store(owner):
            with suppress(StoreError):  # the rest of the output is worth more than a refusal
                found |= store_of(session.site.distributors[owner], session.site).disk_used(owned)
    return dict(sorted(found.items()))


def disk_text(used: DiskUse) -> str:
    """Write ``4.1 MiB: revisions 2.0 MiB, contents 2.1 MiB``, and the share of contents that other Distributions need too."""
    shared = used.contents - used.own_contents
    others = f", {size(shared)} of them shared with other Distributions" if shared else ""
    return f"{size(used.revisions + used.contents)}: revisions {size(used.revisions)}, contents {size(used.contents)}{others}"
