"""``synchronize: true`` (C9): what an earlier revision placed and the new one lacks goes, and nothing else."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from infra.filesystem.local.directories import Directories
from sluice.errors import LockedTargetError
from sluice.model.order import Outcome
from sluice.subscriber.held.directory import DistributionDirectory
from tests.subscriber.faulty import FaultyFilesystem
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, make, tree_of


class Site:
    """Three files, a directory of two and a link, extracted as 1.1."""

    def __init__(self, directory: Path, *, synchronize: str = "yes") -> None:
        self.directory = directory
        self.host = Host(directory)
        self.source, self.target = directory / "source", directory / "opt/zone"
        (self.source / "sub/deep").mkdir(parents=True)
        for name in ("a", "b", "sub/c", "sub/deep/d"):
            (self.source / name).write_text(name)
        (self.source / "link").symlink_to("a")
        self.number = 1
        receipt = self.host.install(self.revision(synchronize), self.target)
        assert receipt.outcome is Outcome.INSTALLED

    def revision(self, synchronize: str = "yes", *sources: Path, **options: object) -> Made:
        made = make(f"1.{self.number}", *(sources or (self.source,)), synchronize=synchronize, **options)  # type: ignore[arg-type]
        self.number += 1
        return made

    def install(self, synchronize: str = "yes", **options: object):  # type: ignore[no-untyped-def]
        return self.host.install(self.revision(synchronize, **options), self.target)


def another_host(directory: Path, name: str) -> Host:
    """The same one with another Distribution, of another Distributor."""
    host = Host(directory)
    host.held = DistributionDirectory(host.work / "distributors/branch/distributions" / name)
    host.context = replace(host.context, held=host.held)
    return host


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_the_new_revision_lacks_goes_and_is_counted(site: Site) -> None:
    shutil.rmtree(site.source / "sub/deep")
    (site.source / "b").unlink()
    (site.source / "link").unlink()

    receipt = site.install()

    assert receipt.failure is None
    assert tree_of(site.target) == tree_of(site.source)
    assert receipt.paths_removed == 4
    assert receipt.files_written == 0
    assert site.host.leftovers(site.directory) == []


def test_without_it_everything_stays_and_with_it_later_goes_all_the_same(site: Site) -> None:
    (site.source / "b").unlink()
    shutil.rmtree(site.source / "sub")
    receipt = site.install("no")
    assert receipt.paths_removed == 0
    assert (site.target / "sub/deep/d").read_text() == "sub/deep/d"
    (site.source / "a").write_text("changed")
    assert site.install("no").paths_removed == 0

    receipt = site.install("yes")

    assert receipt.paths_removed == 5
    assert tree_of(site.target) == tree_of(site.source)


def test_foreign_files_stay_and_their_directories_until_they_are_gone(site: Site) -> None:
    foreign = site.target / "sub/deep/foreign"
    foreign.write_text("mine")
    shutil.rmtree(site.source / "sub")

    assert site.install().paths_removed == 2

    assert foreign.read_text() == "mine"
    assert not (site.target / "sub/c").exists()
    foreign.unlink()
    (site.source / "a").write_text("changed")
    assert site.install().paths_removed == 2
    assert tree_of(site.target) == tree_of(site.source)


def test_a_placed_file_that_somebody_changed_goes_and_another_kind_at_its_name_stays(site: Site) -> None:
    (site.target / "b").write_text("changed by its user")
    (site.target / "link").unlink()
    (site.target / "link").write_text("a file of its own now")
    (site.target / "sub/c").unlink()
    (site.target / "sub/c").mkdir()
    for name in ("b", "link", "sub/c"):
        (site.source / name).unlink()

    assert site.install().paths_removed == 1

    assert not (site.target / "b").exists()
    assert (site.target / "link").read_text() == "a file of its own now"
    assert (site.target / "sub/c").is_dir()


def test_a_link_in_the_place_of_a_directory_is_followed_nowhere(site: Site) -> None:
    elsewhere = site.directory / "elsewhere"
    shutil.copytree(site.target / "sub", elsewhere)
    shutil.rmtree(site.target / "sub")
    (site.target / "sub").symlink_to(elsewhere)
    shutil.rmtree(site.source / "sub")

    assert site.install().paths_removed == 0

    assert (elsewhere / "deep/d").exists()
    assert (site.target / "sub").is_symlink()


def test_what_becomes_another_kind_is_replaced_and_not_removed_besides(site: Site) -> None:
    shutil.rmtree(site.source / "sub")
    (site.source / "sub").write_text("a file now")
    (site.source / "b").unlink()
    (site.source / "b/new").mkdir(parents=True)

    receipt = site.install()

    assert receipt.failure is None
    assert receipt.paths_removed == 0
    assert tree_of(site.target) == tree_of(site.source)


def test_a_destination_that_left_the_blueprint_goes_where_it_was_synchronized(site: Site, tmp_path: Path) -> None:
    other, file = tmp_path / "opt/other", tmp_path / "opt/single.conf"
    shutil.copytree(site.source, tmp_path / "second", symlinks=True)
    assert (
        site.host.install(site.revision("yes", site.source, tmp_path / "second", site.source / "a"), site.target, other, file).failure
        is None
    )
    (other / "foreign").write_text("mine")

    receipt = site.host.install(site.revision(), site.target)

    assert receipt.paths_removed == 8
    assert tree_of(other) == {".": tree_of(other)["."], "foreign": tree_of(other)["foreign"]}
    assert not file.exists()


def test_a_destination_that_left_stays_where_it_wasnt(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "opt/other"
    assert site.host.install(site.revision("no", site.source, site.source), site.target, other).failure is None
    assert site.host.install(site.revision("yes"), site.target).paths_removed == 0
    assert tree_of(other).keys() == tree_of(site.source).keys()


def test_a_destination_that_moved_below_itself_keeps_what_is_on_the_way(site: Site, tmp_path: Path) -> None:
    deeper = site.target / "sub/deep/zone"

    receipt = site.host.install(site.revision(), deeper)

    assert receipt.failure is None
    assert tree_of(deeper) == tree_of(site.source)
    assert sorted(path.name for path in site.target.iterdir()) == ["sub"]
    assert sorted(path.name for path in (site.target / "sub/deep").iterdir()) == ["zone"]


def test_a_directory_that_moved_to_another_place_is_gone_at_the_old_one(site: Site, tmp_path: Path) -> None:
    receipt = site.host.install(site.revision(), tmp_path / "opt/renamed")
    assert receipt.paths_removed == 8
    assert not site.target.exists()
    assert tree_of(tmp_path / "opt/renamed") == tree_of(site.source)


def test_what_another_distribution_placed_or_calls_its_destination_stays(site: Site, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "b").write_text("b")
    for name, place in (("other", site.target), ("another", site.target / "sub/deep")):
        other = another_host(tmp_path, name)
        assert other.install(make("1.1", shared), place).outcome is Outcome.INSTALLED
    (site.source / "b").unlink()
    shutil.rmtree(site.source / "sub")

    assert site.install().paths_removed == 2  # sub/c and sub/deep/d

    assert (site.target / "b").read_text() == "b"
    assert (site.target / "sub/deep/b").read_text() == "b"


def test_nothing_goes_where_it_isnt_known_whose_it_is(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "work/distributors/hq/distributions/other"
    other.mkdir(parents=True)
    (other / "status.json").write_text("{damaged")
    (site.source / "b").unlink()
    before = tree_of(site.target)

    receipt = site.install()

    assert receipt.failure.code == "DestinationError"
    assert "other" in receipt.failure.message
    assert tree_of(site.target) == before


def test_the_working_directory_and_staging_of_others_stay(tmp_path: Path) -> None:
    site = Site(tmp_path)
    staging = site.target / ".sluice-oslo.branch.other"
    staging.mkdir()
    shutil.rmtree(site.source / "sub")
    (site.target / "sub/.sluice-oslo.hq.other").mkdir()
    assert site.install().paths_removed == 3
    assert staging.is_dir()
    assert (site.target / "sub/.sluice-oslo.hq.other").is_dir()


def test_a_failure_brings_back_everything_with_modes_and_times(site: Site) -> None:
    (site.target / "sub").chmod(0o555)
    (site.target / "sub/deep/foreign").write_text("mine")
    os.utime(site.target / "sub/deep", ns=(5, 5))
    os.utime(site.target / "sub", ns=(6, 6))
    os.utime(site.target, ns=(7, 7))
    before = tree_of(site.target)
    shutil.rmtree(site.source / "sub")
    (site.source / "b").unlink()
    (site.source / "a").write_text("changed")

    made = site.revision()
    site.host.receive(made)
    receipt = site.host.extract(made, site.target, post=[shell(f"echo x >{site.target}/b; exit 1")])

    assert receipt.outcome is Outcome.FAILED
    assert receipt.paths_removed == 0
    assert tree_of(site.target) == before
    assert site.host.leftovers(site.directory) == []
    assert site.host.extract(made, site.target).paths_removed == 3


@pytest.mark.parametrize("method", ["swap", "set_metadata", "sync_directories"])
def test_every_failing_call_brings_back_everything(tmp_path: Path, method: str) -> None:
    for failing in range(40):
        site = Site(tmp_path / str(failing))
        (site.target / "sub/deep/foreign").write_text("mine")
        os.utime(site.target / "sub/deep", ns=(5, 5))
        before = tree_of(site.target)
        shutil.rmtree(site.source / "sub")
        (site.source / "b").unlink()
        (site.source / "a").write_text("changed")
        made = site.revision()
        site.host.receive(made)
        left = failing

        def fail(name: str, path: str) -> None:
            nonlocal left
            if name == method:
                left -= 1
                if left == -1:
                    raise LockedTargetError(f"{path} is locked")

        receipt = site.host.using(FaultyFilesystem(fail)).extract(made, site.target)
        if left >= 0:
            assert receipt.outcome is Outcome.INSTALLED
            assert failing > 0
            return
        if receipt.outcome is Outcome.FAILED:
            assert tree_of(site.target) == before
    raise AssertionError("there was always another call")


def test_what_somebody_puts_into_a_directory_that_goes_is_kept(site: Site) -> None:
    shutil.rmtree(site.source / "sub")
    made = site.revision()
    site.host.receive(made)
    pre = [shell(f"echo mine >{site.target}/sub/deep/foreign")]

    receipt = site.host.extract(made, site.target, pre=pre)

    assert receipt.failure.code == "DestinationError"
    assert (site.target / "sub/deep/foreign").read_text() == "mine\n"
    assert (site.target / "sub/c").exists()
    assert site.host.leftovers(site.directory) == []


def test_copy_all_removes_nothing_by_itself(site: Site) -> None:
    (site.source / "b").unlink()
    receipt = site.install("no", copy="all")
    assert receipt.files_written == 3
    assert receipt.paths_removed == 0
    assert (site.target / "b").exists()


def test_a_damaged_record_of_what_was_left_takes_nothing_away(site: Site) -> None:
    (site.source / "b").unlink()
    site.install("no")
    (site.host.held.directory / "left").write_bytes(b'["f","/etc/passwd"]\n[1]\n')
    assert site.install("yes").paths_removed == 0
    assert (site.target / "b").exists()


@pytest.mark.parametrize("synchronize", ["yes", "mirror"])
def test_what_is_renamed_by_case_alone_stays_where_the_file_system_takes_both_names_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synchronize: str
) -> None:
    site = Site(tmp_path, synchronize=synchronize)
    _tell_no_names_by_case(monkeypatch)
    (site.source / "b").rename(site.source / "B")
    (site.source / "sub").rename(site.source / "SUB")
    (site.source / "SUB/deep/d").unlink()

    receipt = site.install(synchronize)

    assert receipt.failure is None
    assert receipt.paths_removed == 1
    assert sorted(os.listdir(site.target)) == ["a", "b", "link", "sub"]
    assert (site.target / "sub/c").read_text() == "sub/c"
    assert not list((site.target / "sub/deep").iterdir())


def _tell_no_names_by_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local adapter on a file system that keeps the case of names and finds them by any."""

    def standing(self: Directories, path: str) -> str:
        found: list[str] = []
        for part in path.split("/"):
            directory = f"/proc/self/fd/{self.fd}/{'/'.join(found)}"
            names = os.listdir(directory) if os.path.isdir(directory) else []
            found.append(next((name for name in [part, *names] if name.lower() == part.lower() and name in names), part))
        return "/".join(found)

    for name in ("at", "directory"):
        real = getattr(Directories, name)
        monkeypatch.setattr(Directories, name, lambda self, path, real=real: real(self, path and standing(self, path)))
