"""Signing what can be sent, on a real store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.store.files import FileStore
from sluice.distributor.build.sign import listing, sign
from sluice.errors import NotFoundError
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber
from sluice.trust.publish import Publisher
from sluice.trust.targets import Target

R11, R12, R21 = (RevisionNumber.parse(text) for text in ("1.1", "1.2", "2.1"))
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def add(store: FileStore, revision: RevisionNumber, *, without: tuple[RevisionNumber, ...] = ()) -> None:
    top = Entry(EntryKind.DIRECTORY, "", 0o755, revision.baseline)
    with store.lock("zone") as draft:
        draft.add_revision(Manifest("zone", revision, "file", (Destination("/opt/zone", True, (top,)),)), (None,))
        draft.remove(without)


def test_the_newest_two_revisions_can_be_sent(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    assert listing("zone", store, {}) == {}
    for revision in (R11, R12, R21):
        add(store, revision)
    assert sorted(listing("zone", store, {})) == [
        "zone/1.2/distfile.ted",
        "zone/1.2/manifest",
        "zone/2.1/distfile.ted",
        "zone/2.1/manifest",
    ]


def test_a_build_that_deletes_what_is_being_listed_doesnt_fail_the_signing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path)
    add(store, R11)
    add(store, R12)
    revisions = FileStore.revisions

    def built_meanwhile(self: FileStore, distribution: str) -> object:
        found = revisions(self, distribution)
        if found == [R11, R12]:
            monkeypatch.undo()
            add(FileStore(tmp_path), R21, without=(R11, R12))
        return found

    monkeypatch.setattr(FileStore, "revisions", built_meanwhile)
    assert sorted(listing("zone", store, {})) == ["zone/2.1/distfile.ted", "zone/2.1/manifest"]


def test_a_damaged_ted_of_one_distribution_doesnt_stop_the_renewal_of_all(tmp_path: Path) -> None:
    store, publisher = FileStore(tmp_path), Publisher(tmp_path, distributor="hq")
    publisher.ensure_keys(NOW)
    add(store, R11)
    sign(["zone"], store=store, publisher=publisher, now=NOW, longest_interval=timedelta(1))
    path = store.revision_directory("zone", R11) / "distfile.ted"
    path.write_bytes(path.read_bytes()[:-1])
    renewed = sign(["zone", "other"], store=store, publisher=publisher, now=NOW + timedelta(days=12), longest_interval=timedelta(1))
    assert "timestamp" in renewed.changed
    assert sorted(publisher.listing("zone")) == ["zone/1.1/manifest"]
    store.ensure_ted("zone", R11, None)
    sign(["zone"], store=store, publisher=publisher, now=NOW, longest_interval=timedelta(1))
    assert sorted(publisher.listing("zone")) == ["zone/1.1/distfile.ted", "zone/1.1/manifest"]


def test_a_manifest_that_was_damaged_or_lost_since_isnt_signed_anew(tmp_path: Path) -> None:
    store, publisher = FileStore(tmp_path), Publisher(tmp_path, distributor="hq")
    publisher.ensure_keys(NOW)
    add(store, R11)
    sign(["zone"], store=store, publisher=publisher, now=NOW, longest_interval=timedelta(1))
    path = store.revision_directory("zone", R11) / "manifest"
    signed = Target.of(path.read_bytes())
    path.write_bytes(path.read_bytes().replace(b"493", b"511"))
    assert store.manifest("zone", R11), "it can still be read"
    add(store, R12)
    sign(["zone"], store=store, publisher=publisher, now=NOW, longest_interval=timedelta(1))
    assert publisher.listing("zone")["zone/1.1/manifest"] == signed
    path.unlink()
    sign(["zone"], store=store, publisher=publisher, now=NOW + timedelta(days=12), longest_interval=timedelta(1))
    assert publisher.listing("zone")["zone/1.1/manifest"] == signed


def test_a_revision_without_manifest_is_told(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    add(store, R11)
    (store.revision_directory("zone", R11) / "manifest").unlink()
    with pytest.raises(NotFoundError):
        listing("zone", store, {})


def test_deltas_and_small_ones_are_listed_once_they_are_made(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    add(store, R11)
    add(store, R12)
    assert sorted(listing("zone", store, {})) == [
        "zone/1.1/distfile.ted",
        "zone/1.1/manifest",
        "zone/1.2/distfile.ted",
        "zone/1.2/manifest",
    ]
    made = [store.ensure_ted("zone", R12, R11, small=small) for small in (False, True)]
    found = listing("zone", store, {})
    assert [found[f"zone/1.2/{name}"] for name in ("from-1.1.ted", "from-1.1.small.ted")] == [Target.of(ted.index) for ted in made]
