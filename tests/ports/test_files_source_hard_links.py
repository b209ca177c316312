"""File sources with hard links: those within a destination are in its entries, and nothing else becomes one."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from infra.sources.files import FilesSource
from infra.sources.hard_links import mark_hard_links
from sluice.formats.manifest.document import manifest_bytes, parse_manifest
from sluice.model.manifest import Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber
from sluice.model.site import FileSource
from tests.ports.test_files_source import LATER, Sink, Tree, distribution


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """b/one, a and z are one file; c is another with the same content."""
    made = Tree(tmp_path / "src")
    made.write("b/one", b"content")
    os.link(made.path / "b/one", made.path / "a")
    os.link(made.path / "b/one", made.path / "z")
    made.write("c", b"content")
    return made


def links(tree: Tree, **options: object) -> dict[str, str]:
    return {path: entry.link for path, entry in tree.entries(**options).items() if entry.link}


def test_the_names_of_a_file_are_links_to_the_first_in_path_order(tree: Tree) -> None:
    entries = tree.entries()
    assert {path: entry.link for path, entry in entries.items() if entry.link} == {"b/one": "a", "z": "a"}
    assert entries["z"] == replace(entries["a"], path="z", link="a")
    scan = tree.scan(entries=True)
    assert scan.destinations is not None
    manifest = Manifest("zone", RevisionNumber(1, 1), "file", scan.destinations)
    assert parse_manifest(manifest_bytes(manifest)) == manifest


def test_names_that_are_excluded_or_outside_count_as_nothing(tree: Tree, tmp_path: Path) -> None:
    os.link(tree.path / "c", tmp_path / "outside")
    assert links(tree, exclude=("a",)) == {"z": "b/one"}
    assert links(tree, exclude=("a", "z")) == {}


def test_one_mode_for_every_file_and_one_owner_leave_them_links(tree: Tree) -> None:
    assert links(tree, mode="0600", owner="root:root", xattrs={"user.a": "b"}) == {"b/one": "a", "z": "a"}


def test_a_link_that_was_broken_or_made_in_the_source_is_a_change(tree: Tree) -> None:
    before = tree.scan()
    assert tree.scan().destinations is None
    data = (tree.path / "z").read_bytes()
    (tree.path / "z").unlink()
    tree.write("z", data)
    assert tree.scan().destinations is not None
    assert links(tree) == {"b/one": "a"}
    (tree.path / "c").unlink()
    os.link(tree.path / "z", tree.path / "c")
    assert links(tree) == {"b/one": "a", "z": "c"}
    assert before.files == 4


def test_in_two_destinations_each_has_files_of_its_own(tmp_path: Path) -> None:
    sources = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sources.append(FileSource(PurePosixPath(tmp_path / name), f"/opt/{name}"))
    (tmp_path / "one/a").write_text("a")
    os.link(tmp_path / "one/a", tmp_path / "two/a")
    source = FilesSource(now_ns=lambda: time.time_ns() + LATER)
    scan = source.scan(distribution(sources), b"", sink=Sink(), entries=True)
    assert scan.destinations is not None
    assert [entry.link for each in scan.destinations for entry in each.entries] == ["", "", "", ""]
    assert scan.links_across == 1


def test_one_source_in_two_destinations_is_no_hard_link(tree: Tree) -> None:
    twice = [FileSource(PurePosixPath(tree.path), f"/opt/{name}") for name in ("one", "two")]
    scan = FilesSource(now_ns=lambda: time.time_ns() + LATER).scan(distribution(twice), b"", sink=Sink(), entries=True)
    assert scan.destinations is not None
    assert [sum(bool(entry.link) for entry in each.entries) for each in scan.destinations] == [2, 2]


def test_a_file_that_changes_between_its_names_is_no_link(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.sources import files

    real, calls = files.read_file, []

    def changing(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            (tree.path / "a").write_bytes(b"changed meanwhile")
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "read_file", changing)
    assert "b/one" not in links(tree)


def test_an_inode_number_that_several_files_have_is_believed_only_with_several_names() -> None:
    def entries() -> list[Entry]:
        return [Entry(EntryKind.FILE, name, 0o644, 7, 1, "ab" * 32) for name in "abc"]

    alike, lone, different = entries(), entries(), entries()
    mark_hard_links(alike, [(5, 1)] * 3, lambda _: 3)
    mark_hard_links(lone, [(5, 1)] * 3, lambda _: 1)
    different[1] = replace(different[1], digest="cd" * 32)
    mark_hard_links(different, [(5, 1)] * 3, lambda _: 2)
    assert [[entry.link for entry in each] for each in (alike, lone, different)] == [["", "a", "a"], ["", "", ""], ["", "", "a"]]
