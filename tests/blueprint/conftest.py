"""Sites made of text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sluice.blueprint import load_site
from sluice.model.site import Site

AROUND = """
kind: Distributor
name: hq
working_directory: /var/lib/sluice/hq
---
kind: Subscriber
name: web-1
address: local:/srv/web-1
working_directory: /srv/web-1/sluice
platform: debian-12
tags: {site: helsinki, role: web}
variables: {DEST: /opt}
---
kind: Subscriber
name: db-1
address: local:/srv/db-1
working_directory: /srv/db-1/sluice
platform: debian-12
tags: {site: helsinki, role: db}
variables: {DEST: /srv}
"""

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SiteOf = Callable[..., Site]


@pytest.fixture
def site_of(tmp_path: Path) -> SiteOf:
    """Loads a site of one text, beside a Distributor hq and the Subscribers web-1 and db-1 unless told otherwise."""

    def load(text: str = "", *, around: str = AROUND) -> Site:
        (tmp_path / "around.yaml").write_text(around)
        (tmp_path / "site.yaml").write_text(textwrap.dedent(text))
        return load_site(tmp_path)

    return load
