"""Extraction on real files: what ends up where, and what is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluice.formats.manifest.document import read_back_digest
from sluice.model.order import Outcome
from tests.subscriber.host import Host
from tests.subscriber.revisions import make, tree_of


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with everything in it."""
    top = tmp_path / "source"
    (top / "empty").mkdir(parents=True)
    (top / "deep/er").mkdir(parents=True)
    (top / "a.txt").write_text("alpha\n")
    (top / "b.txt").write_text("beta\n")
    (top / "deep/er/ünï ✓ code").write_text("gamma\n" * 1000)
    (top / "nothing").touch()
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o4755)
    (top / "secret").write_text("s")
    (top / "secret").chmod(0o400)
    (top / "to-directory").symlink_to("deep/er")
    (top / "to-nowhere").symlink_to("/nonexistent/ü")
    (top / "deep").chmod(0o750)
    (top / "empty").chmod(0o555)
    for name, time in (("a.txt", 1_234_567_890_123_456_789), ("deep", 1), ("empty", 10**9), ("nothing", -1)):
        os.utime(top / name, ns=(time, time))
    return top


def test_a_first_revision_is_placed_whole_with_modes_times_links_and_empty_directories(host: Host, source: Path, tmp_path: Path) -> None:
    made = make("1.1", source)

    receipt = host.install(made, tmp_path / "opt/missing/zone")

    assert receipt.failure is None
    assert receipt.outcome is Outcome.INSTALLED
    assert tree_of(tmp_path / "opt/missing/zone") == tree_of(source)
    assert receipt.read_back == read_back_digest(made.manifest)
    assert (receipt.files_written, receipt.files_unchanged) == (6, 0)
    assert host.leftovers(tmp_path / "opt") == []
    assert host.held.status().extracted.revision == "1.1"


def test_a_delta_changes_only_what_differs_and_leaves_foreign_files(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "zone"
    first = make("1.1", source)
    host.install(first, target)
    (target / "foreign").write_text("mine")
    inode = (target / "b.txt").stat().st_ino
    (source / "a.txt").write_text("alpha, changed\n")
    (source / "new/er").mkdir(parents=True)
    (source / "new/er/file").write_text("new")
    (source / "deep/er/ünï ✓ code").rename(source / "deep/renamed")
    (source / "nothing").unlink()
    second = make("1.2", source, base=first)
    assert second.index.plain == len("alpha, changed\n") + len("new")

    receipt = host.install(second, target)

    assert receipt.failure is None
    expected = tree_of(source)
    found = tree_of(target)
    for left in ("foreign", "nothing", "deep/er/ünï ✓ code"):  # synchronize: false
        assert found.pop(left)
    assert found == expected
    assert (target / "b.txt").stat().st_ino == inode
    assert (receipt.files_written, receipt.files_unchanged) == (3, 3)
    assert host.leftovers(target) == []


def test_equal_content_gets_only_its_mode_and_time_mended(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "zone"
    host.install(make("1.1", source), target)
    inode = (target / "a.txt").stat().st_ino
    (target / "a.txt").chmod(0o600)
    os.utime(target / "b.txt", ns=(5, 5))
    (target / "deep").chmod(0o700)

    receipt = host.install(make("1.2", source), target)

    assert receipt.failure is None
    assert tree_of(target) == tree_of(source)
    assert (target / "a.txt").stat().st_ino == inode
    assert receipt.files_written == 0


def test_a_file_with_another_name_elsewhere_is_replaced_not_mended(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "zone"
    host.install(make("1.1", source), target)
    os.link(target / "a.txt", tmp_path / "other-name")
    (tmp_path / "other-name").chmod(0o600)

    host.install(make("1.2", source), target)

    assert tree_of(target) == tree_of(source)
    assert (tmp_path / "other-name").stat().st_mode & 0o7777 == 0o600


def test_copy_all_writes_every_file_anew(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "zone"
    host.install(make("1.1", source), target)
    inode = (target / "a.txt").stat().st_ino

    receipt = host.install(make("1.2", source, copy="all"), target)

    assert receipt.failure is None
    assert receipt.files_written == 6
    assert (target / "a.txt").stat().st_ino != inode
    assert tree_of(target) == tree_of(source)


@pytest.mark.parametrize("before", ["file", "directory", "link"])
@pytest.mark.parametrize("after", ["file", "directory", "link"])
def test_what_was_placed_may_become_anything_else(host: Host, tmp_path: Path, before: str, after: str) -> None:
    def plant(top: Path, kind: str) -> Path:
        top.mkdir()
        if kind == "file":
            (top / "x").write_text(f"as file of {top.name}")
        elif kind == "link":
            (top / "x").symlink_to(f"elsewhere-{top.name}")
        else:
            (top / "x/below").mkdir(parents=True)
            (top / "x/below/file").write_text(top.name)
            (top / "x/below").chmod(0o555)
        return top

    target = tmp_path / "zone"
    first = make("1.1", plant(tmp_path / "one", before))
    host.install(first, target)

    receipt = host.install(make("1.2", plant(tmp_path / "two", after), base=first), target)

    assert receipt.failure is None
    assert tree_of(target) == tree_of(tmp_path / "two")
    assert host.leftovers(target) == []


def test_a_single_file_goes_to_its_name_and_never_through_a_link_there_or_in_its_place(host: Host, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("settings")
    (tmp_path / "etc").mkdir()
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "etc/b.conf").symlink_to(tmp_path / "victim")

    receipt = host.install(make("1.1", tmp_path / "a.conf"), tmp_path / "etc/b.conf")

    assert receipt.failure is not None
    assert f"{tmp_path}/etc/b.conf is a link, which this Distribution didn't place" in receipt.failure.message
    assert (tmp_path / "victim").read_text() == "untouched"
    assert (tmp_path / "etc/b.conf").is_symlink()
    (tmp_path / "etc/b.conf").unlink()
    assert host.install(make("1.1", tmp_path / "a.conf"), tmp_path / "etc/b.conf").failure is None
    assert tree_of(tmp_path / "etc/b.conf") == tree_of(tmp_path / "a.conf")
    assert host.leftovers(tmp_path / "etc") == []


def test_several_destinations_with_missing_parents_in_common(host: Host, source: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    tops = (tmp_path / "new/a/zone", tmp_path / "new/a/b/one", tmp_path / "zone")
    made = make("1.1", source, tmp_path / "one", source)

    receipt = host.install(made, *tops)

    assert receipt.failure is None
    assert tree_of(tops[0]) == tree_of(tops[2]) == tree_of(source)
    assert tops[1].read_text() == "1"
    assert receipt.read_back == read_back_digest(made.manifest)
    assert (tmp_path / "new/a").stat().st_mode & 0o7777 == 0o755
    assert host.leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [("opt/a", "opt/a"), ("opt/a", "opt/a/b"), ("opt/a/b", "opt/a"), ("opt/a", "opt/link/a"), ("opt/ab", "work/x"), ("opt/b", "work")],
)
def test_destinations_that_overlap_or_reach_into_the_working_directory_are_refused(
    host: Host, source: Path, tmp_path: Path, first: str, second: str
) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/link").symlink_to(tmp_path / "opt")
    made = make("1.1", source, source)
    host.receive(made)
    before = tree_of(tmp_path / "opt")

    receipt = host.extract(made, tmp_path / first, tmp_path / second)

    assert receipt.outcome is Outcome.FAILED
    assert receipt.failure is not None
    assert receipt.failure.code == "DestinationError"
    assert tree_of(tmp_path / "opt") == before


def test_overlapping_destinations_are_found_among_others_and_named(host: Host, source: Path, tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    made = make("1.1", *[source] * 4)
    host.receive(made)
    receipt = host.extract(made, *(tmp_path / "opt" / name for name in ("a/b", "a!c", "b", "a")))
    assert receipt.failure is not None
    assert receipt.failure.message == f"the destinations {tmp_path}/opt/a and {tmp_path}/opt/a/b overlap"
    assert host.extract(made, *(tmp_path / "opt" / name for name in ("a/b", "a!c", "b", "a.d"))).outcome is Outcome.INSTALLED


def test_a_destination_around_the_working_directory_may_not_name_it(host: Host, tmp_path: Path) -> None:
    (tmp_path / "source/work/distributors").mkdir(parents=True)
    (tmp_path / "source/work/distributors/x").write_text("x")
    receipt = host.install(make("1.1", tmp_path / "source"), tmp_path)
    assert receipt.failure is not None
    assert "working directory" in receipt.failure.message


@pytest.mark.parametrize("way", ["link", "file"])
def test_something_foreign_where_a_directory_must_go_is_refused(host: Host, source: Path, tmp_path: Path, way: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "zone").mkdir()
    (tmp_path / "zone/deep").symlink_to(victim) if way == "link" else (tmp_path / "zone/deep").write_text("mine")
    before = tree_of(tmp_path / "zone")

    receipt = host.install(make("1.1", source), tmp_path / "zone")

    assert receipt.failure is not None
    assert receipt.failure.code == "DestinationError"
    assert str(tmp_path / "zone/deep") in receipt.failure.message
    assert tree_of(tmp_path / "zone") == before
    assert list(victim.iterdir()) == []


def test_a_directory_with_foreign_files_is_not_replaced_by_a_file(host: Host, source: Path, tmp_path: Path) -> None:
    (tmp_path / "zone/a.txt").mkdir(parents=True)
    (tmp_path / "zone/a.txt/mine").write_text("mine")

    receipt = host.install(make("1.1", source), tmp_path / "zone")

    assert receipt.failure is not None
    assert f"{tmp_path}/zone/a.txt is a directory" in receipt.failure.message
    assert (tmp_path / "zone/a.txt/mine").read_text() == "mine"


def test_a_pipe_in_the_way_is_refused_without_waiting_for_its_writer(host: Host, source: Path, tmp_path: Path) -> None:
    (tmp_path / "zone").mkdir()
    os.mkfifo(tmp_path / "zone/a.txt")
    receipt = host.install(make("1.1", source), tmp_path / "zone")
    assert receipt.failure is not None
    assert receipt.failure.code == "DestinationError"


def test_many_files_of_one_content_are_all_written(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(100):
        (source / f"d{number % 7}").mkdir(parents=True, exist_ok=True)
        (source / f"d{number % 7}/f{number}").write_text("same")
    big = os.urandom(5 * 1024 * 1024)
    (source / "big-1").write_bytes(big)
    (source / "big-2").write_bytes(big)

    receipt = host.install(make("1.1", source), tmp_path / "zone")

    assert receipt.failure is None
    assert receipt.files_written == 102
    assert tree_of(tmp_path / "zone") == tree_of(source)


def test_names_with_a_backslash_are_placed_changed_and_removed_like_others(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a\\b").mkdir(parents=True)
    for name in ("dev-disk-by\\x2duuid.mount", "a\\b/\\..\\c", "\\"):
        (source / name).write_text(name)
    target = tmp_path / "zone"
    assert host.install(make("1.1", source, synchronize="yes"), target).failure is None
    assert tree_of(target) == tree_of(source)
    (source / "\\").unlink()
    (source / "a\\b/\\..\\c").write_text("changed")
    assert host.install(make("1.2", source, synchronize="yes"), target).failure is None
    assert tree_of(target) == tree_of(source)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name in ("b", "c")) == []
