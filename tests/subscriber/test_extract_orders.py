"""Which orders are carried out, in which order, and what is kept afterwards (B3, C2, C10, C12, E4, G1, G2, G4)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.errors import BaseDiffersError, NotFoundError, StoreLockedError
from sluice.formats.manifest.document import read_back_digest
from sluice.model.action import Script, ScriptType
from sluice.model.order import Outcome
from sluice.model.revision import RevisionNumber
from sluice.subscriber.held.directory import CORRUPT, TED
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, contents_of, made, make, tree_of

FIRST = RevisionNumber(1, 1)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    (top / "a").write_text("alpha")
    (top / "b").write_text("beta")
    return top


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "zone"


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_what_is_installed_is_answered_so_without_touching_anything(host: Host, source: Path, target: Path, tmp_path: Path) -> None:
    first = make("1.1", source)
    host.install(first, target)
    (target / "a").write_text("drift")
    log = tmp_path / "log"

    receipt = host.extract(first, target, pre=[shell(f"echo ran >{log}")])

    assert receipt.outcome is Outcome.ALREADY_INSTALLED
    assert receipt.read_back == read_back_digest(first.manifest)
    assert (target / "a").read_text() == "drift"
    assert not log.exists()


def test_with_verify_the_tree_is_asked_and_mended(host: Host, source: Path, target: Path) -> None:
    first = make("1.1", source, verify=True, max_revisions=1)
    host.install(first, target)
    assert host.extract(first, target).outcome is Outcome.ALREADY_INSTALLED
    (target / "a").write_text("damag")
    (target / "b").unlink()

    receipt = host.extract(first, target)

    assert receipt.outcome is Outcome.INSTALLED
    assert receipt.files_written == 2
    assert tree_of(target) == tree_of(source)


def test_the_same_revision_to_another_destination_is_extracted_there(host: Host, source: Path, target: Path, tmp_path: Path) -> None:
    first = make("1.1", source)
    host.install(first, target)
    assert host.extract(first, tmp_path / "elsewhere").outcome is Outcome.INSTALLED
    assert tree_of(tmp_path / "elsewhere") == tree_of(source)
    assert tree_of(target) == tree_of(source)


def test_an_older_revision_is_refused(host: Host, source: Path, target: Path) -> None:
    first, second = make("1.1", source), make("1.2", source)
    host.receive(first)
    host.install(second, target)

    receipt = host.extract(first, target)

    assert receipt.outcome is Outcome.FAILED
    assert receipt.failure is not None
    assert receipt.failure.code == "OutOfOrderError"
    assert host.held.status().extracted.revision == "1.2"


def test_a_difference_from_what_is_not_extracted_is_left_alone_until_it_is(host: Host, source: Path, target: Path) -> None:
    first = make("1.1", source)
    (source / "a").write_text("alpha 2")
    second = make("1.2", source, base=first)
    (source / "b").write_text("beta 3")
    third = make("1.3", source, base=second)
    host.install(first, target)
    host.receive(second)
    host.receive(third)

    assert host.held.newest_held(host.held.status()) == RevisionNumber(1, 2)
    receipt = host.extract(third, target)
    assert receipt.failure is not None
    assert receipt.failure.code == "BaseDiffersError"
    assert (target / "a").read_text() == "alpha"

    assert host.extract(second, target).outcome is Outcome.INSTALLED
    assert host.extract(third, target).outcome is Outcome.INSTALLED
    assert tree_of(target) == tree_of(source)


def test_revisions_that_arrive_in_the_wrong_order_are_extracted_in_theirs(host: Host, source: Path, target: Path) -> None:
    first = make("1.1", source)
    (source / "a").write_text("alpha 2")
    second = make("1.2", source, base=first)
    (source / "b").write_text("beta 3")
    third = make("1.3", source, base=second)
    expected = tree_of(source)
    host.install(first, target)
    with pytest.raises(BaseDiffersError):
        host.receive(third)
    host.receive(second)
    with pytest.raises(NotFoundError):
        host.extract(third, target)
    assert host.extract(second, target).outcome is Outcome.INSTALLED
    host.receive(third)
    assert host.extract(third, target).outcome is Outcome.INSTALLED

    late = host.extract(second, target)

    assert late.failure is not None
    assert late.failure.code == "OutOfOrderError"
    assert tree_of(target) == expected
    assert host.held.status().extracted.revision == "1.3"


def test_a_delta_on_a_changed_tree_names_what_changed_and_a_whole_send_mends_it(host: Host, source: Path, target: Path) -> None:
    first = make("1.1", source)
    host.install(first, target)
    (source / "a").rename(source / "moved")
    second = make("1.2", source, base=first)
    assert second.index.payload == 0
    host.receive(second)
    (target / "a").write_text("drift")
    before = tree_of(target)

    receipt = host.extract(second, target)

    assert receipt.failure is not None
    assert receipt.failure.code == "BaseDiffersError"
    assert str(target / "a") in receipt.failure.message
    assert tree_of(target) == before
    assert host.leftovers(target) == []

    whole = make("1.3", source)
    assert host.install(whole, target).outcome is Outcome.INSTALLED
    assert (target / "moved").read_text() == "alpha"


def test_a_delta_can_be_extracted_again_over_its_own_result(host: Host, source: Path, target: Path) -> None:
    first = make("1.1", source, verify=True)
    host.install(first, target)
    (source / "a").write_text("alpha 2")
    (source / "c").write_text("beta")
    second = make("1.2", source, base=first, verify=True)
    host.install(second, target)
    (target / "a").unlink()
    (target / "c").unlink()

    assert host.extract(second, target).outcome is Outcome.INSTALLED
    assert tree_of(target) == tree_of(source)


def test_a_revision_that_was_not_sent_is_no_failure_of_the_extraction(host: Host, source: Path, target: Path) -> None:
    with pytest.raises(NotFoundError):
        host.extract(make("1.1", source), target)
    assert host.receipts() == []


def test_a_busy_distribution_is_left_alone(host: Host, source: Path, target: Path) -> None:
    first = make("1.1", source)
    host.receive(first)
    with host.held.lock(), pytest.raises(StoreLockedError):
        host.extract(first, target)


@pytest.mark.parametrize("damaged", ["payload", "index", "trailer", "manifest", "cut"])
def test_damage_at_rest_is_found_set_aside_and_repaired_by_a_new_send(host: Host, source: Path, target: Path, damaged: str) -> None:
    first = make("1.1", source)
    host.receive(first)
    place = host.held.revision(FIRST)
    if damaged == "payload":
        flip(place / TED, 8 + first.index.payload // 2)
    elif damaged == "index":
        flip(place / TED, 8 + first.index.payload + 30)
    elif damaged == "trailer":
        flip(place / TED, (place / TED).stat().st_size - 1)
    elif damaged == "manifest":
        flip(place / "manifest", len(first.manifest_bytes) - 8)
    else:
        (place / TED).write_bytes((place / TED).read_bytes()[:-20])

    receipt = host.extract(first, target)

    assert receipt.outcome is Outcome.FAILED
    assert receipt.failure is not None
    assert receipt.failure.code == "StoreCorruptError"
    assert not target.exists()
    assert not (place / TED).exists()
    assert (place / CORRUPT).exists()
    status = host.held.status()
    assert host.held.newest_held(status) is None
    assert "StoreCorruptError" in status.reason

    host.receive(first)
    assert host.extract(first, target).outcome is Outcome.INSTALLED
    assert tree_of(target) == tree_of(source)
    assert not (place / CORRUPT).exists()


def test_a_signed_manifest_whose_contents_the_ted_lacks_is_refused(host: Host, source: Path, target: Path) -> None:
    good = make("1.1", source)
    contents = contents_of(source)
    (source / "a").write_text("other content")
    lying = replace(make("1.1", source).manifest, distribution="zone")
    evil = made(good.manifest, contents)
    evil = Made(lying, make("1.1", source).manifest_bytes, evil.ted, evil.index, evil.index_bytes)
    host.receive(evil)

    receipt = host.extract(evil, target)

    assert receipt.failure is not None
    assert receipt.failure.code == "StoreCorruptError"
    assert not target.exists()


@pytest.mark.parametrize(
    ("kind", "max_revisions", "verify", "stays"),
    [
        ("file", 10, False, True),
        ("file", 1, False, False),
        ("file", 1, True, True),
        ("file", None, False, True),
        ("desktop_application", 10, False, True),
        ("desktop_application", 1, True, False),
        ("http", 10, False, False),
        ("rpm", None, True, False),
    ],
)
def test_clean_up_keeps_or_removes_the_ted_and_keeps_the_status_file(
    host: Host, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, kind: str, max_revisions: int | None, verify: bool, stays: bool
) -> None:
    from sluice.subscriber.extract import commit as extract_commit

    # Types that aren't built yet have no manifest: clean-up is told of them directly.
    made_ = make("1.1", source, max_revisions=max_revisions, verify=verify)
    host.receive(made_)
    manifest = replace(made_.manifest, type=kind)
    monkeypatch.setattr(extract_commit, "parse_header", lambda _: (manifest, ()))

    assert host.extract(made_, target).outcome is Outcome.INSTALLED

    assert (host.held.revision(FIRST) / TED).exists() is stays
    status = host.held.status()
    assert host.held.holds(status, FIRST)
    assert status.received["1.1"].cleaned is not stays


def test_what_was_cleaned_up_can_come_whole_once_more_where_the_tree_is_gone(host: Host, source: Path, target: Path) -> None:
    first = make("1.1", source, max_revisions=1)
    host.install(first, target)
    shutil.rmtree(target)
    elsewhere = target.with_name("elsewhere")
    failed = host.extract(first, elsewhere)
    assert failed.failure is not None
    assert failed.failure.code == "BaseDiffersError"
    host.receive(first)
    assert host.extract(first, elsewhere).outcome is Outcome.INSTALLED
    assert tree_of(elsewhere) == tree_of(source)
    assert not host.held.revision(FIRST).exists()


def test_no_more_than_max_revisions_are_kept(host: Host, source: Path, target: Path) -> None:
    for number in range(1, 6):
        (source / "a").write_text(f"alpha {number}")
        host.install(make(f"1.{number}", source, max_revisions=2), target)
    assert sorted(path.name for path in (host.held.directory / "revisions").iterdir()) == ["1.4", "1.5"]
    assert sorted(host.held.status().received) == ["1.4", "1.5"]


def test_a_deleted_status_file_forces_a_new_receive(host: Host, source: Path, target: Path) -> None:
    first = make("1.1", source)
    host.install(first, target)
    host.held.status_path.unlink()
    assert host.held.newest_held(host.held.status()) is None

    host.receive(first)
    receipt = host.extract(first, target)

    assert receipt.outcome is Outcome.INSTALLED
    assert receipt.files_unchanged == 2


def test_a_damaged_base_manifest_counts_as_nothing_extracted(host: Host, source: Path, target: Path) -> None:
    first = make("1.1", source)
    host.install(first, target)
    flip(host.held.manifest_path, 30)
    assert host.extract(first, target).outcome is Outcome.INSTALLED
    assert host.extract(first, target).outcome is Outcome.ALREADY_INSTALLED


def test_a_post_action_may_be_a_file_that_comes_with_the_revision(host: Host, source: Path, target: Path, tmp_path: Path) -> None:
    (source / "migrate").write_text(f"echo migrated >{tmp_path}/log")
    made = make("1.1", source)
    receipt = host.install(made, target, post=[Script(ScriptType.SHELL, "none", path=str(target / "migrate"))])
    assert receipt.failure is None
    assert (tmp_path / "log").read_text() == "migrated\n"


@pytest.mark.parametrize(("phase", "placed"), [("pre", True), ("post", False), ("post", True)])
def test_an_action_whose_file_is_nowhere_fails(host: Host, source: Path, target: Path, tmp_path: Path, phase: str, placed: bool) -> None:
    script = Script(ScriptType.SHELL, "none", path=str((target if placed else tmp_path) / "missing"))
    receipt = host.install(make("1.1", source), target, **{phase: [script]})
    assert receipt.failure is not None
    assert receipt.failure.code == "ActionFailedError"
    assert not target.exists()
    assert host.leftovers(tmp_path) == []
