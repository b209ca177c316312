"""``synchronize: mirror`` (C9): the directory becomes what the revision says, but for what can't be anybody's to remove."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.model.order import Outcome
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import make, placed_in, tree_of
from tests.subscriber.test_extract_synchronize import Site, another_host


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, synchronize="mirror")


@pytest.fixture
def mounted(site: Site) -> Iterator[Path]:
    """A file system of its own below the destination."""
    place = site.target / "volume"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_foreign_files_links_directories_and_sockets_go(site: Site) -> None:
    (site.target / "foreign").write_text("mine")
    (site.target / "sub/foreign/deep").mkdir(parents=True)
    (site.target / "sub/foreign/deep/file").write_text("mine")
    (site.target / "sub/away").symlink_to("/etc")
    os.mkfifo(site.target / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(site.target / "s"))
    (site.source / "b").unlink()

    receipt = site.install("mirror")

    assert receipt.failure is None
    assert receipt.paths_removed == 8
    assert tree_of(site.target) == tree_of(site.source)
    assert Path("/etc/passwd").exists()


def test_it_takes_foreign_data_away_also_where_the_manifest_has_another_kind(site: Site) -> None:
    (site.target / "new-file").mkdir()
    (site.target / "new-file/foreign").write_text("mine")
    (site.target / "new-directory").write_text("mine")
    (site.source / "new-file").write_text("ours")
    (site.source / "new-directory/below").mkdir(parents=True)
    assert site.install("mirror").failure is None
    assert tree_of(site.target) == tree_of(site.source)


def test_a_first_extraction_into_a_directory_with_something_in_it(tmp_path: Path) -> None:
    source, target, host = tmp_path / "source", tmp_path / "opt/zone", Host(tmp_path)
    source.mkdir()
    (source / "a").write_text("a")
    (target / "old").mkdir(parents=True)
    (target / "old/x").write_text("x")
    receipt = host.install(make("1.1", source, synchronize="mirror"), target)
    assert receipt.paths_removed == 2
    assert placed_in(tree_of(target)) == placed_in(tree_of(source))


def test_another_file_system_below_stays_with_all_in_it(site: Site, mounted: Path) -> None:
    (mounted / "data").write_text("precious")
    (site.target / "foreign").write_text("mine")
    assert site.install("mirror").paths_removed == 1
    assert (mounted / "data").read_text() == "precious"


def test_a_mount_point_is_not_mirrored(tmp_path: Path) -> None:
    site = Site(tmp_path, synchronize="yes")
    place = tmp_path / "opt/volume"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        (place / "lost+found").mkdir()
        receipt = site.host.install(site.revision("mirror"), place)
        assert receipt.outcome is Outcome.FAILED
        assert "file system's root" in receipt.failure.message
        assert (place / "lost+found").is_dir()
        assert site.target.exists()
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("where", ["", "..", "sub", "sub/foreign"])
def test_a_directory_shared_with_another_distribution_is_refused(site: Site, tmp_path: Path, where: str) -> None:
    other = another_host(tmp_path, "other")
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "theirs").write_text("theirs")
    theirs = (site.target / where).resolve()
    assert other.install(make("1.1", shared), theirs).outcome is Outcome.INSTALLED
    before = tree_of(site.target)

    receipt = site.install("mirror")

    assert receipt.failure.code == "DestinationError"
    assert f"{theirs} is a destination of other" in receipt.failure.message
    assert tree_of(site.target) == before
    assert site.host.leftovers(site.directory) == []


def test_the_root_and_the_agents_working_directory_are_refused(tmp_path: Path) -> None:
    site = Site(tmp_path)
    shutil.rmtree(site.source / "sub")
    for target, said in ((Path("/"), "file system's root"), (tmp_path, "working directory")):
        receipt = site.host.install(site.revision("mirror"), target)
        assert receipt.outcome is Outcome.FAILED
        assert said in receipt.failure.message
    assert (site.target / "sub/c").exists()


def test_a_failure_brings_foreign_data_back(site: Site) -> None:
    (site.target / "foreign/deep").mkdir(parents=True)
    (site.target / "foreign/deep/x").write_text("mine")
    (site.target / "foreign").chmod(0o500)
    os.utime(site.target / "foreign", ns=(9, 9))
    os.utime(site.target, ns=(7, 7))
    before = tree_of(site.target)
    (site.source / "a").write_text("changed")
    made = site.revision("mirror")
    site.host.receive(made)
    receipt = site.host.extract(made, site.target, post=[shell("exit 1")])

    assert receipt.outcome is Outcome.FAILED
    assert tree_of(site.target) == before
