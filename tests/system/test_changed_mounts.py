"""Mounts that come or go between two extractions: nothing of what they show counts as placed, and the run and its dry run say so alike."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.filesystem.local import LocalFilesystem
from sluice.errors import UndoFailedError
from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.orders import parse_receipt
from sluice.formats.rehearsals import Question
from sluice.model.change import Changes
from sluice.model.manifest import EntryKind
from sluice.model.order import Outcome, Receipt
from sluice.subscriber.extract.extraction import extract
from sluice.subscriber.extract.rehearse import rehearse_extraction
from sluice.subscriber.extract.rehearse_removals import rehearse_removals
from sluice.subscriber.held.path_lists import MOUNTED
from tests.subscriber.faulty import FaultyFilesystem
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, make, tree_of

Mount = Callable[..., Path]
FORCED = "run: sluice extract oslo --distribution zone --force, which writes everything anew"


def planted(top: Path, *names: str) -> Path:
    for name in names or ("a", "deep/er/b", "old"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"new {name}")
    return top


class Site:
    """1.1 is extracted; 1.2 has another content of ``a``, and lacks ``old``."""

    def __init__(self, directory: Path, target: Path) -> None:
        self.host, self.target, self.source = Host(directory), target, planted(directory / "source")
        assert self.host.install(make("1.1", self.source), target).outcome is Outcome.INSTALLED
        (self.source / "a").write_text("newer")
        (self.source / "old").unlink()

    def next(self, **options: object) -> Made:
        made = make("1.2", self.source, **{"synchronize": "yes", **options})  # type: ignore[arg-type]
        self.host.receive(made)
        return made

    def foretold(self, made: Made, *, force: bool = False) -> Changes:
        return rehearse_extraction(self.host.context, Question(made.manifest, (str(self.target),), force=force))

    def forced(self, made: Made) -> Receipt:
        order = replace(self.host.order(made, [self.target]), verify=False, force=True)
        return parse_receipt(extract(self.host.context, order)["payload"].encode())

    def refused(self, made: Made, before: Path) -> tuple[str, str]:
        """Message and remedy, which are the dry run's too; nothing was changed."""
        kept = tree_of(before)
        (stop,) = self.foretold(made).stops
        receipt = self.host.extract(made, self.target)
        assert receipt.outcome is Outcome.FAILED
        assert receipt.failure is not None
        assert (receipt.failure.code, receipt.failure.message, receipt.failure.remedy) == ("DestinationError", stop.message, stop.remedy)
        assert rehearse_removals(self.host.context, made.manifest, [str(self.target)]).problem == stop.message
        assert tree_of(before) == kept
        assert self.host.leftovers(before) == []
        return stop.message, stop.remedy


@pytest.mark.parametrize("point", ["disk", "disk/zone", "disk/zone/deep", "disk/zone/deep/er"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_what_a_mount_put_over_it_shows_is_nothing_that_was_placed(tmp_path: Path, mount: Mount, point: str, kind: str) -> None:
    site = Site(tmp_path, tmp_path / "disk/zone")
    of = tmp_path / "backup" / point
    shutil.copytree(tmp_path / point, of, symlinks=True)  # the same names, as of a restored disk
    if kind == "bind":
        mount(tmp_path / point, "--bind", str(of))
    else:
        mount(tmp_path / point, "-t", "tmpfs", "tmpfs")
        shutil.copytree(of, tmp_path / point, symlinks=True, dirs_exist_ok=True)
    made = site.next()

    message, remedy = site.refused(made, tmp_path / "disk")
    assert message == f"{tmp_path / point} became a mount point after zone was last extracted to {site.target}: the mount hides its files"
    assert remedy == f"unmount it; if it shall stay, {FORCED} and takes what is there for somebody else's"

    if kind == "bind":
        assert site.forced(made).outcome is Outcome.INSTALLED
        assert (site.target / "a").read_text() == "newer"
        assert (site.target / "old").exists() is (point in ("disk", "disk/zone"))  # that one is somebody else's now
        assert site.foretold(made).stops == ()
    else:
        subprocess.run(["umount", tmp_path / point], check=True)
        assert site.host.extract(made, site.target).outcome is Outcome.INSTALLED
        assert not (site.target / "old").exists()


@pytest.mark.parametrize("point", ["disk", "disk/zone", "disk/zone/deep"])
def test_what_was_placed_on_a_disk_that_is_away_isnt_written_to_the_one_below(tmp_path: Path, mount: Mount, point: str) -> None:
    (tmp_path / point).mkdir(parents=True)
    mount(tmp_path / point, "-t", "tmpfs", "tmpfs")
    site = Site(tmp_path, tmp_path / "disk/zone")
    subprocess.run(["umount", tmp_path / point], check=True)
    made = site.next()

    message, remedy = site.refused(made, tmp_path / "disk")
    was = f"was one when zone was last extracted to {site.target}"
    assert message == f"{tmp_path / point} isn't a mount point any more, and {was}: its files aren't there"
    assert remedy == f"mount it again; if it shall stay away, {FORCED} to the file system that is there now"

    assert site.forced(made).outcome is Outcome.INSTALLED
    assert (site.target / "deep/er/b").read_text() == "new deep/er/b"
    assert site.host.extract(make_again(site), site.target).outcome is Outcome.INSTALLED


def make_again(site: Site) -> Made:
    (site.source / "a").write_text("newest")
    made = make("1.3", site.source)
    site.host.receive(made)
    return made


def test_mounts_where_nothing_was_placed_stop_nothing_and_keep_what_they_are(tmp_path: Path, mount: Mount) -> None:
    """A disk for an application's data, mounted on an empty directory that a revision has; and one beside it that comes and goes."""
    source, target = planted(tmp_path / "source", "a"), tmp_path / "zone"
    (source / "data").mkdir(mode=0o755)
    (target / "cache").mkdir(parents=True)
    host = Host(tmp_path)
    mount(target / "cache", "-t", "tmpfs", "tmpfs")
    assert host.install(make("1.1", source), target).outcome is Outcome.INSTALLED
    mount(target / "data", "-t", "tmpfs", "-o", "mode=0750", "tmpfs")
    subprocess.run(["umount", target / "cache"], check=True)
    (source / "data").chmod(0o700)
    (source / "data/b").write_text("b")

    receipt = host.install(make("1.2", source), target)

    assert receipt.failure is None
    assert (target / "data").stat().st_mode & 0o777 == 0o750
    assert (target / "data/b").read_text() == "b"
    assert {str(target / "data"), "/"} <= MOUNTED.read(host.held).keys()
    assert str(target / "cache") not in MOUNTED.read(host.held)


def test_a_mount_that_shows_what_would_be_there_without_it_is_none(tmp_path: Path, mount: Mount) -> None:
    """systemd makes such ones for a service's ReadWritePaths=, and a person's shell sees none of them."""
    site = Site(tmp_path, tmp_path / "disk/zone")
    mount(tmp_path / "disk", "--bind", str(tmp_path / "disk"))
    made = site.next()
    assert site.foretold(made).stops == ()
    assert site.host.extract(made, site.target).outcome is Outcome.INSTALLED
    assert str(tmp_path / "disk") not in MOUNTED.read(site.host.held)
    subprocess.run(["umount", tmp_path / "disk"], check=True)
    assert site.host.extract(make_again(site), site.target).outcome is Outcome.INSTALLED


@pytest.mark.parametrize("point", ["former", "former/deep"])
def test_at_a_former_destination_nothing_is_removed_from_a_file_system_that_came_since(tmp_path: Path, mount: Mount, point: str) -> None:
    """The blueprint leads to another disk by now; what is at the old place isn't looked for, and isn't ours."""
    host, source, other = Host(tmp_path), planted(tmp_path / "source"), planted(tmp_path / "other", "x")
    former, target = tmp_path / "former", tmp_path / "target"
    assert host.install(make("1.1", source, other, synchronize="yes"), former, target).outcome is Outcome.INSTALLED
    of = tmp_path / "backup" / point
    shutil.copytree(tmp_path / point, of)
    mount(tmp_path / point, "--bind", str(of))
    before = tree_of(of)

    receipt = host.install(make("1.2", other, synchronize="yes"), target)

    assert receipt.outcome is Outcome.INSTALLED
    assert tree_of(of) == before
    assert receipt.paths_removed == (0 if point == "former" else 2)  # a and old, which lie beside the mount


def test_an_older_agents_list_is_missing_and_is_made_as_soon_as_all_is_seen_to_be_in_place(tmp_path: Path, mount: Mount) -> None:
    site = Site(tmp_path, tmp_path / "disk/zone")
    (site.host.held.directory / MOUNTED.name).unlink()
    (site.source / "a").write_text("new a")
    (site.source / "old").write_text("new old")
    order = replace(site.host.order(make("1.1", site.source), [site.target]), verify=True)
    receipt = parse_receipt(extract(site.host.context, order)["payload"].encode())
    assert receipt.outcome is Outcome.ALREADY_INSTALLED
    assert MOUNTED.read(site.host.held)["/"] is EntryKind.DIRECTORY
    (site.host.held.directory / MOUNTED.name).unlink()
    (tmp_path / "backup").mkdir()
    mount(site.target, "--bind", str(tmp_path / "backup"))
    (site.source / "a").write_text("newer")
    assert site.host.extract(site.next(), site.target).failure is None  # nothing is known: as before the list


def test_a_renamed_distribution_knows_the_mounts_of_its_former_name(tmp_path: Path, mount: Mount) -> None:
    target, source = tmp_path / "disk/zone", planted(tmp_path / "source", "a")
    (tmp_path / "disk").mkdir()
    mount(tmp_path / "disk", "-t", "tmpfs", "tmpfs")
    assert Host(tmp_path, distribution="old").install(make("1.1", source, distribution="old"), target).outcome is Outcome.INSTALLED
    subprocess.run(["umount", tmp_path / "disk"], check=True)
    made = make("1.1", source)
    made = replace(made, manifest=replace(made.manifest, renamed_from="old"))
    made = replace(made, manifest_bytes=manifest_bytes(made.manifest))
    receipt = Host(tmp_path).install(made, target)
    assert receipt.failure is not None
    assert receipt.failure.message.startswith(f"{tmp_path / 'disk'} isn't a mount point any more")
    assert not target.exists()


@pytest.mark.parametrize("way", ["top", "inner"])
def test_what_another_distribution_placed_stays_also_if_a_bind_mount_gives_it_another_path(tmp_path: Path, mount: Mount, way: str) -> None:
    """Both placed ``deep/er/b``, and the directories around it; one of them has it no more."""
    source = planted(tmp_path / "source", "deep/er/b", "deep/c")
    one, two = tmp_path / "data/zone", tmp_path / "mnt/zone"
    one.mkdir(parents=True)
    if way == "top":
        two = mount_at(mount, tmp_path / "mnt", tmp_path / "data") / "zone"
    else:  # a part of the other's tree is mounted from elsewhere, where this one extracts
        (one / "deep").mkdir()
        two.mkdir(parents=True)
        (two / "deep").mkdir()
        mount(one / "deep", "--bind", str(two / "deep"))
    other = Host(tmp_path, distribution="other")
    assert other.install(make("1.1", planted(tmp_path / "o", "deep/er/b"), distribution="other"), one).outcome is Outcome.INSTALLED
    host = Host(tmp_path)
    assert host.install(make("1.1", source), two).outcome is Outcome.INSTALLED
    shutil.rmtree(source / "deep")
    planted(source, "x")
    made = make("1.2", source, synchronize="yes")

    receipt = host.install(made, two)

    assert receipt.outcome is Outcome.INSTALLED, receipt.failure
    assert (one / "deep/er/b").read_text() == "new deep/er/b"
    assert not (one / "deep/c").exists()
    assert receipt.paths_removed == 1


def mount_at(mount: Mount, point: Path, of: Path) -> Path:
    point.mkdir()
    return mount(point, "--bind", str(of))


def test_what_a_failed_extraction_without_rollback_left_on_a_disk_is_known_to_lie_there(tmp_path: Path, mount: Mount) -> None:
    (tmp_path / "disk").mkdir()
    mount(tmp_path / "disk", "-t", "tmpfs", "tmpfs")
    host, source = Host(tmp_path), planted(tmp_path / "source", "a")
    made = make("1.1", source, rollback=False, post=[shell("exit 1")])
    assert host.install(made, tmp_path / "disk/zone", post=made.manifest.post_actions).outcome is Outcome.FAILED_KEPT
    subprocess.run(["umount", tmp_path / "disk"], check=True)
    receipt = host.extract(made, tmp_path / "disk/zone")
    assert receipt.failure is not None
    assert receipt.failure.message.startswith(f"{tmp_path / 'disk'} isn't a mount point any more")
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_file_that_is_mounted_over_a_placed_one_keeps_its_mode_and_time(tmp_path: Path, mount: Mount) -> None:
    site = Site(tmp_path, tmp_path / "zone")
    foreign = tmp_path / "foreign"
    foreign.write_text("newer")  # as the next revision has it
    foreign.chmod(0o751)
    before = foreign.stat()
    mount(site.target / "a", "--bind", str(foreign))
    made = site.next()
    (stop,) = site.foretold(made).stops
    receipt = site.host.extract(made, site.target)
    assert receipt.failure is not None
    assert receipt.failure.message == stop.message
    assert stop.message.startswith(f"{site.target / 'a'} is a mount point")
    assert (foreign.stat().st_mode, foreign.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


class Killed(BaseException):
    """In the place of a kill."""


def test_a_killed_extraction_whose_disk_is_away_is_undone_when_that_is_back(tmp_path: Path, mount: Mount) -> None:
    """Until then nothing changes on the disk below, though it has the same names."""
    disk, real = tmp_path / "disk", tmp_path / "real"
    planted(disk / "zone", "a", "deep/er/b")
    (disk / "zone/deep").chmod(0o705)
    real.mkdir()
    below = tree_of(disk)
    mount(disk, "--bind", str(real))
    site = Site(tmp_path, disk / "zone")
    before = tree_of(disk)

    def kill(method: str, path: str) -> None:
        if method == "set_metadata" and path == "zone/deep":
            raise Killed

    (site.source / "deep").chmod(0o700)
    made = site.next()
    with pytest.raises(Killed):
        site.host.using(FaultyFilesystem(kill)).extract(made, site.target)
    site.host.using(LocalFilesystem())
    subprocess.run(["umount", disk], check=True)

    with pytest.raises(UndoFailedError):
        site.host.recover()
    failure = site.host.receipts()[-1].failure
    assert failure is not None
    assert "its staging directory is gone" in failure.message
    assert tree_of(disk) == below

    subprocess.run(["mount", "--bind", real, disk], check=True)
    site.host.recover()
    assert tree_of(disk) == before
    assert site.host.extract(made, site.target).outcome is Outcome.INSTALLED
