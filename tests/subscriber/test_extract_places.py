"""Destinations that are mount points, full, immutable, or owned by an agent that isn't root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.formats.orders import parse_receipt
from sluice.model.order import Outcome
from sluice.subscriber.extract.extraction import extract
from tests.conftest import missing
from tests.subscriber.accounts import without_root
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, made, make, placed_in, tree_of

MIB = 1024 * 1024


@pytest.fixture
def mounted() -> Iterator[Callable[[Path, str], None]]:
    """Mounts small file systems, and unmounts them at the end."""
    if os.geteuid() != 0:
        missing("root, to mount file systems")
    points: list[Path] = []

    def mount(point: Path, size: str) -> None:
        point.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", point], capture_output=True, check=False)
        if done.returncode:
            missing("the right to mount file systems")
        points.append(point)

    yield mount
    for point in reversed(points):
        subprocess.run(["umount", point], check=True)


def plant(top: Path) -> Path:
    (top / "data/deep").mkdir(parents=True)
    (top / "data/deep/file").write_text("deep")
    (top / "data/file").write_text("data")
    (top / "top").write_text("top")
    os.utime(top / "data", ns=(5, 5))
    os.utime(top, ns=(6, 6))
    return top


@pytest.mark.parametrize("fails", [False, True])
def test_a_destination_that_is_a_mount_point_with_another_one_in_it(
    tmp_path: Path, mounted: Callable[[Path, str], None], fails: bool
) -> None:
    host, target = Host(tmp_path), tmp_path / "zone"
    source = plant(tmp_path / "source")
    mounted(target, "40m")
    mounted(target / "data", "40m")
    before = tree_of(target)
    devices = (target.stat().st_dev, (target / "data").stat().st_dev)

    receipt = host.install(make("1.1", source), target, post=[shell("exit 1")] if fails else [])

    if fails:
        assert receipt.outcome is Outcome.FAILED
        assert tree_of(target) == before
    else:
        assert receipt.failure is None
        assert placed_in(tree_of(target), ".", "data") == placed_in(tree_of(source), ".", "data")
        assert target.stat().st_mode & 0o7777 == 0o1777
    assert devices == (target.stat().st_dev, (target / "data").stat().st_dev)
    assert host.leftovers(tmp_path) == []


def test_a_full_file_system_is_said_with_figures_and_nothing_changes(tmp_path: Path, mounted: Callable[[Path, str], None]) -> None:
    host, target = Host(tmp_path), tmp_path / "zone"
    mounted(target, "5m")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_bytes(os.urandom(5 * MIB))
    before = tree_of(target)

    receipt = host.install(make("1.1", tmp_path / "source"), target)

    assert receipt.failure is not None
    assert receipt.failure.code == "NoSpaceError"
    assert receipt.failure.retryable
    assert f"Subscriber oslo: zone 1.1 needs 6 MiB on the file system of {target}; 5 MiB is free there" in receipt.failure.message
    assert tree_of(target) == before
    assert host.leftovers(tmp_path) == []


def test_staging_that_an_extraction_without_a_journal_left_makes_room(tmp_path: Path, mounted: Callable[[Path, str], None]) -> None:
    host, target = Host(tmp_path), tmp_path / "zone"
    mounted(target, "8m")
    left = target / ".sluice-oslo.hq.zone"
    left.mkdir(mode=0o700)
    (left / "0").write_bytes(bytes(6 * MIB))
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_bytes(os.urandom(4 * MIB))

    receipt = host.install(make("1.1", tmp_path / "source"), target)

    assert receipt.failure is None
    assert placed_in(tree_of(target)) == placed_in(tree_of(tmp_path / "source"))


def test_two_places_on_one_file_system_need_their_sum(tmp_path: Path, mounted: Callable[[Path, str], None]) -> None:
    """A directory of a file system that is mounted elsewhere too: staging stands at both mount points, and each alone would have room."""
    host, first, second = Host(tmp_path), tmp_path / "first", tmp_path / "second"
    mounted(first, "8m")
    second.mkdir()
    (first / "part").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_bytes(os.urandom(5 * MIB))
    if subprocess.run(["mount", "--bind", first / "part", second], capture_output=True, check=False).returncode:
        missing("the right to mount file systems")
    try:
        made = make("1.1", tmp_path / "source", tmp_path / "source")
        receipt = host.install(made, first / "a", second / "b")
    finally:
        subprocess.run(["umount", second], check=True)
    assert receipt.failure is not None
    assert "zone 1.1 needs 11 MiB" in receipt.failure.message
    assert list(first.rglob("*")) == [first / "part"]


def test_what_must_stay_free_stays_free(tmp_path: Path, mounted: Callable[[Path, str], None]) -> None:
    host, target = Host(tmp_path), tmp_path / "zone"
    mounted(target, "8m")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_bytes(os.urandom(2 * MIB))
    made = make("1.1", tmp_path / "source")
    host.receive(made)
    free = os.statvfs(target).f_bavail * os.statvfs(target).f_frsize
    for more, outcome in ((1, Outcome.FAILED), (0, Outcome.INSTALLED)):
        order = replace(host.order(made, (target,)), min_free=free - 3 * MIB + more)
        receipt = parse_receipt(extract(host.context, order)["payload"].encode())
        assert receipt.outcome is outcome
        if receipt.failure:
            assert receipt.failure.message.endswith("1 B too little")
    assert os.statvfs(target).f_bavail * os.statvfs(target).f_frsize >= free - 3 * MIB


def test_small_files_count_with_the_blocks_they_take(tmp_path: Path, mounted: Callable[[Path, str], None]) -> None:
    host, target = Host(tmp_path), tmp_path / "zone"
    mounted(target, "3m")
    (tmp_path / "source").mkdir()
    for number in range(1024):
        (tmp_path / f"source/{number}").write_text(str(number))
    receipt = host.install(make("1.1", tmp_path / "source"), target)
    assert receipt.failure is not None
    assert "zone 1.1 needs 5 MiB" in receipt.failure.message  # 4 KiB each, and 1 MiB for names


@pytest.mark.parametrize("what", ["zone/locked", "zone/sub"])
def test_an_immutable_target_is_locked_and_nothing_is_half_replaced(tmp_path: Path, real_part: Callable[[str], Path], what: str) -> None:
    chattr = real_part("chattr")
    host, source, target = Host(tmp_path), tmp_path / "source", tmp_path / "zone"
    (source / "sub").mkdir(parents=True)
    for name in ("a", "locked", "sub/file", "z"):
        (source / name).write_text("before")
    host.install(make("1.1", source), target)
    for name in ("a", "locked", "sub/file", "z"):
        (source / name).write_text("after!")
    before = tree_of(target)
    if subprocess.run([chattr, "+i", tmp_path / what], capture_output=True, check=False).returncode:
        missing("a file system with immutable files, and the right to make them")
    try:
        receipt = host.install(make("1.2", source), target)
        assert receipt.failure is not None
        assert receipt.failure.code == "LockedTargetError"
        assert receipt.failure.retryable
        assert str(tmp_path / what) in receipt.failure.message
        assert tree_of(target) == before
        assert host.leftovers(tmp_path) == []
    finally:
        subprocess.run([chattr, "-i", tmp_path / what], check=True)
    assert host.extract(make("1.2", source), target).outcome is Outcome.INSTALLED
    assert tree_of(target) == tree_of(source)


def as_nobody(work: Callable[[Path], None]) -> None:
    """Run something in a child without root's rights, in a directory of its own."""
    directory = Path(tempfile.mkdtemp(prefix="sluice-nobody-"))
    try:
        if os.geteuid() == 0:
            os.chown(directory, 65534, 65534)
        without_root(lambda: work(directory))
    finally:
        subprocess.run(["chmod", "-R", "u+rwx", directory], check=False)
        shutil.rmtree(directory)


@pytest.mark.parametrize("fails", [False, True])
def test_an_agent_without_root_places_into_directories_it_closed_to_itself(fails: bool) -> None:
    def work(directory: Path) -> None:
        host, source, target = Host(directory), directory / "source", directory / "zone"
        (source / "closed/inner").mkdir(parents=True)
        (source / "closed/inner/file").write_text("one")
        (source / "closed/gone").write_text("gone")
        (source / "secret").write_text("unreadable later")

        def close(top: Path) -> None:
            (top / "closed/inner").chmod(0o555)
            (top / "closed").chmod(0o500)
            top.chmod(0o555)

        def reopen(top: Path) -> None:
            for each in (top, top / "closed", top / "closed/inner"):
                each.chmod(0o755)

        close(source)
        host.install(make("1.1", source), target)
        assert tree_of(target) == tree_of(source)
        reopen(source)
        (source / "closed/inner/file").write_text("two")
        (source / "closed/new").mkdir()
        (source / "closed/new/file").write_text("new")
        (source / "closed/new").chmod(0o555)
        close(source)
        before = tree_of(target)

        receipt = host.install(make("1.2", source), target, post=[shell("exit 1")] if fails else [])

        assert receipt.outcome is (Outcome.FAILED if fails else Outcome.INSTALLED), receipt.failure
        assert tree_of(target) == (before if fails else tree_of(source))
        assert host.leftovers(directory) == []

    as_nobody(work)


def test_a_directory_the_agent_may_not_write_in_is_an_error_with_a_remedy() -> None:
    def work(directory: Path) -> None:
        host = Host(directory)
        (directory / "file").write_text("x")
        receipt = host.install(make("1.1", directory / "file"), Path("/usr/sluice-test/file"))
        assert receipt.failure is not None
        assert receipt.failure.code == "DestinationError"
        assert "root" in receipt.failure.remedy
        assert not receipt.failure.retryable

    as_nobody(work)


@pytest.mark.parametrize("fails", [False, True])
def test_an_agent_that_may_write_only_in_the_destination_itself_stages_there(fails: bool) -> None:
    def work(directory: Path) -> None:
        host, source, target = Host(directory), plant(directory / "source"), directory / "opt/zone"
        target.mkdir(parents=True)
        (target / "foreign").write_text("mine")
        os.utime(target, ns=(9, 9))
        target.parent.chmod(0o555)
        before = tree_of(target)

        receipt = host.install(make("1.1", source), target, post=[shell("exit 1")] if fails else [])

        assert receipt.outcome is (Outcome.FAILED if fails else Outcome.INSTALLED), receipt.failure
        found = tree_of(target)
        if fails:
            assert found == before
        else:
            assert found.pop("foreign")
            assert placed_in(found) == placed_in(tree_of(source))
        assert host.leftovers(directory) == []

    as_nobody(work)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_a_directory_of_somebody_else_is_placed_into_and_keeps_its_mode(tmp_path: Path, fails: bool, beside: bool) -> None:
    top = Path(tempfile.mkdtemp(prefix="sluice-shared-"))
    target, work, source = top / "target", top / "work", tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    made = make("1.1", source)
    for each in (target, work):
        each.mkdir()
    os.chown(work, 65534, 65534)
    top.chmod(0o1777 if beside else 0o755)
    target.chmod(0o777)

    def place(_: Path) -> None:
        host = Host(work)
        receipt = host.install(made, target, post=[shell("exit 1")] if fails else [])
        assert (receipt.failure.code if receipt.failure else "") == ("ActionFailedError" if fails else "")
        assert host.leftovers(top) == []
        assert [path.name for path in target.iterdir()] == ([] if fails else ["file"])

    try:
        as_nobody(place)
        assert target.stat().st_mode & 0o777 == 0o777
    finally:
        shutil.rmtree(top)


@pytest.mark.parametrize("fails", [False, True])
def test_a_setgid_directory_gives_its_group_and_staging_beside_the_destination_goes_all_the_same(tmp_path: Path, fails: bool) -> None:
    if os.geteuid() != 0:
        missing("root, to make directories of another group")
    host, shared = Host(tmp_path), tmp_path / "shared"
    source = plant(tmp_path / "source")
    shared.mkdir()
    os.chown(shared, 0, 12345)
    shared.chmod(0o2775)

    receipt = host.install(make("1.1", source), shared / "zone", post=[shell("exit 1")] if fails else [])

    assert (receipt.failure.code if receipt.failure else "") == ("ActionFailedError" if fails else "")
    assert sorted(shared.iterdir()) == ([] if fails else [shared / "zone"])
    assert shared.stat().st_mode & 0o7777 == 0o2775
    if not fails:
        assert tree_of(shared / "zone") == tree_of(source)
        assert (shared / "zone/top").stat().st_gid == 12345


@pytest.mark.parametrize(("path", "mode"), [("file", 0o000), ("file", 0o077), ("directory", 0o600), ("directory", 0o300), ("", 0o677)])
def test_what_an_agent_without_root_could_not_read_back_is_refused_before_anything_changes(path: str, mode: int) -> None:
    def work(directory: Path) -> None:
        host, source, target = Host(directory), directory / "source", directory / "zone"
        (source / "directory").mkdir(parents=True)
        (source / "file").write_text("one")
        revision = with_mode(make("1.1", source), path, mode)

        receipt = host.install(revision, target)

        assert receipt.failure is not None
        assert f"can't be read back by this account: its mode {mode:04o}" in receipt.failure.message
        assert not target.exists()
        assert host.leftovers(directory) == []

    as_nobody(work)


def with_mode(revision: Made, path: str, mode: int) -> Made:
    """The same revision, of which one entry has another mode: an account that isn't root couldn't read such a source itself."""
    (destination,) = revision.manifest.destinations
    entries = tuple(replace(each, mode=mode) if each.path == path else each for each in destination.entries)
    return made(replace(revision.manifest, destinations=(replace(destination, entries=entries),)), dict(revision.contents))


@pytest.mark.parametrize("owner", ["root:root", "daemon:daemon", "54321:54321"])
def test_an_agent_without_root_gives_nothing_away_and_says_so_before_anything_changes(owner: str) -> None:
    def work(directory: Path) -> None:
        host, source, target = Host(directory), directory / "source", directory / "zone"
        source.mkdir()
        (source / "file").write_text("one")
        revision = make("1.1", source)
        (destination,) = revision.manifest.destinations
        entries = tuple(replace(each, owner=owner) for each in destination.entries)
        manifest = replace(revision.manifest, destinations=(replace(destination, entries=entries),))

        receipt = host.install(made(manifest, dict(revision.contents)), target)

        assert receipt.failure is not None
        assert receipt.failure.message.startswith(f"{target} is to belong to {owner}: it may not be given to user ")
        assert not target.exists()

    as_nobody(work)


def test_a_file_of_another_account_that_cannot_be_compared_is_replaced_like_any_other() -> None:
    def work(directory: Path) -> None:
        host, source, target = Host(directory), directory / "source", directory / "zone"
        source.mkdir()
        target.mkdir()
        (source / "file").write_text("one")
        (target / "file").write_text("two")
        (target / "file").chmod(0)

        receipt = host.install(make("1.1", source), target)

        assert receipt.failure is None
        assert (target / "file").read_text() == "one"

    as_nobody(work)


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_something_foreign_with_the_name_of_the_staging_directory_is_refused_and_stays(tmp_path: Path, kind: str) -> None:
    host, source, around = Host(tmp_path), plant(tmp_path / "source"), tmp_path / "around"
    around.mkdir()
    taken = around / ".sluice-oslo.hq.zone"
    if kind == "directory":
        taken.mkdir(mode=0o755)
        (taken / "mine").write_text("mine")
    elif kind == "link":
        taken.symlink_to("elsewhere")
    else:
        taken.write_text("mine")
    before = tree_of(around)

    receipt = host.install(make("1.1", source), around / "zone")

    assert receipt.failure is not None
    assert f"{taken} has the name of this extraction's staging directory, and isn't one" in receipt.failure.message
    assert tree_of(around) == before


def test_an_agent_without_root_that_can_stage_nowhere_says_so_before_anything_changes() -> None:
    def work(directory: Path) -> None:
        host, source, around = Host(directory), directory / "source", directory / "around"
        source.write_text("two")
        around.mkdir()
        (around / "file").write_text("one")
        around.chmod(0o555)

        receipt = host.install(make("1.1", source), around / "file")

        assert receipt.failure is not None
        assert f"{around} can't be written by this account" in receipt.failure.message
        assert (around / "file").read_text() == "one"

    as_nobody(work)


def test_a_destination_that_leads_through_the_name_of_its_staging_is_refused(tmp_path: Path) -> None:
    host, source = Host(tmp_path), plant(tmp_path / "source")

    receipt = host.install(make("1.1", source), tmp_path / "opt/.sluice-oslo.hq.zone/zone")

    assert receipt.failure is not None
    assert "leads through the name of a staging directory" in receipt.failure.message
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize("mode", [0o444, 0o555, 0o755])
def test_an_immutable_directory_that_its_mode_closes_needs_no_undo_if_nothing_was_swapped(
    tmp_path: Path, real_part: Callable[[str], Path], mode: int
) -> None:
    host, source, target = Host(tmp_path), plant(tmp_path / "source"), tmp_path / "zone"
    target.mkdir()
    target.chmod(mode)
    done = subprocess.run([real_part("chattr"), "+i", target], capture_output=True, check=False)
    if done.returncode:
        missing("a file system with immutable files")
    try:
        receipt = host.install(make("1.1", source), target)
    finally:
        subprocess.run([real_part("chattr"), "-i", target], check=True)

    assert receipt.failure is not None
    assert receipt.failure.code == "LockedTargetError"
    assert list(target.iterdir()) == []
    assert host.leftovers(tmp_path) == []


def test_an_agent_without_root_that_may_not_read_a_destination_says_so_in_its_receipt() -> None:
    def work(directory: Path) -> None:
        host, source, around = Host(directory), directory / "source", directory / "around"
        source.write_text("two")
        around.mkdir()
        around.chmod(0o111)
        try:
            receipt = host.install(make("1.1", source), around / "file")
        finally:
            around.chmod(0o755)

        assert receipt.failure is not None
        assert host.leftovers(directory) == []

    as_nobody(work)
