"""Sign: publish what can be sent of Distributions (TED: certificates and digests).

What can be sent is the newest revision and the one before it, which a run that began earlier may still be sending; listing no
more keeps the metadata that travels small.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sluice.errors import NotFoundError
from sluice.model.revision import RevisionNumber
from sluice.ports import Store
from sluice.trust.publish import Listing, Published, Publisher
from sluice.trust.roles import manifest_target, ted_target
from sluice.trust.targets import Target

SENDABLE_REVISIONS = 2
"""Newest revisions that stay listed."""


def sign(distributions: Iterable[str], *, store: Store, publisher: Publisher, now: datetime, longest_interval: timedelta) -> Published:
    """Publish the current listings of Distributions; with none, only renew what nears its expiry.

    Repeatable at any point: an unchanged listing publishes nothing.

    Args:
        longest_interval: See ``rules/lifetimes.py``.
    Raises:
        TrustError: The Distributor has no keys.
    """
    names = tuple(distributions)
    return publisher.publish(lambda: {name: listing(name, store) for name in names}, now=now, longest_interval=longest_interval)


def listing(distribution: str, store: Store) -> Listing:
    """What can be sent of a Distribution, by target path; empty where nothing is built.

    No lock is taken: where a build deletes a revision meanwhile, what is kept then is listed.
    """
    while True:
        kept = list(store.revisions(distribution))
        try:
            return _listing(distribution, kept[-SENDABLE_REVISIONS:], store)
        except NotFoundError:
            if list(store.revisions(distribution)) == kept:
                raise


def _listing(distribution: str, revisions: Iterable[RevisionNumber], store: Store) -> Listing:
    found = {}
    for revision in revisions:
        found[manifest_target(distribution, revision)] = Target.of(store.manifest_bytes(distribution, revision))
        for ted in store.teds(distribution, revision):
            found[ted_target(distribution, revision, ted.name)] = Target.of(ted.index)
    return found
