"""Names that an account without root may not take away or exchange, and directories that it may not read."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sluice.formats.rehearsals import Question
from sluice.subscriber.extract.rehearse import rehearse_extraction
from tests.conftest import missing
from tests.subscriber.accounts import NOBODY, without_root
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, make, placed_in, tree_of

DAEMON = 1


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory that the agent reaches, with its working directory in it."""
    if os.geteuid() != 0:
        missing("root, to give files to other accounts")
    made = Path(tempfile.mkdtemp(prefix="sluice-rights-"))
    made.chmod(0o755)
    directory_of(NOBODY, made / "work")
    directory_of(NOBODY, made / "source").joinpath("a").write_text("ours")
    yield made
    shutil.rmtree(made)


def directory_of(account: int, path: Path, mode: int = 0o755) -> Path:
    path.mkdir()
    os.chown(path, account, account)
    path.chmod(mode)
    return path


def file_of(account: int, path: Path) -> Path:
    path.write_text("theirs")
    os.chown(path, account, account)
    return path


def install(top: Path, made: Made, *targets: Path, refused: str = "", fails: bool = False) -> None:
    """Extract as the agent's account. If it is refused, its dry run says the same, and nothing has changed."""

    def work() -> None:
        host = Host(top)
        before = [tree_of(target) for target in targets]
        host.receive(made)
        foretold = [stop.message for stop in rehearse_extraction(host.context, Question(made.manifest, tuple(map(str, targets)))).stops]
        host.sequence = len(host.receipts())
        failure = host.extract(made, *targets, post=[shell("exit 1")] if fails else []).failure
        if refused:
            assert failure is not None
            assert (failure.code, foretold) == ("DestinationError", [failure.message])
            assert refused in failure.message, failure.message
            assert "as root" in failure.remedy
        else:
            assert foretold == []
            assert (failure.code if failure else "") == ("ActionFailedError" if fails else ""), failure
        if refused or fails:
            assert [tree_of(target) for target in targets] == before
        assert host.leftovers(top) == []

    without_root(work)


@pytest.mark.parametrize(
    ("around", "mode", "file", "is_refused"),
    [
        (0, 0o1777, 0, True),
        (0, 0o1777, DAEMON, True),
        (DAEMON, 0o1777, 0, True),
        (0, 0o1777, NOBODY, False),
        (NOBODY, 0o1777, 0, False),
        (0, 0o777, 0, False),
    ],
)
def test_a_file_in_a_sticky_directory_is_replaced_only_if_one_of_both_is_ours(
    top: Path, around: int, mode: int, file: int, is_refused: bool
) -> None:
    target = file_of(file, directory_of(around, top / "around", mode) / "file")

    install(top, make("1.1", top / "source/a"), target, refused=f"{target} can't be taken away by this account" if is_refused else "")

    assert target.read_text() == ("theirs" if is_refused else "ours")


def inside(target: Path, account: int, mode: int, *, file: int | None = None) -> Path:
    made = directory_of(account, target / "theirs", mode)
    if file is not None:
        file_of(file, made / "file")
    return made


def deep(target: Path, mode: int, *, is_empty: bool) -> None:
    """A directory of root's in one in which all may write."""
    below = directory_of(0, inside(target, 0, 0o777) / "deep", mode)
    if not is_empty:
        file_of(0, below / "file")


IN_THE_WAY: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty, not to be written": (lambda target: inside(target, 0, 0o755), "theirs can't be written"),
    "with a file, not to be written": (lambda target: inside(target, DAEMON, 0o755, file=DAEMON), "theirs can't be written"),
    "empty, open to all": (lambda target: inside(target, 0, 0o777), ""),
    "with a file, open to all": (lambda target: inside(target, 0, 0o777, file=0), ""),
    "sticky, with a file": (lambda target: inside(target, 0, 0o1777, file=DAEMON), "theirs/file can't be taken away"),
    "sticky, with a file of ours": (lambda target: inside(target, 0, 0o1777, file=NOBODY), ""),
    "deep, empty": (lambda target: deep(target, 0o755, is_empty=True), ""),
    "deep, with a file": (lambda target: deep(target, 0o755, is_empty=False), "theirs/deep can't be written"),
    "deep, with a file, open to all": (lambda target: deep(target, 0o777, is_empty=False), ""),
    "ours, closed": (lambda target: inside(target, NOBODY, 0o555, file=0), ""),
}
"""What stands at ``theirs`` in a mirrored directory of ours, and the refusal."""


@pytest.mark.parametrize("case", IN_THE_WAY)
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("by", ["removal", "file", "link"])
def test_a_directory_goes_only_if_it_can_be_moved_and_deleted_with_all_in_it(top: Path, case: str, by: str, fails: bool) -> None:
    target, source = directory_of(NOBODY, top / "target"), top / "source"
    prepare, refused = IN_THE_WAY[case]
    prepare(target)
    if by == "file":
        (source / "theirs").write_text("ours")
    elif by == "link":
        (source / "theirs").symlink_to("a")

    install(top, make("1.1", source, synchronize="mirror"), target, refused=refused, fails=fails and not refused)

    if not refused and not fails:
        assert placed_in(tree_of(target)) == placed_in(tree_of(source))


def test_a_mirror_leaves_a_sticky_directory_with_files_of_others_alone_and_says_why(top: Path) -> None:
    target = directory_of(0, top / "target", 0o1777)
    theirs = file_of(DAEMON, target / "theirs")

    install(top, make("1.1", top / "source", synchronize="mirror"), target, refused=f"{theirs} can't be taken away by this account")


@pytest.mark.parametrize("fails", [False, True])
def test_a_closed_directory_that_was_placed_gives_way_to_a_file_and_comes_back_as_it_was(top: Path, fails: bool) -> None:
    source, target = top / "source", directory_of(NOBODY, top / "around") / "target"
    (source / "closed/deep").mkdir(parents=True)
    (source / "closed/deep/file").write_text("ours")
    (source / "closed/deep").chmod(0o500)
    (source / "closed").chmod(0o555)
    install(top, make("1.1", source), target)
    shutil.rmtree(source / "closed")
    (source / "closed").write_text("a file by now")

    install(top, make("1.2", source), target, fails=fails)

    if not fails:
        assert tree_of(target) == tree_of(source)


def test_a_former_destination_keeps_a_file_of_another_account_that_only_that_may_remove(top: Path) -> None:
    around = directory_of(0, top / "around", 0o1777)
    former, later = around / "former", directory_of(NOBODY, top / "later")
    install(top, make("1.1", top / "source/a", synchronize="yes"), former)
    former.unlink()
    file_of(DAEMON, former)

    install(top, make("1.2", top / "source", synchronize="yes"), later)

    assert former.read_text() == "theirs"
    assert (later / "a").read_text() == "ours"


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", ["new", "stands"])
@pytest.mark.parametrize(("account", "mode"), [(0, 0o733), (NOBODY, 0o300), (0, 0o1733)])
def test_a_destination_below_a_directory_that_may_not_be_read_is_written_and_synced_all_the_same(
    top: Path, account: int, mode: int, name: str, fails: bool
) -> None:
    around = directory_of(account, top / "around", mode)
    file_of(NOBODY, around / "stands")

    install(top, make("1.1", top / "source/a"), around / name, fails=fails)

    assert sorted(path.name for path in around.iterdir()) == (["stands"] if fails else sorted({"stands", name}))
    assert around.stat().st_mode & 0o7777 == mode
    if not fails:
        assert (around / name).read_text() == "ours"


def test_an_immutable_directory_in_one_that_goes_is_locked_and_not_forbidden(tmp_path: Path, real_part: Callable[[str], Path]) -> None:
    host, source, target = Host(tmp_path), tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (target / "goes/fixed").mkdir(parents=True)
    (target / "goes/fixed/file").write_text("theirs")
    if subprocess.run([real_part("chattr"), "+i", target / "goes/fixed"], capture_output=True, check=False).returncode:
        missing("a file system with immutable files")
    try:
        receipt = host.install(make("1.1", source, synchronize="mirror"), target)
    finally:
        subprocess.run([real_part("chattr"), "-i", target / "goes/fixed"], check=True)

    assert receipt.failure is not None
    assert receipt.failure.code == "LockedTargetError"
    assert (target / "goes/fixed/file").read_text() == "theirs"
