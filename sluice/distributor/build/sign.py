"""Sign: publish what can be sent of Distributions (TED: certificates and digests).

That is the newest revision and the one before it, which a run that began earlier may still be sending; listing no
more keeps the metadata that travels small. A manifest that was signed stays as it was signed: one that was damaged or lost on disk
since then isn't signed anew, so that it is found out and a new baseline takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sluice.errors import NotFoundError
from sluice.model.revision import RevisionNumber
from sluice.ports import RevisionReader
from sluice.trust.publish import Published, Publisher
from sluice.trust.roles import manifest_target, ted_target
from sluice.trust.targets import Listing, Target

SENDABLE_REVISIONS = 2
"""Newest revisions that stay listed."""


def sign(
    distributions: Iterable[str], *, store: RevisionReader, publisher: Publisher, now: datetime, longest_interval: timedelta
) -> Published:
    """Publish the current listings of Distributions; with none, only renew what nears its expiry.

    Repeatable at any point: an unchanged listing publishes nothing.

    Args:
        longest_interval: See ``rules/lifetimes.py``.
    Raises:
        TrustError: The Distributor has no keys.
    """
    names = tuple(distributions)
    return publisher.publish(
        lambda: {name: listing(name, store, publisher.listing(name)) for name in names}, now=now, longest_interval=longest_interval
    )


def listing(distribution: str, store: RevisionReader, signed: Listing) -> Listing:
    """List what can be sent of a Distribution, by target path; empty if nothing is built.

    Args:
        signed: Its listing that is signed now.

    No lock is taken: if a build deletes a revision meanwhile, the revisions kept then are listed.
    """
    while True:
        kept = list(store.revisions(distribution))
        try:
            return _listing(distribution, kept[-SENDABLE_REVISIONS:], store, signed)
        except NotFoundError:
            if list(store.revisions(distribution)) == kept:
                raise


def _listing(distribution: str, revisions: Iterable[RevisionNumber], store: RevisionReader, signed: Listing) -> Listing:
    found = {}
    for revision in revisions:
        path = manifest_target(distribution, revision)
        found[path] = signed.get(path) or Target.of(store.manifest_bytes(distribution, revision))
        for ted in store.teds(distribution, revision):
            found[ted_target(distribution, revision, ted.name)] = Target.of(ted.index)
    return found
