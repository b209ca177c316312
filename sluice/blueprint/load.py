"""Load a site (``load_site``): from a directory of blueprints to a validated Site, or to every error at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sluice.blueprint.check.site import check_site
from sluice.blueprint.convert.converter import Converter
from sluice.blueprint.schema.bounds import counted
from sluice.blueprint.schema.parse import Parts
from sluice.errors import BlueprintError, SiteError
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
    site, errors = judged_site(directory)
    if errors:
        raise site_error(errors)
    return site


def judged_site(directory: Path) -> tuple[Site, list[BlueprintError]]:
    """Read a site as ``load_site`` does, and return it with all of its errors.

    If there are any, it has stand-ins for what was refused, and of the Subscribers those alone whose login has none.
    """
    while True:
        release = os.path.realpath(directory)
        with counted():
            parts = Parts(directory)
            converter = Converter(parts)
            site = converter.site()
            if os.path.realpath(directory) == release:
                check_site(site, converter)
                break  # else a link was switched to another release meanwhile: what was read may be half of each
    site = replace(site, subscribers={name: each for name, each in site.subscribers.items() if converter.is_login_known(name)})
    return site, [error for error in parts.errors if not error.is_consequence]


def site_error(errors: Sequence[BlueprintError]) -> SiteError:
    """Return all errors as one, each once, by file and line."""
    distinct = {str(e): e for e in errors}
    return SiteError(sorted(distinct.values(), key=lambda e: (e.file, e.line, e.path, e.message)))
