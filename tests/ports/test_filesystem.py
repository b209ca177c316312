"""The Filesystem port, run against every adapter: here the local one, with openat2 and without, with exchange of names and without."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from infra.filesystem.local import LocalFilesystem, calls, directories, seam
from infra.filesystem.local.root import LocalRoot
from sluice.errors import DestinationError, ExtractError, LockedTargetError, NoSpaceError, SluiceError
from sluice.model.manifest import EntryKind
from sluice.ports import ResolvedPath, Root
from tests.conftest import missing


@pytest.fixture(params=["openat2", "part by part"])
def filesystem(request: pytest.FixtureRequest) -> LocalFilesystem:
    if request.param == "openat2":
        if not calls.kernel_opens_beneath():
            missing("a kernel with openat2")
        return LocalFilesystem(use_openat2=True)
    return LocalFilesystem(use_openat2=False)


@pytest.fixture
def root(filesystem: LocalFilesystem, tmp_path: Path) -> Iterator[LocalRoot]:
    (tmp_path / "root").mkdir()
    opened = filesystem.open_root(str(tmp_path / "root"))
    yield opened
    opened.close()


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "root"


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- what is written, and found again ---------------------------------------------------------------------------------


def test_a_hard_link_is_another_name_and_never_replaces_or_follows(root: Root, top: Path) -> None:
    (top / "d").mkdir()
    root.write_file("file", [b"one"], mode=0o640, mtime_ns=1, durable=False)
    root.make_hard_link("d/other", "file")
    assert (top / "d/other").samefile(top / "file")
    root.make_symlink("link", "/etc/passwd")
    for path, existing in (("d/other", "file"), ("new", "missing"), ("link/new", "file")):
        with pytest.raises(DestinationError):
            root.make_hard_link(path, existing)
    root.make_hard_link("same-link", "link")
    assert os.readlink(top / "same-link") == "/etc/passwd"


def test_a_file_is_written_with_content_mode_and_time(root: Root, top: Path) -> None:
    pieces = [b"one", memoryview(b"two"), b"x" * 3_000_000]
    root.write_file("file", pieces, mode=0o4640, mtime_ns=1_234_567_890_123_456_789, durable=True)

    found = root.find("file")
    assert found is not None
    assert (found.kind, found.mode, found.size, found.mtime_ns) == (EntryKind.FILE, 0o4640, 3_000_006, 1_234_567_890_123_456_789)
    assert found.is_ours
    assert found.links == 1
    assert b"".join(root.read("file")) == b"onetwo" + b"x" * 3_000_000 == (top / "file").read_bytes()
    assert max(len(piece) for piece in root.read("file")) <= 1024 * 1024


def test_a_part_of_a_file_is_read(root: Root, top: Path) -> None:
    data = bytes(range(250)) * 10_000
    (top / "file").write_bytes(data)
    for offset, length in ((0, 0), (0, 1), (3, 7), (10, 2_000_000), (2_499_999, 1), (2_499_990, 100), (3_000_000, 5)):
        assert b"".join(root.read("file", offset, length)) == data[offset : offset + length]
    assert b"".join(root.read("file", 1_500_000)) == data[1_500_000:]


def test_a_file_tells_when_anything_about_it_changed(root: Root, top: Path) -> None:
    (top / "file").write_text("x")
    os.utime(top / "file", ns=(1, 1))
    found = root.find("file")
    assert found is not None
    assert (found.mtime_ns, found.ctime_ns) == (1, (top / "file").stat().st_ctime_ns)


def test_modes_do_not_depend_on_the_umask(root: Root) -> None:
    before = os.umask(0o077)
    try:
        root.write_file("file", [], mode=0o666, mtime_ns=0, durable=False)
        root.make_directory("directory")
        root.set_metadata("directory", mode=0o777, mtime_ns=7)
    finally:
        os.umask(before)
    assert [root.find(name).mode for name in ("file", "directory")] == [0o666, 0o777]  # type: ignore[union-attr]


def test_links_are_found_as_themselves(root: Root, top: Path) -> None:
    root.make_symlink("link", "somewhere/else ✓")
    found = root.find("link")
    assert found is not None
    assert (found.kind, found.mode) == (EntryKind.SYMLINK, 0)
    assert root.read_link("link") == "somewhere/else ✓"


def test_a_directory_is_listed(root: Root, top: Path) -> None:
    (top / "d/sub").mkdir(parents=True)
    (top / "d/ü").write_text("x")
    (top / "d/l").symlink_to("ü")
    os.mkfifo(top / "d/pipe")
    assert {(f.path, f.kind) for f in root.list("d")} == {
        ("d/sub", EntryKind.DIRECTORY),
        ("d/ü", EntryKind.FILE),
        ("d/l", EntryKind.SYMLINK),
        ("d/pipe", None),
    }
    assert {f.path for f in root.list("")} == {"d"}


def test_what_vanishes_while_a_directory_is_listed_is_passed_over(root: Root, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (top / "d").mkdir()
    for name in ("gone", "stays"):
        (top / "d" / name).write_text("x")
    true = os.stat

    def vanishing(path: Any, **how: Any) -> os.stat_result:
        (top / "d/gone").unlink(missing_ok=True)
        return true(path, **how)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", vanishing)
        assert [found.path for found in root.list("d")] == ["d/stays"]
    assert root.list("gone-before") == []


def test_no_more_of_a_directory_is_listed_than_is_asked_for(root: Root, top: Path) -> None:
    for number in range(5):
        (top / str(number)).write_text("x")
    assert [len(root.list("", most)) for most in (0, 3, 9)] == [0, 3, 5]


def test_nothing_stands_where_nothing_is(root: Root) -> None:
    assert root.find("a") is None
    assert root.find("a/b/c") is None


def test_the_root_itself_is_the_empty_path(root: Root, top: Path) -> None:
    root.set_metadata("", mode=0o711, mtime_ns=99)
    found = root.find("")
    assert found is not None
    assert (found.path, found.mode, found.mtime_ns) == ("", 0o711, 99)


MAKERS: list[Callable[[Root], None]] = [
    lambda root: root.write_file("x", [b"theirs"], mode=0o600, mtime_ns=0, durable=False),
    lambda root: root.make_directory("x"),
    lambda root: root.make_symlink("x", "y"),
]


@pytest.mark.parametrize("maker", range(len(MAKERS)))
def test_nothing_that_stands_is_overwritten(root: Root, top: Path, maker: int) -> None:
    (top / "x").write_text("mine")
    with pytest.raises(DestinationError):
        MAKERS[maker](root)
    assert (top / "x").read_text() == "mine"


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "socket", "nothing"])
def test_only_regular_files_are_read_and_nobody_is_waited_for(root: Root, top: Path, kind: str) -> None:
    (top / "target").write_text("x")
    if kind == "directory":
        (top / "x").mkdir()
    elif kind == "pipe":
        os.mkfifo(top / "x")
    elif kind == "link":
        (top / "x").symlink_to("target")
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(top)  # the name of a socket is short
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind("x")
        finally:
            os.chdir(here)
    with pytest.raises(DestinationError):
        list(root.read("x"))


def test_metadata_of_a_link_or_pipe_is_refused_and_its_target_left(root: Root, top: Path) -> None:
    (top / "target").write_text("x")
    (top / "link").symlink_to("target")
    os.mkfifo(top / "pipe")
    before = (top / "target").stat()
    for name in ("link", "pipe"):
        with pytest.raises(DestinationError):
            root.set_metadata(name, mode=0o777, mtime_ns=1)
    after = (top / "target").stat()
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)


def test_a_tree_is_removed_without_following_its_links(root: Root, top: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("x")
    (top / "d/e/f").mkdir(parents=True)
    (top / "d/e/f/file").write_text("x")
    (top / "d/link").symlink_to(tmp_path / "outside")
    root.remove("d")
    root.remove("d")
    assert list(top.iterdir()) == []
    assert (tmp_path / "outside/file").exists()


@pytest.mark.slow
def test_a_very_deep_tree_is_made_and_removed_with_few_open_files(root: Root, top: Path) -> None:
    depth, before = 1050, open_files()
    for n in range(1, depth):
        root.make_directory("/".join(["d"] * n))
    assert open_files() < before + 2 * directories.OPEN_MAX
    root.remove("d")
    assert list(top.iterdir()) == []


def test_a_tree_deeper_than_a_path_may_be_long_is_removed(root: Root, top: Path) -> None:
    """Anybody may leave one where staging will be, in a directory like /tmp."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(100):
        os.mkdir("d" * 200, dir_fd=fd)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    root.remove("d" * 200)
    assert list(top.iterdir()) == []


def test_a_closed_root_holds_nothing_open(filesystem: LocalFilesystem, top: Path, tmp_path: Path) -> None:
    (tmp_path / "root/a/b").mkdir(parents=True)
    before = open_files()
    root = filesystem.open_root(str(tmp_path / "root"))
    root.write_file("a/b/f", [b"x"], mode=0o600, mtime_ns=0, durable=True)
    below = root.open_below("a")
    below.find("b/f")
    below.close()
    root.close()
    root.close()
    assert open_files() == before


# --- links in the way -------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside/sub").mkdir(parents=True)
    (tmp_path / "outside/file").write_text("outside")
    return tmp_path / "outside"


OPERATIONS: list[Callable[[Root], object]] = [
    lambda root: root.find("way/file"),
    lambda root: root.list("way"),
    lambda root: list(root.read("way/file")),
    lambda root: root.read_link("way/file"),
    lambda root: root.write_file("way/new", [b"x"], mode=0o600, mtime_ns=0, durable=False),
    lambda root: root.make_directory("way/new"),
    lambda root: root.make_symlink("way/new", "x"),
    lambda root: root.set_metadata("way", mode=0o777, mtime_ns=0),
    lambda root: root.set_metadata("way/file", mode=0o777, mtime_ns=0),
    lambda root: root.swap("mine", root, "way/file", occupied=True),
    lambda root: root.swap("mine", root, "way/new", occupied=False),
    lambda root: root.swap("way/file", root, "stolen", occupied=False),
    lambda root: root.remove("way/file"),
    lambda root: list(root.read("way/file", 0, 1)),
    lambda root: root.open_below("way"),
    lambda root: root.open_below("way/sub"),
    lambda root: root.find("way/sub/../file"),
    lambda root: root.find("../outside/file"),
    lambda root: root.write_file("../new", [b"x"], mode=0o600, mtime_ns=0, durable=False),
    lambda root: root.write_file("/etc/new", [b"x"], mode=0o600, mtime_ns=0, durable=False),
    lambda root: root.list(".."),
    lambda root: root.make_directory("a//b"),
    lambda root: root.make_directory("a/./b"),
]


@pytest.mark.parametrize("operation", range(len(OPERATIONS)))
@pytest.mark.parametrize("target", ["absolute", "relative", "within"])
def test_no_operation_follows_a_link_or_leaves_the_root(root: Root, top: Path, outside: Path, operation: int, target: str) -> None:
    (top / "mine").write_text("mine")
    (top / "within/sub").mkdir(parents=True)
    (top / "within/file").write_text("within")
    (top / "way").symlink_to({"absolute": str(outside), "relative": "../outside", "within": "within"}[target])

    with pytest.raises(DestinationError):
        OPERATIONS[operation](root)

    assert sorted(path.name for path in outside.iterdir()) == ["file", "sub"]
    assert (outside / "file").read_text() == "outside"
    assert (top / "within/file").read_text() == "within"
    assert (top / "mine").read_text() == "mine"


def test_a_link_swapped_in_while_we_work_is_never_written_through(root: Root, top: Path, outside: Path) -> None:
    """Somebody changes a directory into a link and back, as fast as they can, while files are made in it."""
    (top / "d/sub").mkdir(parents=True)
    (top / "link").symlink_to(outside)
    stop = threading.Event()

    def attack() -> None:
        d, link, away = (str(top / name) for name in ("d", "link", "away"))
        while not stop.is_set():
            os.rename(d, away)
            os.rename(link, d)
            os.rename(d, link)
            os.rename(away, d)

    attacker = threading.Thread(target=attack)
    attacker.start()
    made = refused = 0
    try:
        for number in range(2000):
            try:
                other = LocalRoot(os.dup(root.names.fd), str(top), use_openat2=root.names.use_openat2)  # type: ignore[attr-defined]
                other.write_file(f"d/sub/{number}", [b"x"], mode=0o600, mtime_ns=0, durable=False)
                made += 1
            except DestinationError:
                refused += 1
            finally:
                other.close()
    finally:
        stop.set()
        attacker.join()
    assert made + refused == 2000
    assert list((outside / "sub").iterdir()) == []
    assert sorted(path.name for path in outside.iterdir()) == ["file", "sub"]


# --- swapping ---------------------------------------------------------------------------------------------------------


SWAPPING = ["exchange", "link and rename", "rename only"]
"""File systems that can exchange names, that can't, and that have no hard links either."""


def pretend(monkeypatch: pytest.MonkeyPatch, swapping: str) -> None:
    """Take from this kernel what such a file system lacks."""
    real = calls.rename

    def refuse(*args: object) -> None:
        if args[4]:
            raise OSError(errno.EINVAL, "Invalid argument")
        real(*args)  # type: ignore[arg-type]

    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if swapping != "exchange":
        monkeypatch.setattr(calls, "rename", refuse)
    if swapping == "rename only":
        monkeypatch.setattr(os, "link", no_link)


def plant(path: Path, kind: str, text: str) -> None:
    if kind == "file":
        path.write_text(text)
    elif kind == "link":
        path.symlink_to(text)
    elif kind == "directory":
        path.mkdir()
        (path / text).touch()


def text_of(path: Path) -> str | None:
    if path.is_symlink():
        return os.readlink(path)
    if path.is_dir():
        (only,) = path.iterdir()
        return only.name
    return path.read_text() if path.exists() else None


@pytest.mark.parametrize("old", ["nothing", "file", "link", "directory"])
@pytest.mark.parametrize("new", ["file", "link", "directory"])
@pytest.mark.parametrize("occupied", [True, False])
@pytest.mark.parametrize("swapping", SWAPPING)
def test_a_swap_gives_each_the_others_place(
    root: Root, top: Path, monkeypatch: pytest.MonkeyPatch, swapping: str, old: str, new: str, occupied: bool
) -> None:
    pretend(monkeypatch, swapping)
    (top / "staging").mkdir()
    plant(top / "staging/0", new, "new")
    plant(top / "target", old, "old")
    staging = root.open_below("staging")
    if old == "directory":
        root.find("target/x")  # leaves a directory open that changes its meaning

    staging.swap("0", root, "target", occupied=occupied)

    assert text_of(top / "target") == "new"
    assert text_of(top / "staging/0") == (None if old == "nothing" else "old")
    staging.settle("0", root, "target")
    assert text_of(top / "target") == "new"
    assert {path.name for path in (top / "staging").iterdir()} == ({"0"} if old != "nothing" else set())
    staging.close()


@pytest.mark.parametrize("old", ["file", "link", "directory"])
@pytest.mark.parametrize("new", ["file", "directory"])
@pytest.mark.parametrize("died_before", [1, 2, 3, 4])
@pytest.mark.parametrize("swapping", SWAPPING[1:])
def test_a_swap_that_died_is_settled_as_before_or_after(
    root: Root, top: Path, monkeypatch: pytest.MonkeyPatch, swapping: str, old: str, new: str, died_before: int
) -> None:
    pretend(monkeypatch, swapping)
    (top / "staging").mkdir()
    plant(top / "staging/0", new, "new")
    plant(top / "target", old, "old")
    staging = root.open_below("staging")
    left = died_before

    class DiedError(BaseException):
        pass

    def dying(real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: object, **kwargs: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise DiedError
            real(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", dying(os.rename))
        patched.setattr(os, "link", dying(os.link))
        with suppress(DiedError):
            staging.swap("0", root, "target", occupied=True)

    staging.settle("0", root, "target")

    assert (text_of(top / "target"), text_of(top / "staging/0")) in [("old", "new"), ("new", "old")]
    assert [path.name for path in (top / "staging").iterdir()] == ["0"]
    staging.close()


@pytest.mark.slow
def test_a_file_or_link_that_is_replaced_is_never_missing(root: Root, top: Path) -> None:
    (top / "target").write_text("0")
    stop, missing = threading.Event(), []

    def watch() -> None:
        while not stop.is_set():
            try:
                os.lstat(top / "target")
            except FileNotFoundError:
                missing.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for exchange in (True, False):
            one = LocalRoot(os.dup(root.names.fd), str(top), use_openat2=False, use_exchange=exchange)  # type: ignore[attr-defined]
            for _ in range(300):
                one.write_file("new", [b"x"], mode=0o600, mtime_ns=0, durable=False)
                one.swap("new", one, "target", occupied=True)
                one.remove("new")
            one.close()
    finally:
        stop.set()
        watcher.join()
    assert missing == []


# --- where destinations lie -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["relative", "", "/a/../b", "/a\0b", ".."])
def test_a_destination_is_an_absolute_path(filesystem: LocalFilesystem, path: str) -> None:
    with pytest.raises(DestinationError):
        filesystem.locate(path, is_directory=True)


def test_missing_parents_are_told_apart_from_what_stands(filesystem: LocalFilesystem, tmp_path: Path) -> None:
    located = filesystem.locate(f"{tmp_path}//a/./b/c/", is_directory=True)
    assert located == ResolvedPath(str(tmp_path), "a/b/c")
    assert located.path == f"{tmp_path}/a/b/c"
    assert filesystem.locate("/", is_directory=True) == ResolvedPath("/", "")
    assert filesystem.locate("/tmp", is_directory=True) == ResolvedPath("/", "tmp")


def test_a_trusted_link_on_the_way_is_followed_and_at_the_end_only_for_directories(filesystem: LocalFilesystem, tmp_path: Path) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "way").symlink_to("real/deep/..")
    (tmp_path / "absolute").symlink_to(tmp_path / "way/deep")
    assert filesystem.locate(f"{tmp_path}/way/x", is_directory=True) == ResolvedPath(f"{tmp_path}/real", "x")
    assert filesystem.locate(f"{tmp_path}/absolute/x/y", is_directory=False) == ResolvedPath(f"{tmp_path}/real/deep", "x/y")
    assert filesystem.locate(f"{tmp_path}/way", is_directory=True) == ResolvedPath(str(tmp_path), "real")
    assert filesystem.locate(f"{tmp_path}/way", is_directory=False) == ResolvedPath(str(tmp_path), "way")


@pytest.mark.parametrize("weakness", ["directory others may write in", "link of somebody else", "directory of somebody else"])
def test_a_link_that_others_could_have_set_is_refused(filesystem: LocalFilesystem, tmp_path: Path, weakness: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "way").symlink_to(tmp_path)
    if weakness == "directory others may write in":
        place.chmod(0o777)
    elif os.geteuid() != 0:
        missing("root, to give files away")
    elif weakness == "link of somebody else":
        os.lchown(place / "way", 65534, 65534)
    else:
        os.chown(place, 65534, 65534)
    with pytest.raises(DestinationError, match="others could have set"):
        filesystem.locate(f"{place}/way/x", is_directory=True)
    if weakness == "directory others may write in":
        place.chmod(0o1777)  # sticky: nobody else can change names of ours
        assert filesystem.locate(f"{place}/way/x", is_directory=True).path == f"{tmp_path}/x"


def test_links_without_end_and_files_on_the_way_are_refused(filesystem: LocalFilesystem, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to("nothing/../..")
    for path in ("a/x", "file/x", "dangling/x"):
        with pytest.raises(DestinationError):
            filesystem.locate(f"{tmp_path}/{path}", is_directory=True)


def test_a_root_is_opened_without_links(filesystem: LocalFilesystem, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    before = open_files()
    for name in ("link", "missing", "link/x"):
        with pytest.raises(DestinationError):
            filesystem.open_root(str(tmp_path / name))
    assert open_files() == before


# --- the seam ---------------------------------------------------------------------------------------------------------


def test_every_errno_becomes_an_error_of_ours() -> None:
    for number in [*errno.errorcode, 0, 9999]:
        found = seam.translate(OSError(number, "text") if number else OSError("bare"), "/a/b")
        assert isinstance(found, ExtractError | NoSpaceError), number
        assert type(found) is not ExtractError
        assert "/a/b" in found.message
        assert found.remedy


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EPERM, LockedTargetError),
        (errno.EBUSY, LockedTargetError),
        (errno.ETXTBSY, LockedTargetError),
        (errno.EAGAIN, LockedTargetError),
        (errno.ELOOP, DestinationError),
        (errno.ENOTDIR, DestinationError),
        (errno.EROFS, DestinationError),
        (errno.EIO, DestinationError),
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
    ],
)
def test_an_errno_means(number: int, expected: type[SluiceError]) -> None:
    assert type(seam.translate(OSError(number, os.strerror(number)), "x")) is expected


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "isn't read-only"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.EIO, "kernel's log"),
        (errno.ESTALE, "mount it anew"),
        (errno.ENOTCONN, "mount it anew"),
        (errno.EFBIG, "can hold files of that size"),
        (errno.EXDEV, "overlay"),
    ],
)
def test_a_remedy_is_about_its_trouble_and_harms_nothing(number: int, word: str) -> None:
    remedy = seam.translate(OSError(number, os.strerror(number)), "x").remedy
    assert word in remedy
    assert not [harm for harm in ("remount", "rm ", "chmod 777", "as root") if harm in remedy]


def test_denied_to_root_means_locked_and_to_others_no_right(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = OSError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert type(seam.translate(denied, "x")) is LockedTargetError
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert type(seam.translate(denied, "x")) is DestinationError


FAILING = "stat open mkdir symlink scandir unlink fsync chmod chown listxattr setxattr read write utime"


@pytest.mark.parametrize("name", FAILING.split())
def test_no_oserror_passes_the_seam(root: Root, top: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (top / "file").write_text("x")
    (top / "d").mkdir()
    (top / "link").symlink_to("x")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    everything: list[Callable[[], object]] = [
        lambda: root.find("file"),
        lambda: root.list("d"),
        lambda: list(root.read("file")),
        lambda: list(root.read("file", 0, 1)),
        lambda: root.read_link("link"),
        lambda: root.write_file("new", [b"x"], mode=0o600, mtime_ns=0, durable=True),
        lambda: root.make_directory("new-d"),
        lambda: root.make_symlink("new-l", "x"),
        lambda: root.set_metadata("file", mode=0o600, mtime_ns=0, owner=(os.geteuid(), os.getegid()), xattrs=(("user.x", b"x"),)),
        lambda: root.xattrs("file"),
        lambda: root.sync_directories(["d"]),
        lambda: root.sync_filesystem(),
        lambda: root.mounts(),
        lambda: root.free(),
        lambda: root.free_files(),
        lambda: root.limits(),
        lambda: root.locked(["file"], replaced=True),
        lambda: root.remove("file"),
    ]
    causes = []
    with monkeypatch.context() as patched:
        patched.setattr(os, name, fail)
        for each in everything:
            try:
                each()
            except SluiceError as error:
                causes.append(error.__cause__)
    assert causes
    assert all(isinstance(cause, OSError) for cause in causes)
