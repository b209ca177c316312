"""Hard links of a manifest on a Subscriber: kept, mended, separated, undone; and no foreign name of a file is ever written through."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.filesystem.local import LocalFilesystem, calls
from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.rehearsals import Question
from sluice.model.change import ChangeKind
from sluice.model.manifest import Entry, EntryKind
from sluice.model.order import Outcome, Receipt
from sluice.subscriber.extract.rehearse import rehearse_extraction
from tests.subscriber.faulty import FaultyFilesystem
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, make, tree_of


def linked(made: Made, top: Path) -> Made:
    """The revision with the hard links that its source has."""
    destination = made.manifest.destinations[0]
    first: dict[int, str] = {}

    def with_link(entry: Entry) -> Entry:
        path = top / entry.path
        if entry.kind is not EntryKind.FILE or path.stat().st_nlink == 1:
            return entry
        one = first.setdefault(path.stat().st_ino, entry.path)
        return entry if one == entry.path else replace(entry, link=one)

    entries = tuple(map(with_link, destination.entries))
    manifest = replace(made.manifest, destinations=(replace(destination, entries=entries), *made.manifest.destinations[1:]))
    return replace(made, manifest=manifest, manifest_bytes=manifest_bytes(manifest))


class Site:
    """a, sub/b and sub/deep/c are one file; d is another with the same content; e is alone."""

    def __init__(self, directory: Path) -> None:
        self.host = Host(directory)
        self.source, self.target = directory / "source", directory / "opt/zone"
        (self.source / "sub/deep").mkdir(parents=True)
        (self.source / "a").write_bytes(b"one file" * 4)
        for name in ("sub/b", "sub/deep/c"):
            os.link(self.source / "a", self.source / name)
        shutil.copy2(self.source / "a", self.source / "d")
        (self.source / "e").write_text("e")
        self.number = 0
        assert self.install().outcome is Outcome.INSTALLED

    def made(self, **options: object) -> Made:
        self.number += 1
        return linked(make(f"1.{self.number}", self.source, **options), self.source)  # type: ignore[arg-type]

    def install(self, **options: object) -> Receipt:
        return self.host.install(self.made(**options), self.target)

    def inode(self, name: str) -> int:
        return (self.target / name).stat().st_ino

    def groups(self, top: Path | None = None) -> set[frozenset[str]]:
        """Names by file."""
        found: dict[int, set[str]] = {}
        top = top or self.target
        for path in top.rglob("*"):
            if path.is_file():
                found.setdefault(path.stat().st_ino, set()).add(str(path.relative_to(top)))
        return {frozenset(names) for names in found.values()}

    def check(self) -> None:
        assert tree_of(self.target) == tree_of(self.source)
        assert self.groups() == self.groups(self.source)
        assert self.host.leftovers(self.target.parent) == []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_first_install_has_the_links_and_takes_the_space_of_one(site: Site) -> None:
    site.check()
    assert site.groups() == {frozenset({"a", "sub/b", "sub/deep/c"}), frozenset({"d"}), frozenset({"e"})}


def test_names_that_are_swapped_in_one_by_one_are_one_file_too(tmp_path: Path) -> None:
    foreign = tmp_path / "opt/zone/sub/deep"
    foreign.mkdir(parents=True)  # so that no new directory brings them
    site = Site(tmp_path)
    assert site.groups() == site.groups(site.source)


def test_what_is_right_stays(site: Site) -> None:
    before = {name: site.inode(name) for name in ("a", "d", "e")}
    receipt = site.install(verify=True)
    assert (receipt.files_written, receipt.files_unchanged) == (0, 5)
    assert {name: site.inode(name) for name in ("a", "d", "e")} == before


@pytest.mark.parametrize("name", ["a", "sub/b", "sub/deep/c"])
def test_a_link_that_was_broken_by_hand_is_mended(site: Site, name: str) -> None:
    data = (site.target / name).read_bytes()
    status = (site.target / name).stat()
    (site.target / name).unlink()
    (site.target / name).write_bytes(data)
    os.utime(site.target / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    receipt = site.install(verify=True)
    assert receipt.files_written == 3
    site.check()


def test_a_name_that_is_gone_comes_back_as_a_link(site: Site) -> None:
    (site.target / "sub/b").unlink()
    site.install(verify=True)
    site.check()


def test_a_change_through_one_name_is_mended_for_all(site: Site) -> None:
    with (site.target / "sub/b").open("r+b") as file:
        file.write(b"damaged")
    receipt = site.install(verify=True)
    assert receipt.files_written == 3
    site.check()


def test_files_that_somebody_linked_are_separated(site: Site) -> None:
    (site.target / "d").unlink()
    os.link(site.target / "a", site.target / "d")  # the same content: a deduplication, for example
    receipt = site.install(verify=True)
    assert receipt.files_written == 1
    site.check()


def test_a_foreign_name_of_a_file_is_neither_mended_nor_written_through(site: Site, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    os.link(site.target / "a", backup)
    assert site.install(verify=True).files_written == 0
    content = backup.read_bytes()
    (site.source / "a").write_bytes(b"another")
    (site.source / "a").chmod(0o600)
    site.install()
    site.check()
    assert (backup.read_bytes(), backup.stat().st_nlink) == (content, 1)


@pytest.mark.parametrize("synchronize", ["no", "yes", "mirror"])
def test_a_revision_of_which_some_names_stay_and_one_changes(site: Site, synchronize: str) -> None:
    (site.source / "sub/b").unlink()
    (site.source / "sub/b").write_text("alone now")
    site.install(synchronize=synchronize)
    site.check()
    assert frozenset({"a", "sub/deep/c"}) in site.groups()


def test_a_revision_that_drops_adds_and_moves_names(site: Site) -> None:
    (site.source / "a").unlink()  # the first name of the group
    os.link(site.source / "sub/b", site.source / "z")
    (site.source / "d").unlink()
    os.link(site.source / "e", site.source / "d")
    site.install(synchronize="yes")
    site.check()
    assert site.groups() == {frozenset({"sub/b", "sub/deep/c", "z"}), frozenset({"d", "e"})}


def test_a_group_whose_mode_alone_changed(site: Site) -> None:
    (site.source / "a").chmod(0o640)
    site.install()
    site.check()


def test_an_older_revision_without_links_becomes_one_with_them_and_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    plain = make("1.2", site.source)
    site.host.install(plain, site.target)
    assert {frozenset({"a"}), frozenset({"sub/b"})} <= site.groups()
    site.number = 2
    site.install()
    site.check()


def test_a_name_in_the_place_of_a_directory_and_the_other_way_round(site: Site) -> None:
    shutil.rmtree(site.source / "sub")
    os.link(site.source / "a", site.source / "sub")
    site.install(synchronize="yes")
    site.check()
    (site.source / "sub").unlink()
    (site.source / "sub").mkdir()
    os.link(site.source / "a", site.source / "sub/x")
    site.install(synchronize="yes")
    site.check()


def test_copy_all_writes_the_group_once_and_links_it(site: Site) -> None:
    before = site.inode("a")
    receipt = site.install(copy="all")
    assert (receipt.files_written, receipt.bytes_written) == (5, 2 * 32 + 1)
    site.check()
    assert site.inode("a") != before


def test_a_dry_run_names_exactly_the_names_that_are_replaced(site: Site) -> None:
    made = site.made()
    question = Question(made.manifest, (str(site.target),))
    assert rehearse_extraction(site.host.context, question).paths == ()
    shutil.copy2(site.target / "a", site.target / "broken")
    (site.target / "broken").rename(site.target / "sub/b")
    found = rehearse_extraction(site.host.context, question)
    assert [(each.kind, Path(each.path).name) for each in found.paths if each.kind is not ChangeKind.ADJUSTED] == [
        (ChangeKind.CHANGED, name) for name in "abc"
    ]
    assert site.host.install(made, site.target).files_written == 3
    site.check()


def test_a_failure_takes_everything_back(site: Site) -> None:
    before, groups = tree_of(site.target), site.groups()
    (site.source / "a").write_bytes(b"another")
    (site.source / "sub/b").unlink()
    (site.source / "sub/b").write_text("alone now")
    receipt = site.host.install(site.made(), site.target, post=(shell("exit 1"),))
    assert receipt.outcome is Outcome.FAILED
    assert (tree_of(site.target), site.groups()) == (before, groups)
    assert site.host.leftovers(site.target.parent) == []


def _change_links(site: Site) -> Made:
    (site.source / "a").write_bytes(b"another")
    (site.source / "d").unlink()
    os.link(site.source / "e", site.source / "d")
    return site.made(synchronize="yes")


def _without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    real = calls.rename

    def rename(*arguments: object) -> None:
        if arguments[-1] == calls.RENAME_EXCHANGE:
            raise OSError(errno.EINVAL, "no exchange")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(calls, "rename", rename)


@pytest.mark.parametrize("prepare", [lambda _: None, _without_exchange], ids=["exchange", "link and rename"])
def test_killed_before_any_change_it_is_undone_to_the_links_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[pytest.MonkeyPatch], None]
) -> None:
    class Killed(BaseException):
        pass

    prepare(monkeypatch)
    number = 0
    while True:
        number += 1
        site = Site(tmp_path / str(number))
        before, groups = tree_of(site.target), site.groups()
        made = _change_links(site)
        site.host.receive(made)
        made_calls: list[str] = []

        def kill(method: str, _path: str, made_calls: list[str] = made_calls, number: int = number) -> None:
            made_calls.append(method)
            if len(made_calls) == number:
                raise Killed

        site.host.using(FaultyFilesystem(kill))
        try:
            site.host.extract(made, site.target)
            break
        except Killed:
            pass
        site.host.using(LocalFilesystem())
        site.host.recover()
        if site.host.held.status().extracted.revision == "1.1":  # type: ignore[union-attr]
            assert (tree_of(site.target), site.groups()) == (before, groups), number
        else:
            site.check()
        assert site.host.leftovers(site.target.parent) == [], number
    assert "make_hard_link" in made_calls
    assert number > 10


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV])
def test_a_file_system_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = os.link

    def refused(source: Any, target: Any, **how: Any) -> None:
        if "src_dir_fd" in how:
            raise OSError(number, os.strerror(number))
        real(source, target)

    monkeypatch.setattr(os, "link", refused)
    site = Site(tmp_path)
    assert tree_of(site.target) == tree_of(site.source)
    assert len(site.groups()) == 5


def test_the_same_file_in_two_destinations_is_two_files(tmp_path: Path) -> None:
    host, one, two = Host(tmp_path), tmp_path / "one", tmp_path / "two"
    for each in (one, two):
        each.mkdir()
    (one / "a").write_text("a")
    os.link(one / "a", two / "a")
    receipt = host.install(make("1.1", one, two), tmp_path / "opt/one", tmp_path / "opt/two")
    assert receipt.outcome is Outcome.INSTALLED
    assert not (tmp_path / "opt/one/a").samefile(tmp_path / "opt/two/a")
