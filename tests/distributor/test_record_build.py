"""Building with what happened in the ledger."""

import time
from pathlib import Path

from infra.ledger.sql import open_ledger
from infra.sources.files import FilesSource
from sluice.distributor.build.build import BuildResult
from sluice.distributor.build.record import build_recorded
from sluice.model.event import EventKind
from sluice.model.revision import RevisionNumber
from tests.distributor.context import context_of, site_of
from tests.distributor.test_build import LATER, Site
from tests.distributor.test_delivery import Place


def build(site: Site, ledger_file: Path) -> tuple[BuildResult, EventKind, RevisionNumber | None]:
    """One build; what came of it, the event that says so, and what the ledger has as the latest."""
    ledger = open_ledger(ledger_file)
    try:
        source = FilesSource(now_ns=lambda: time.time_ns() + LATER)
        parts = {"store": site.store, "source": source, "ledger": ledger, "clock": Place(ledger), "flow_run": "run-1"}
        result = build_recorded(context_of(site=site_of(site.distribution), **parts), "zone")
        built = ledger.built("zone")
        return result, ledger.events()[-1].event.kind, built.revision if built else None
    finally:
        ledger.close()


def test_a_build_without_change_tells_a_lost_ledger_the_latest_revision(tmp_path: Path) -> None:
    site, one = Site(tmp_path), RevisionNumber(1, 1)
    site.write("a", b"content")
    assert build(site, tmp_path / "ledger.db")[1:] == (EventKind.BUILT, one)
    assert build(site, tmp_path / "ledger.db")[1:] == (EventKind.NO_CHANGE, one)
    result, kind, latest = build(site, tmp_path / "new.db")
    assert (result.changed, kind, latest) == (False, EventKind.BUILT, one)


def test_a_build_without_change_tells_a_restored_ledger_the_latest_revision(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write("a", b"content")
    build(site, tmp_path / "old.db")
    site.write("a", b"other content")
    build(site, tmp_path / "ledger.db")
    assert build(site, tmp_path / "old.db")[1:] == (EventKind.BUILT, RevisionNumber(1, 2))
