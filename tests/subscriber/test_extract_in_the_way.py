"""Everything that may be in the way of a file, a directory or a link: what isn't ours is never replaced by another kind (B2, F2).

Each case runs as an author would meet it: the dry run first, by the agent's own question, then the extraction. Both must agree.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sluice.formats.rehearsals import Question
from sluice.model.change import ChangeKind, Changes
from sluice.model.order import Outcome
from sluice.subscriber.extract import rehearse
from sluice.subscriber.extract.rehearse import rehearse_extraction
from tests.subscriber.host import Host
from tests.subscriber.revisions import Made, make

AS_ROOT = pytest.mark.usefixtures("as_root")
OURS = "ours"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def plant(path: Path, kind: str) -> None:
    """Something that is somebody else's."""
    if kind == "file":
        path.write_text("theirs")
        path.chmod(0o640)
    elif kind == "dir":
        (path / "inside").mkdir(parents=True)
        (path / "inside/data").write_text("theirs")
        path.chmod(0o2775)
    elif kind == "empty dir":
        path.mkdir()
        path.chmod(0o1777)
    elif kind in ("link to dir", "link to file"):
        aim = path.parent / f"aim-{path.name}"
        plant(aim, "dir" if kind == "link to dir" else "file")
        path.symlink_to(aim)
    elif kind == "dangling link":
        path.symlink_to("nowhere/at/all")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path has 108 bytes
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


KINDS = ["file", "dir", "empty dir", "link to dir", "link to file", "dangling link", "fifo", "socket"]
KINDS += ["device"] if os.geteuid() == 0 else []
INSIDE, TOP = "inside a directory", "as the destination"


def source_of(directory: Path, kind: str) -> Path:
    path = directory / "source-x"
    if kind == "file":
        path.write_text(OURS)
    elif kind == "dir":
        path.mkdir()
        (path / "f").write_text(OURS)
    else:
        path.symlink_to("ours-target")
    return path


def everything_below(top: Path) -> dict[str, object]:
    """Inode, kind, mode, owner, size and text of everything, but times of directories: names come and go in them."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        s = path.lstat()
        text = os.readlink(path) if path.is_symlink() else path.read_text() if stat.S_ISREG(s.st_mode) else ""
        found[str(path.relative_to(top))] = (s.st_ino, s.st_mode, s.st_uid, s.st_gid, text)
    return found


def dry_run(host: Host, made: Made, *destinations: Path, **asked: bool) -> Changes:
    return rehearse_extraction(host.context, Question(made.manifest, tuple(map(str, destinations)), **asked))


def paths_of(found: Changes, *kinds: ChangeKind) -> set[str]:
    return {each.path for each in found.paths if each.kind in kinds}


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize(("ours", "depth"), [("file", INSIDE), ("dir", INSIDE), ("link", INSIDE), ("file", TOP), ("dir", TOP)])
def test_nothing_foreign_is_replaced_by_another_kind(host: Host, tmp_path: Path, there: str, ours: str, depth: str) -> None:
    is_top = depth == TOP
    (tmp_path / "src").mkdir()
    (tmp_path / "host").mkdir()
    source, target = source_of(tmp_path / "src", ours), tmp_path / "host/x"
    if not is_top:
        source.rename(tmp_path / "src/x")
    plant(target, there)
    made = make("1.1", source if is_top else tmp_path / "src")
    destination = target if is_top else tmp_path / "host"
    before = everything_below(tmp_path / "host")
    goes_on = (ours, there) in {("file", "file"), ("dir", "dir"), ("dir", "empty dir")}
    follows = is_top and (ours, there) in {("dir", "link to dir"), ("dir", "dangling link")}  # the administrator's link on the way

    foretold = dry_run(host, made, destination)
    host.receive(made)
    receipt = host.extract(made, destination)

    after = everything_below(tmp_path / "host")
    assert (receipt.outcome is Outcome.INSTALLED) is not bool(foretold.stops), (receipt.failure, foretold.stops)
    if follows:
        return
    assert (receipt.outcome is Outcome.INSTALLED) is goes_on
    if goes_on:
        changed = {str(tmp_path / "host" / name) for name in before if before[name] != after[name]}
        assert changed == ({str(target)} if ours == "file" else set())
        assert changed == paths_of(foretold, ChangeKind.REPLACED)
    else:
        assert after == before
        assert receipt.failure is not None
        assert receipt.failure.message == foretold.stops[0].message
        is_followed = is_top and (ours, there) == ("dir", "link to file")  # an administrator's link is; its end is what is in the way
        assert str(tmp_path / "host/aim-x" if is_followed else target) in receipt.failure.message
        assert receipt.failure.remedy
    assert host.leftovers(tmp_path) == []


@pytest.mark.parametrize("there", [each for each in KINDS if each not in ("dir", "empty dir", "link to dir")])
def test_something_in_the_place_of_a_parent_stops_both(host: Host, tmp_path: Path, there: str) -> None:
    (tmp_path / "host").mkdir()
    plant(tmp_path / "host/parent", there)
    (tmp_path / "a").write_text(OURS)
    made, destination = make("1.1", tmp_path / "a"), tmp_path / "host/parent/sub/a"
    before = everything_below(tmp_path / "host")

    foretold = dry_run(host, made, destination)
    host.receive(made)
    receipt = host.extract(made, destination)

    assert (receipt.failure is not None) is bool(foretold.stops)
    if there != "dangling link":  # one of root's is followed, and its end is made: the administrator meant it
        assert receipt.failure is not None
        assert "host/parent" in receipt.failure.message
        assert everything_below(tmp_path / "host") == before


@pytest.mark.parametrize("before", ["file", "dir", "link"])
@pytest.mark.parametrize("after", ["file", "dir", "link"])
def test_what_was_placed_may_become_another_kind_until_somebody_exchanged_it(host: Host, tmp_path: Path, before: str, after: str) -> None:
    trees = []
    for number, kind in enumerate((before, after)):
        (tmp_path / f"src{number}").mkdir()
        source_of(tmp_path / f"src{number}", kind)
        trees.append(tmp_path / f"src{number}")
    target = tmp_path / "host"
    host.install(make("1.1", trees[0]), target)
    second = make("1.2", trees[1])
    assert dry_run(host, second, target).stops == ()
    assert host.install(second, target).failure is None

    path = target / "source-x"
    subprocess.run(["rm", "-r", path], check=True)
    plant(path, "fifo" if after == "link" else "link to dir")
    third = make("1.3", trees[0])
    foretold = dry_run(host, third, target)
    receipt = host.install(third, target)
    assert receipt.failure is not None
    assert foretold.stops[0].message == receipt.failure.message


def test_a_link_of_theirs_with_our_target_stays_and_one_with_another_is_refused(host: Host, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/x").symlink_to("ours")
    (tmp_path / "host").mkdir()
    (tmp_path / "host/x").symlink_to("ours")
    inode = (tmp_path / "host/x").lstat().st_ino
    made = make("1.1", tmp_path / "src")
    assert paths_of(dry_run(host, made, tmp_path / "host"), *ChangeKind) == set()
    assert host.install(made, tmp_path / "host").failure is None
    assert (tmp_path / "host/x").lstat().st_ino == inode

    other = Host(tmp_path / "again")
    (tmp_path / "host/x").unlink()
    (tmp_path / "host/x").symlink_to("theirs")
    receipt = other.install(make("1.1", tmp_path / "src"), tmp_path / "host")
    assert receipt.failure is not None
    assert "is a link, which this Distribution didn't place, but a link to another target must go there" in receipt.failure.message


def test_everything_in_the_way_is_named_at_once_by_the_dry_run(host: Host, tmp_path: Path) -> None:
    (tmp_path / "src/deep").mkdir(parents=True)
    (tmp_path / "host").mkdir()
    for name in ("a", "b", "c", "deep/d"):
        (tmp_path / "src" / name).write_text(OURS)
    for name, kind in (("a", "empty dir"), ("b", "fifo"), ("deep", "dangling link")):
        plant(tmp_path / "host" / name, kind)

    found = dry_run(host, make("1.1", tmp_path / "src"), tmp_path / "host")

    assert found.stop_count == 3
    assert [stop.message.split(" is ")[0].rpartition("/")[2] for stop in found.stops] == ["a", "b", "deep"]


@pytest.fixture
def mounted() -> Iterator[Callable[..., None]]:
    points: list[Path] = []

    def mount(*command: str | Path) -> None:
        subprocess.run(["mount", *map(str, command)], check=True)
        points.append(Path(command[-1]))

    yield mount
    for point in reversed(points):
        with suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", point], check=True)


@AS_ROOT
@pytest.mark.parametrize("what", ["bind file", "tmpfs", "read-only"])
def test_mount_points_and_file_systems_that_take_nothing_are_foretold(
    host: Host, tmp_path: Path, what: str, mounted: Callable[..., None]
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/x").write_text(OURS)
    (tmp_path / "host").mkdir()
    if what == "bind file":
        (tmp_path / "theirs").write_text("theirs")
        (tmp_path / "host/x").write_text("below")
        mounted("--bind", tmp_path / "theirs", tmp_path / "host/x")
    elif what == "tmpfs":
        (tmp_path / "host/x").mkdir()
        mounted("-t", "tmpfs", "none", tmp_path / "host/x")
    else:
        mounted("-t", "tmpfs", "-o", "ro", "none", tmp_path / "host")
    made = make("1.1", tmp_path / "src")

    foretold = dry_run(host, made, tmp_path / "host")
    receipt = host.install(made, tmp_path / "host")

    assert receipt.failure is not None
    assert foretold.stops
    assert receipt.failure.message == foretold.stops[0].message
    assert host.leftovers(tmp_path / "host") == []


def test_of_a_directory_that_may_not_give_way_nothing_is_said_to_go(tmp_path: Path) -> None:
    host, source, target = Host(tmp_path), tmp_path / "source", tmp_path / "target"
    (source / "x").mkdir(parents=True)
    for name in ("a", "b"):
        (source / "x" / name).write_text(name)
    host.install(make("1.1", source), target)
    (target / "x/foreign").write_text("theirs")
    shutil.rmtree(source / "x")
    (source / "x").write_text("a file now")
    question = Question(make("1.2", source).manifest, (str(target),))

    found = rehearse_extraction(host.context, question)

    assert len(found.stops) == 1
    assert found.stops[0].message == f"{target}/x is a directory with foreign in it, but a file or link must go there"
    assert not {ChangeKind.REMOVED, ChangeKind.FOREIGN_REMOVED} & set(found.counts)
    (target / "x/foreign").unlink()
    assert rehearse_extraction(host.context, question).counts[ChangeKind.REMOVED] == 2


def test_a_question_has_no_more_looked_at_however_many_directories_are_to_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearse, "COUNT_MAX", 10)
    host, source, target = Host(tmp_path), tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for n in range(5):
        (source / f"d{n}").write_text("a file")
        (target / f"d{n}").mkdir(parents=True)
        for name in range(8):
            (target / f"d{n}/{name}").write_text("theirs")
    question = Question(make("1.1", source, synchronize="mirror").manifest, (str(target),))
    assert rehearse_extraction(host.context, question).counts == {ChangeKind.FOREIGN_REMOVED: 11}
