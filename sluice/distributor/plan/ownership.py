"""Tell by its tags for which site an object on a Prefect server was made. Pure.

A site's objects carry the names of its Distributors and its id (docs/formats.md section 10): those of other sites are neither changed
nor removed, whatever they are called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum

from sluice.model.site import Site

SITE_TAG = "site:"
SITE_ID_TAG = "site-id:"


class Owner(StrEnum):
    """The site that an object on a Prefect server was made for, by its tags."""

    THIS = "this site"
    UNMARKED = "a site with Distributors of these names, before sites had ids"
    ANOTHER = "another site"
    NOBODY = "somebody else"


def site_tags(site: Site) -> tuple[str, str]:
    """Make the tags of this site's objects on a server: the names of its Distributors, which pools make unique there, and its ids."""
    return SITE_TAG + "+".join(sorted(site.distributors)), SITE_ID_TAG + (site.id or "+".join(_distributor_ids(site)))


def owner_of(site: Site, tags: Iterable[str]) -> Owner:
    """Tell the site for which an object with these tags was made.

    It is this one if an id is this site's, be it one that the site had before its file ``site-id``; without any id, nothing but the
    names of Distributors can tell.
    """
    found = list(tags)
    ids, names = site_ids(found), _values(found, SITE_TAG)
    if ids:
        return Owner.ANOTHER if ids.isdisjoint({site.id, *_distributor_ids(site)}) else Owner.THIS
    if not names:
        return Owner.NOBODY
    return Owner.ANOTHER if names.isdisjoint(site.distributors) else Owner.UNMARKED


def site_ids(tags: Iterable[str]) -> set[str]:
    """Return the ids of sites that these tags name."""
    return _values(tags, SITE_ID_TAG)


def _distributor_ids(site: Site) -> list[str]:
    """List the ids of a site without a file ``site-id``: of each Distributor's name and working directory, the home of its keys."""
    return sorted(hashlib.sha256(f"{d.name}\0{d.working_directory}".encode()).hexdigest()[:16] for d in site.distributors.values())


def _values(tags: Iterable[str], prefix: str) -> set[str]:
    return {value for tag in tags if tag.startswith(prefix) for value in tag.removeprefix(prefix).split("+")}
