"""What stood before, and wasn't placed by this Distribution: it keeps mode, owner, attributes and time (B2)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from infra.filesystem.local import LocalFilesystem
from sluice.errors import NoSpaceError
from sluice.formats.rehearsals import Question
from sluice.model.change import ChangeKind
from sluice.model.order import Outcome
from sluice.subscriber.extract.rehearse import rehearse_extraction
from sluice.subscriber.held.path_lists import RETAINED, STOOD
from tests.ports.test_filesystem_owner import ACL_ACCESS
from tests.subscriber.faulty import FaultyFilesystem
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, made, make, tree_of
from tests.subscriber.test_extract_synchronize import another_host

AS_ROOT = pytest.mark.usefixtures("as_root")
OLD = 1_000_000_007_000_000_009


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Modes and times that no directory of the host has."""
    top = tmp_path / "source"
    (top / "sub/deep").mkdir(parents=True)
    for name in ("a", "sub/b", "sub/deep/c"):
        (top / name).write_text(name)
    for name, mode in (("sub/deep", 0o711), ("sub", 0o700), ("", 0o750)):
        (top / name).chmod(mode)
        os.utime(top / name, ns=(1, 10**18))
    return top


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def with_directory_mode(made_of: Made, mode: str) -> Made:
    manifest = replace(made_of.manifest, destinations=tuple(replace(d, directory_mode=mode) for d in made_of.manifest.destinations))
    return made(manifest, dict(made_of.contents))


@pytest.mark.parametrize("mode", [0o1777, 0o2775, 0o700, 0o3770, 0o755, 0o555])
def test_a_destination_that_stood_keeps_its_mode_over_revisions(host: Host, source: Path, tmp_path: Path, mode: int) -> None:
    target = tmp_path / "target"
    target.mkdir()
    target.chmod(mode)
    for number in range(1, 4):
        assert host.install(make(f"1.{number}", source), target).failure is None
        assert mode_of(target) == mode
        assert mode_of(target / "sub") == 0o700
        (source / "a").write_text(f"again {number}")
        (source / f"new-{number}").mkdir()
    assert host.leftovers(tmp_path) == []


def test_a_directory_that_was_placed_follows_the_source_and_one_that_stood_does_not(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    (target / "sub").chmod(0o1777)
    host.install(make("1.1", source), target)
    (source / "sub").chmod(0o750)
    (source / "sub/deep").chmod(0o701)
    os.utime(source / "sub/deep", ns=(5, 5))

    assert host.install(make("1.2", source), target).failure is None

    assert mode_of(target / "sub") == 0o1777
    assert mode_of(target / "sub/deep") == 0o701
    assert (target / "sub/deep").stat().st_mtime_ns == 5
    assert set(STOOD.read(host.held)) == {str(target), str(target / "sub")}


def test_its_time_stays_unless_names_in_it_change_and_then_it_is_no_sources_time(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    host.install(make("1.1", source), target)
    for each in (target / "sub", target):
        os.utime(each, ns=(OLD, OLD))
    (source / "sub/new").write_text("new")
    (source / "sub/deep/c").write_text("changed")

    assert host.install(make("1.2", source), target).failure is None

    assert target.stat().st_mtime_ns == OLD
    assert (target / "sub").stat().st_mtime_ns not in (OLD, (source / "sub").stat().st_mtime_ns)


def test_a_failure_gives_it_its_time_back(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    (target / "sub").chmod(0o2770)
    for each in (target / "sub", target):
        os.utime(each, ns=(OLD, OLD))
    before = tree_of(target)
    revision = make("1.1", source)
    host.receive(revision)

    assert host.extract(revision, target, post=[shell("exit 1")]).outcome is Outcome.FAILED

    assert tree_of(target) == before
    assert STOOD.read(host.held) == {}


def test_directory_mode_set_gives_it_the_sources_mode_and_time(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    (target / "sub").chmod(0o1777)

    assert host.install(with_directory_mode(make("1.1", source), "set"), target).failure is None
    assert tree_of(target) == tree_of(source)

    (target / "sub").chmod(0o1777)
    (source / "a").write_text("changed")
    assert host.install(make("1.2", source), target).failure is None
    assert mode_of(target / "sub") == 0o1777  # it stood all the same: the key is gone, and so is its effect


def test_two_distributions_in_one_directory_leave_its_mode_to_the_one_that_placed_it(tmp_path: Path, source: Path) -> None:
    host, other, target = Host(tmp_path), another_host(tmp_path, "other"), tmp_path / "target"
    theirs = tmp_path / "theirs"
    (theirs / "sub").mkdir(parents=True)
    (theirs / "sub/x").write_text("x")
    (theirs / "sub").chmod(0o555)
    host.install(make("1.1", source), target)
    for number in (1, 2, 3):
        (theirs / "sub").chmod(0o755)
        (theirs / "sub/x").write_text(str(number))
        (theirs / "sub").chmod(0o555)
        (source / "a").write_text(str(number))
        assert other.install(make(f"1.{number}", theirs), target).failure is None
        assert (mode_of(target), mode_of(target / "sub")) == (0o750, 0o700)
        assert host.install(make(f"1.{number + 1}", source), target).failure is None
        assert (mode_of(target), mode_of(target / "sub")) == (0o750, 0o700)


def test_a_directory_that_stood_is_not_removed_with_the_revision_that_named_it(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    host.install(make("1.1", source, synchronize="yes"), target)
    shutil.rmtree(source / "sub")

    assert host.install(make("1.2", source, synchronize="yes"), target).paths_removed == 3

    assert list((target / "sub").iterdir()) == []
    (source / "sub").mkdir(mode=0o700)
    host.install(make("1.3", source, synchronize="yes"), target)
    assert mode_of(target / "sub") == 0o755


def test_a_directory_that_its_owner_removed_is_placed_anew_and_follows_the_source_then(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    host.install(make("1.1", source), target)
    shutil.rmtree(target / "sub")

    assert host.install(make("1.2", source), target).failure is None

    assert tree_of(target / "sub") == tree_of(source / "sub")
    assert set(STOOD.read(host.held)) == {str(target)}


def test_without_the_list_of_an_older_agent_everything_in_its_manifest_counts_as_placed(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    (target / "sub").chmod(0o1777)
    host.install(make("1.1", source), target)
    (host.held.directory / STOOD.name).unlink()
    (source / "a").write_text("changed")

    assert host.install(make("1.2", source), target).failure is None

    assert tree_of(target) == tree_of(source)


@AS_ROOT
def test_owner_and_acl_of_a_directory_that_stood_stay_also_if_everything_is_to_have_an_owner(
    host: Host, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    os.chown(target / "sub", 65534, 65534)
    (target / "sub").chmod(0o2775)
    acl = subprocess.run(["setfacl", "-m", "u:1:rwx,d:u:1:rwx", str(target / "sub")], check=False) if shutil.which("setfacl") else None
    os.setxattr(target / "sub", "user.theirs", b"1")
    before = {name: os.getxattr(target / "sub", name) for name in os.listxattr(target / "sub")}
    revision = make("1.1", source)
    entries = tuple(replace(e, owner="1:1", xattrs=(("user.ours", b"2"),)) for e in revision.manifest.destinations[0].entries)
    manifest = replace(revision.manifest, destinations=(replace(revision.manifest.destinations[0], entries=entries),))

    receipt = host.install(made(manifest, dict(revision.contents)), target)

    assert receipt.failure is None
    found = (target / "sub").stat()
    assert (found.st_uid, found.st_gid, mode_of(target / "sub")) == (65534, 65534, 0o2775)
    assert {name: os.getxattr(target / "sub", name) for name in os.listxattr(target / "sub")} == before
    assert (target / "sub/b").stat().st_uid == (target / "sub/deep").stat().st_uid == 1
    assert acl is None or any("acl" in name for name in before)


@pytest.mark.parametrize("mode", [0o755, 0o555, 0o1777, 0o2775])
@pytest.mark.parametrize("stands", [False, True], ids=["new", "again"])
def test_the_directory_around_a_destination_is_after_a_failure_as_it_was(tmp_path: Path, mode: int, stands: bool) -> None:
    host, around = Host(tmp_path), tmp_path / "around"
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("a")
    around.mkdir()
    if stands:
        assert host.install(make("1.1", source), around / "zone").failure is None
        (source / "a").write_text("b")
    around.chmod(mode)
    os.utime(around, ns=(7, 7))
    before = tree_of(around)

    receipt = host.install(make("1.2", source), around / "zone", post=[shell("exit 1")])

    assert receipt.failure is not None
    assert tree_of(around) == before


def test_the_directory_around_a_destination_keeps_its_time_if_only_staging_stood_in_it(tmp_path: Path) -> None:
    host, around = Host(tmp_path), tmp_path / "around"
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("a")
    around.mkdir()
    assert host.install(make("1.1", source), around / "zone").failure is None
    (source / "a").write_text("b")
    os.utime(around, ns=(7, 7))

    assert host.install(make("1.2", source), around / "zone").failure is None

    assert (around / "zone/a").read_text() == "b"
    assert around.stat().st_mtime_ns == 7


def test_what_an_extraction_without_rollback_left_when_it_failed_counts_as_placed(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    (target / "sub").chmod(0o1777)
    (source / "link").symlink_to("one")
    first = make("1.1", source, rollback=False)
    host.receive(first)
    assert host.extract(first, target, post=[shell("exit 1")]).outcome is Outcome.FAILED_KEPT
    (source / "link").unlink()
    (source / "link").symlink_to("two")
    (source / "sub/deep").chmod(0o755)
    (source / "a").unlink()

    assert host.install(make("1.2", source, synchronize="yes"), target).failure is None

    assert os.readlink(target / "link") == "two"
    assert not (target / "a").exists()
    assert (mode_of(target / "sub/deep"), mode_of(target / "sub")) == (0o755, 0o1777)


@AS_ROOT
def test_a_foreign_file_keeps_its_other_names_and_what_it_had_is_named_before(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    for name, text in (("a", "a"), ("sub/b", "theirs")):  # one of the same content, one of another
        (target / name).write_text(text)
        os.chown(target / name, 65534, 65534)
        (target / name).chmod(0o4711)
        os.link(target / name, tmp_path / f"other-{Path(name).name}")
        os.setxattr(target / name, "user.theirs", b"1")
    os.setxattr(target / "a", "system.posix_acl_access", ACL_ACCESS)
    before = {path: (path.read_bytes(), path.stat()) for path in tmp_path.glob("other-*")}
    flagged = subprocess.run(["chattr", "+dA", target / "sub/b"], capture_output=True, check=False).returncode == 0
    revision = make("1.1", source)

    foretold = rehearse_extraction(host.context, Question(revision.manifest, (str(target),)))
    assert host.install(revision, target).failure is None

    named = {each.path: each.detail for each in foretold.paths if each.kind is ChangeKind.REPLACED}
    assert named.keys() == {str(target / "a"), str(target / "sub/b")}
    assert "mode 4640, owner 65534:65534, an ACL, attributes, 1 other hard link not touched" in named[str(target / "a")]
    flags = ", flags dA of chattr" if flagged else ""
    assert f"mode 4711, owner 65534:65534, attributes{flags}, 1 other hard link not touched" in named[str(target / "sub/b")]
    for path, (content, status) in before.items():
        found = path.stat()
        assert (path.read_bytes(), found.st_ino, found.st_mode, found.st_uid) == (content, status.st_ino, status.st_mode, status.st_uid)
        assert os.getxattr(path, "user.theirs") == b"1"


def test_two_distributions_that_an_older_agent_let_share_a_directory_come_to_rest(tmp_path: Path, source: Path) -> None:
    host, other, target, theirs = Host(tmp_path), another_host(tmp_path, "other"), tmp_path / "target", tmp_path / "theirs"
    (theirs / "sub").mkdir(parents=True)
    (theirs / "sub").chmod(0o1777)
    (theirs / "sub/x").write_text("x")
    host.install(make("1.1", source), target)
    other.install(make("1.1", theirs), target)
    (other.held.directory / STOOD.name).unlink()  # to the older agent it placed everything that its manifest names
    modes = set()
    for number in (2, 3, 4):
        for each, tree in ((host, source), (other, theirs)):
            (tree / "sub/same").write_text(f"{number} of {tree.name}")
            assert each.install(make(f"1.{number}", tree), target).failure is None
            modes.add((mode_of(target), mode_of(target / "sub")))
    assert len(modes) == 1


@pytest.mark.parametrize("fails", ["before the swaps", "after them"])
def test_foreign_files_stay_foreign_if_an_extraction_without_rollback_fails(host: Host, source: Path, tmp_path: Path, fails: str) -> None:
    target, failing = tmp_path / "target", (shell("exit 1"),)
    target.mkdir()
    (target / "a").write_text("theirs")
    first = make("1.1", source, rollback=False, synchronize="yes")
    early = fails == "before the swaps"
    receipt = host.install(first, target, pre=failing if early else (), post=() if early else failing)
    assert receipt.outcome is Outcome.FAILED_KEPT
    if early:  # somebody else's, where one of ours would have gone
        shutil.rmtree(target / "sub", ignore_errors=True)
        (target / "sub").mkdir()
        (target / "sub/b").write_text("theirs")
    (source / "a").unlink()
    (source / "sub/b").unlink()
    (source / "d").write_text("d")

    assert host.install(make("1.2", source, rollback=False, synchronize="yes"), target).failure is None

    assert (target / "a").exists()
    assert (target / "sub/b").exists() is early


@pytest.mark.parametrize("ends", ["killed", "failed"])
@pytest.mark.parametrize("reached", range(4))
def test_without_rollback_a_path_whose_swap_was_not_reached_is_not_placed(tmp_path: Path, reached: int, ends: str) -> None:
    class Killed(BaseException):
        pass

    def stop(method: str, path: str) -> None:
        if method == "swap" and len(swapped) >= reached:
            raise Killed if ends == "killed" else NoSpaceError("no space left")
        if method == "swap":
            swapped.append(Path(path).name)

    swapped: list[str] = []
    source, target, names = tmp_path / "source", tmp_path / "target", ("a", "b", "c", "new/d")
    (source / "new").mkdir(parents=True)
    for name in names:
        (source / name).write_text("ours")
    target.mkdir()
    host = Host(tmp_path, FaultyFilesystem(stop))
    with suppress(Killed):
        assert host.install(make("1.1", source, rollback=False, synchronize="yes"), target).outcome is Outcome.FAILED_KEPT
    host.using(LocalFilesystem()).recover()
    placed = {name for name in names if name.partition("/")[0] in swapped}
    assert {name for name in names if (target / name).exists()} == placed
    assert len(swapped) == reached
    assert set(RETAINED.read(host.held)) == {str(target / path) for name in placed for path in (name, *Path(name).parts[:-1])}
    (target / "new").mkdir(exist_ok=True)
    for name in set(names) - placed:
        (target / name).write_text("theirs")
    for name in names:
        (source / name).unlink()
    assert host.install(make("1.2", source, rollback=False, synchronize="yes"), target).failure is None
    assert {name for name in names if (target / name).exists()} == set(names) - placed
