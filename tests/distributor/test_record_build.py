"""Building with what happened in the ledger."""

import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.ledger.sql import open_ledger
from infra.sources.files import FilesSource
from sluice.distributor.build.build import BuildResult
from sluice.distributor.build.record import build_recorded, sign_recorded
from sluice.errors import SluiceError, StoreLockedError
from sluice.model.event import EventKind
from sluice.model.revision import RevisionNumber
from sluice.trust.publish import Publisher
from tests.distributor.context import context_of, site_of
from tests.distributor.test_build import LATER, Site
from tests.distributor.test_delivery import Place


def build(site: Site, ledger_file: Path, *, with_keys: bool = True) -> tuple[BuildResult, EventKind, RevisionNumber | None]:
    """One build; what came of it, the event that says so, and what the ledger has as the latest."""
    ledger = open_ledger(ledger_file)
    try:
        source = FilesSource(now_ns=lambda: time.time_ns() + LATER)
        publisher = Publisher(ledger_file.parent / "hq", distributor="hq")
        if with_keys:
            publisher.ensure_keys(datetime.now(UTC))
        parts = {
            "store": site.store,
            "source": source,
            "ledger": ledger,
            "clock": Place(ledger),
            "flow_run": "run-1",
            "publisher": publisher,
        }
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


@pytest.mark.parametrize("fault", ["no source", "no keys", "a bug"])
def test_whatever_fails_a_build_leaves_a_trace_until_one_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    site = Site(tmp_path)
    site.write("a", b"content")
    away, raised = site.source.with_name("away"), SluiceError if fault != "a bug" else ZeroDivisionError
    with monkeypatch.context() as broken:
        if fault == "no source":
            site.source.rename(away)
        elif fault == "a bug":
            broken.setattr("sluice.distributor.build.record.build", lambda *_, **__: 1 // 0)
        for _ in range(2):
            with pytest.raises(raised):
                build(site, tmp_path / "ledger.db", with_keys=fault != "no keys")
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        (failure,) = ledger.snapshot().failing.values()
        first = ledger.events()[0].event
        assert (failure.distribution, failure.since, failure.remedy != "") == ("zone", first.at, True)
        assert [each.event.kind for each in ledger.events()] == [EventKind.BUILD_FAILED] * 2
    if away.exists():
        away.rename(site.source)
    assert build(site, tmp_path / "ledger.db")[1] is EventKind.BUILT
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        assert ledger.snapshot().failing == {}


@pytest.mark.parametrize("fault", ["no keys", "a bug"])
@pytest.mark.parametrize("is_news", [True, False])
def test_whatever_fails_a_signing_leaves_a_trace_until_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, *, is_news: bool
) -> None:
    site = Site(tmp_path)
    site.write("a", b"content")
    build(site, tmp_path / "ledger.db")
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        publisher, without = (Publisher(tmp_path / name, distributor="hq") for name in ("hq", "elsewhere"))
        parts = {"store": site.store, "ledger": ledger, "clock": Place(ledger), "publisher": publisher}
        context = context_of(site=site_of(site.distribution), **parts)
        if not is_news:
            sign_recorded(context, ["zone"])
        with monkeypatch.context() as broken:
            context.publisher = without if fault == "no keys" else publisher
            if fault == "a bug":
                broken.setattr("sluice.distributor.build.record.sign", lambda *_, **__: 1 // 0)
            for _ in range(2):
                with pytest.raises(SluiceError if fault == "no keys" else ZeroDivisionError):
                    sign_recorded(context, ["zone"])
        (failure,) = ledger.failing().values()
        (first, _) = (each.event for each in ledger.events(kinds=[EventKind.SIGN_FAILED]))
        assert (failure.operation, failure.since, failure.remedy != "") == ("sign", first.at, True)
        build(site, tmp_path / "ledger.db")
        assert list(ledger.failing()) == ["zone"]
        context.publisher = publisher
        assert bool(sign_recorded(context, ["zone"]).changed) is is_news
        assert ledger.failing() == {}
        signed = len(ledger.events(kinds=[EventKind.SIGNED]))
        sign_recorded(context, ["zone"])
        assert len(ledger.events(kinds=[EventKind.SIGNED])) == signed, "nothing happened"


def test_a_build_that_another_run_makes_already_is_no_failing_one(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write("a", b"content")
    with site.store.lock("zone"), pytest.raises(StoreLockedError):
        build(site, tmp_path / "ledger.db")
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        assert ledger.snapshot().failing == {}
