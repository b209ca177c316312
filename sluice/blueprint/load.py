"""Load a site (``load_site``): from a directory of blueprints to a validated Site, or to every error at once."""

from __future__ import annotations

import os
from pathlib import Path

from sluice.blueprint.check.site import check_site
from sluice.blueprint.convert.converter import Converter
from sluice.blueprint.schema.parse import Parts
from sluice.errors import SiteError
from sluice.model.site import Site


def load_site(directory: Path) -> Site:
    """Read, validate and complete a site.

    Args:
        directory: Every ``*.yaml`` and ``*.yml`` below it is read, hidden ones aside. Relative paths on the Distributor's own
            machine are resolved against it.
    Returns:
        The Site: defaults applied, selectors resolved, names unique and known, templates checked for every Subscriber they reach.
    Raises:
        SiteError: Every BlueprintError of the site, by file and line.
    Source: TED "Distribution object", requirements A and D15.
    """
    while True:
        release = os.path.realpath(directory)
        parts = Parts(directory)
        converter = Converter(parts)
        site = converter.site()
        if os.path.realpath(directory) == release:
            break  # else a link was switched to another release meanwhile: what was read may be half of each
    check_site(site, converter)
    if parts.errors:
        distinct = {str(e): e for e in parts.errors if not e.is_consequence}
        raise SiteError(sorted(distinct.values(), key=lambda e: (e.file, e.line, e.path, e.message)))
    return site
