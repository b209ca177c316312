"""E4 and C3 while sending: damage at the Distributor is mended, what went meanwhile is said, and the Channel's next start sends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.distributor.repair.revision import Mender
from sluice.distributor.repair.store import verify_store
from sluice.errors import SluiceError, SourceError, StoreCorruptError, StoreMendedError, SupersededError, error_from_code
from sluice.model.assignment import Assignment
from sluice.model.event import EventKind
from sluice.model.revision import RevisionNumber
from sluice.sender.transfer import Transfer
from tests.end_to_end.ruled import ForkedTransport, Ruled, ruled


@pytest.fixture(scope="module")
def agents() -> Iterator[ForkedTransport]:
    made = ForkedTransport()
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path, agents: ForkedTransport) -> Iterator[Ruled]:
    with ruled(tmp_path, agents) as made:
        yield made


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def ended(site: Ruled, revision: RevisionNumber, mender: Mender | None = None) -> SluiceError:
    """A send that doesn't go through, and what it ends with."""
    with pytest.raises(SluiceError) as met:
        site.deliver("zone", revision)
    return (mender or site.mender).repair_and_explain("zone", revision, met.value)


def sound(site: Ruled) -> bool:
    return not verify_store(site.context).verdicts


def largest_pack(site: Ruled) -> Path:
    return max(site.store.contents.directory.glob("*.pack"), key=lambda path: path.stat().st_size)


def test_a_damaged_ted_is_set_aside_made_again_and_goes_at_the_next_start(site: Ruled) -> None:
    revision = site.revise()
    ted = Path(site.store.teds("zone", revision)[0].path)
    whole = ted.read_bytes()
    flip(ted)
    error = ended(site, revision)
    assert isinstance(error, StoreMendedError)
    assert "set aside as distfile.corrupt and made again" in error.message
    assert ted.read_bytes() == whole
    assert ted.with_name("distfile.corrupt").exists()
    assert [each.event.revision for each in site.ledger.events(kinds=[EventKind.DAMAGE_MENDED])] == [revision]
    site.arrives(revision)


def test_a_damaged_content_comes_back_from_its_source(site: Ruled) -> None:
    revision = site.revise()
    Path(site.store.teds("zone", revision)[0].path).unlink()
    flip(largest_pack(site))
    error = ended(site, revision)
    assert isinstance(error, StoreMendedError)
    assert "1 content taken from the source" in error.message
    assert sound(site)
    site.arrives(revision)


def test_what_no_source_has_any_more_is_built_anew_as_a_baseline(site: Ruled) -> None:
    revision = site.revise()
    Path(site.store.teds("zone", revision)[0].path).unlink()
    flip(largest_pack(site))
    (site.source / "blob").write_bytes(b"another" * 100)
    error = ended(site, revision)
    assert isinstance(error, StoreMendedError)
    assert "built 2.1 anew from the sources" in error.message
    assert (site.kept(), sound(site)) == (["2.1"], True)
    site.arrives(RevisionNumber(2, 1))


def test_many_that_meet_what_cant_be_mended_are_told_the_same_and_it_is_tried_once(site: Ruled) -> None:
    revision = site.revise()
    Path(site.store.teds("zone", revision)[0].path).unlink()
    flip(largest_pack(site))
    (site.source / "blob").unlink()
    (site.source / "small").unlink()
    site.source.rmdir()
    mender = site.mender
    first = ended(site, revision, mender)
    assert isinstance(first, SourceError)
    looks = len(site.ledger.events(kinds=[EventKind.DAMAGE_FOUND]))
    assert mender.repair_and_explain("zone", revision, StoreCorruptError("block 0 no longer has its digest")) is first
    assert len(site.ledger.events(kinds=[EventKind.DAMAGE_FOUND])) == looks


def test_damage_that_a_subscriber_tells_of_has_nobody_read_the_store_through(site: Ruled) -> None:
    revision = site.revise()
    flip(Path(site.store.teds("zone", revision)[0].path))
    theirs = error_from_code(StoreCorruptError.__name__, "status.json is damaged")
    assert site.mender.repair_and_explain("zone", revision, theirs) is theirs
    assert not sound(site)
    assert isinstance(site.mender.repair_and_explain("zone", revision, StoreCorruptError("ours")), StoreMendedError)


@pytest.mark.parametrize("way", ["whole", "delta"])
def test_a_manifest_that_isnt_the_signed_one_is_replaced_by_a_baseline(site: Ruled, way: str) -> None:
    revision = site.revise()
    if way == "delta":
        site.arrives(revision)
        revision = site.revise()
        Path(site.store.teds("zone", revision)[0].path).unlink()
    path = site.store.revision_directory("zone", revision) / "manifest"
    path.write_bytes(path.read_bytes().replace(b'"rollback":true', b'"rollback":false'))
    assert not site.store.manifest("zone", revision).rollback
    error = ended(site, revision)
    assert isinstance(error, StoreMendedError)
    assert "it isn't the one that was signed" in error.message
    assert site.kept() == ["2.1"]
    site.arrives(RevisionNumber(2, 1))


def test_many_that_meet_one_damage_are_told_the_same_and_it_is_mended_once(site: Ruled) -> None:
    revision = site.revise()
    flip(Path(site.store.teds("zone", revision)[0].path))
    mender = site.mender
    first = ended(site, revision, mender)
    second = mender.repair_and_explain("zone", revision, StoreCorruptError("block 0 no longer has its digest"))
    assert (type(second), second.message) == (StoreMendedError, first.message)
    assert len(site.ledger.events(kinds=[EventKind.DAMAGE_MENDED])) == 1


def test_where_all_is_sound_here_what_a_subscriber_reports_stays_as_it_is(site: Ruled) -> None:
    revision = site.revise()
    before = {path: path.stat().st_mtime_ns for path in site.store.root.rglob("*.ted")}
    reported = StoreCorruptError("the status file there is damaged")
    assert site.mender.repair_and_explain("zone", revision, reported) is reported
    assert {path: path.stat().st_mtime_ns for path in site.store.root.rglob("*.ted")} == before


def test_a_revision_that_was_superseded_meanwhile_waits_for_the_next_start_which_sends_the_newest(site: Ruled) -> None:
    gone = site.revise()
    newest = site.revise(rebaseline=True)
    error = ended(site, gone)
    assert isinstance(error, SupersededError)
    assert "2.1 was built while it was to be sent" in error.message
    site.arrives(newest)


@pytest.mark.slow
def test_a_build_that_supersedes_a_revision_in_mid_transfer_breaks_nothing(site: Ruled) -> None:
    going = site.revise()
    newest: list[RevisionNumber] = []

    def superseding(_done: int, _total: int) -> None:
        if not newest:
            newest.append(site.revise(rebaseline=True))

    sending = Transfer(site.sender, site.subscriber, Assignment(site.subscriber.name, "zone", going))
    sending.call()
    sent = sending.transfer(superseding)
    sending.close()
    assert (site.kept(), sent.payload > 400_000) == (["2.1"], True)
    assert site.held() == [str(going)]
    site.arrives(newest[0])
