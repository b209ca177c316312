"""File sources: everything of a tree is found, nothing is read twice for nothing, and no change is missed."""

from __future__ import annotations

import os
import random
import shutil
import socket
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from blake3 import blake3

from infra.sources import reading
from infra.sources.beneath import Opener
from infra.sources.files import WALKS, FilesSource
from sluice.errors import CaseCollisionError, NameImpossibleError, NoSpaceError, SourceChangedError, SourceError, SourceMissingError
from sluice.model.manifest import Entry, EntryKind
from sluice.model.site import Distribution, DistributionType, FileSource
from sluice.ports import Scan

NOBODY = 65534
LATER = 10**11
"""Nanoseconds by which a scan's clock is ahead where nothing it sees may be too young to be trusted."""


class Sink:
    """Keeps contents in memory."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.expected = 0

    def expect(self, size: int) -> None:
        self.expected = size

    def holds(self, digest: str) -> bool:
        return digest in self.contents

    def put(self, digest: str, size: int, pieces: Iterable[bytes]) -> None:
        data = b"".join(pieces)
        assert blake3(data).hexdigest() == digest
        assert len(data) == size
        self.contents[digest] = data


class Tree:
    """A source directory and the scans of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sink = Sink()
        self.memory = b""
        path.mkdir()

    def write(self, name: str, data: bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def scan(self, *, later: bool = True, entries: bool = False, progress: Any = None, **changes: Any) -> Scan:
        source = FilesSource(now_ns=lambda: time.time_ns() + (LATER if later else 0))
        given = distribution([FileSource(PurePosixPath(self.path), "{{ DEST }}", **changes)])
        scan = source.scan(given, self.memory, sink=self.sink, entries=entries, progress=progress)
        self.memory = scan.memory
        return scan

    def entries(self, **options: Any) -> dict[str, Entry]:
        scan = self.scan(entries=True, **options)
        assert scan.destinations is not None
        return {entry.path: entry for entry in scan.destinations[0].entries}


def distribution(sources: Sequence[FileSource], *, strict: bool = False) -> Distribution:
    return Distribution("zone", "hq", DistributionType.FILE, files=tuple(sources), case_sensitive_only=strict)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "src")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files opened for reading."""
    found: list[str] = []
    real = Opener.open

    def counting(self: Opener, root: int, path: str, flags: int) -> int:
        if not flags & os.O_DIRECTORY:
            found.append(path)
        return real(self, root, path, flags)

    monkeypatch.setattr(Opener, "open", counting)
    return found


def test_everything_of_a_tree_is_found(tree: Tree) -> None:
    tree.write("b/one", b"1").chmod(0o4750)
    tree.write("b-c", b"")
    (tree.path / "empty").mkdir(mode=0o700)
    (tree.path / "link").symlink_to("b/../nowhere")
    (tree.path / "b" / "to-directory").symlink_to("..")
    os.utime(tree.path / "b" / "one", ns=(1, 1_600_000_000_123_456_789))
    scan = tree.scan()
    assert scan.destinations is not None
    (destination,) = scan.destinations
    assert (destination.template, destination.is_directory) == ("{{ DEST }}", True)
    assert [(e.kind.value, e.path) for e in destination.entries] == [
        ("d", ""), ("d", "b"), ("f", "b-c"), ("f", "b/one"), ("l", "b/to-directory"), ("d", "empty"), ("l", "link"),
    ]  # fmt: skip
    one = destination.entries[3]
    assert one == Entry(EntryKind.FILE, "b/one", 0o4750, 1_600_000_000_123_456_789, 1, blake3(b"1").hexdigest())
    assert destination.entries[5].mode == 0o700
    assert destination.entries[6].target == "b/../nowhere"
    assert set(tree.sink.contents.values()) == {b"", b"1"}
    assert (scan.files, scan.directories, scan.symlinks, scan.size, scan.files_read) == (2, 3, 2, 1, 2)


def test_a_single_file_and_a_link_to_a_source_are_sources(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "one").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file-link").symlink_to("real/one")
    names = ["real/one", "link", "file-link"]
    given = distribution([FileSource(PurePosixPath(tmp_path, name), name) for name in names])
    sink = Sink()
    scan = FilesSource().scan(given, b"", sink=sink, entries=False)
    assert scan.destinations is not None
    assert [(d.template, d.is_directory, [e.path for e in d.entries]) for d in scan.destinations] == [
        ("real/one", False, [""]),
        ("link", True, ["", "one"]),
        ("file-link", False, [""]),
    ]
    later = FilesSource(now_ns=lambda: time.time_ns() + LATER)
    scan = later.scan(given, scan.memory, sink=sink, entries=False)
    assert later.scan(given, scan.memory, sink=sink, entries=False).destinations is None


def test_an_unchanged_tree_is_not_read(tree: Tree, opened: list[str]) -> None:
    for number in range(50):
        tree.write(f"d{number % 7}/f{number}", b"%d" % number)
    opened.clear()
    tree.scan()
    assert len(opened) == 50
    opened.clear()
    scan = tree.scan()
    assert opened == []
    assert scan.destinations is None
    assert (scan.files, scan.directories, scan.files_read) == (50, 8, 0)
    assert len(tree.entries()) == 58
    assert opened == []


def test_only_what_changed_is_read(tree: Tree, opened: list[str]) -> None:
    for number in range(20):
        tree.write(f"f{number}", b"%d" % number)
    tree.scan()
    tree.write("f3", b"three")
    tree.write("new", b"new")
    (tree.path / "f4").chmod(0o600)
    (tree.path / "f5").unlink()
    opened.clear()
    scan = tree.scan()
    assert sorted(opened) == ["f3", "f4", "new"], "a changed mode changes the ctime, which is as good as changed content"
    assert scan.files == 20


def test_an_edit_with_the_old_size_and_time_is_noticed(tree: Tree) -> None:
    path = tree.write("f", b"old")
    os.utime(path, ns=(5, 1_600_000_000_000_000_000))
    before = tree.entries()["f"]
    with open(path, "r+b") as file:
        file.write(b"new")
    os.utime(path, ns=(5, 1_600_000_000_000_000_000))
    after = tree.entries()["f"]
    assert (before.size, before.mtime_ns) == (after.size, after.mtime_ns)
    assert after.digest == blake3(b"new").hexdigest()


def test_what_is_as_young_as_the_scan_is_read_again_once(tree: Tree, opened: list[str]) -> None:
    tree.write("f", b"x")
    (tree.path / "l").symlink_to("f")
    tree.scan(later=False)
    opened.clear()
    assert tree.scan(later=False).destinations is not None
    assert opened == ["f"]
    assert tree.scan(later=True).destinations is not None
    opened.clear()
    assert tree.scan(later=True).destinations is None
    assert opened == []


def test_a_content_the_sink_lost_is_read_again(tree: Tree) -> None:
    tree.write("f", b"x")
    tree.scan()
    tree.sink.contents.clear()
    tree.scan(entries=True)
    assert list(tree.sink.contents.values()) == [b"x"]


def test_files_of_another_directory_with_the_same_inode_are_known(tree: Tree) -> None:
    tree.write("one/f", b"x")
    tree.scan()
    (tree.path / "one").rename(tree.path / "two")
    scan = tree.scan()
    assert scan.files_read == 0
    assert sorted(tree.entries()) == ["", "two", "two/f"]


@pytest.mark.parametrize("damage", ["cut", "flip", "none", "text"])
def test_a_memory_that_is_damaged_is_no_memory(tree: Tree, damage: str) -> None:
    tree.write("f", b"x")
    whole = tree.scan().memory
    chance = random.Random(7)
    for _ in range(50):
        at = chance.randrange(len(whole))
        flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        tree.memory = {"cut": whole[:at], "flip": flipped, "none": b"", "text": b"SLUICES1 and more"}[damage]
        assert tree.scan().files_read == 1


def test_another_question_has_another_answer(tree: Tree) -> None:
    tree.write("a.tmp", b"x")
    tree.write("b", b"x")
    assert sorted(tree.entries()) == ["", "a.tmp", "b"]
    scan = tree.scan(exclude=("*.tmp",))
    assert scan.destinations is not None
    assert [entry.path for entry in scan.destinations[0].entries] == ["", "b"]
    assert tree.entries(mode="0640")["b"].mode == 0o640


@pytest.mark.parametrize(
    ("exclude", "gone"),
    [
        (("*.tmp",), {"a.tmp", "d/b.tmp", "d/e/c.tmp"}),
        (("d",), {"d", "d/b.tmp", "d/e", "d/e/c.tmp", "d/e/f"}),
        (("e/",), {"d/e", "d/e/c.tmp", "d/e/f"}),
        (("f/",), set()),
        (("/a.tmp",), {"a.tmp"}),
        (("d/*",), {"d/b.tmp", "d/e", "d/e/c.tmp", "d/e/f"}),
        (("d/**",), {"d/b.tmp", "d/e", "d/e/c.tmp", "d/e/f"}),
        (("d/**/*.tmp",), {"d/b.tmp", "d/e/c.tmp"}),
        (("**/c.tmp",), {"d/e/c.tmp"}),
        (("*.tmp", "!c.tmp"), {"a.tmp", "d/b.tmp"}),
        (("e/", "!c.tmp"), {"d/e", "d/e/c.tmp", "d/e/f"}),
        (("e/*", "!c.tmp"), set()),  # ``e/*`` is anchored at the source
        (("d/e/*", "!c.tmp"), {"d/e/f"}),
    ],
)
def test_excludes_are_those_of_a_gitignore(tree: Tree, exclude: tuple[str, ...], gone: set[str]) -> None:
    for name in ("a.tmp", "d/b.tmp", "d/e/c.tmp", "d/e/f"):
        tree.write(name, b"x")
    everything = {"", "a.tmp", "d", "d/b.tmp", "d/e", "d/e/c.tmp", "d/e/f"}
    assert tree.entries(exclude=exclude).keys() == everything - gone


def test_excludes_that_match_nothing_are_told_whether_anything_changed_or_not(tree: Tree) -> None:
    tree.write("a.tmp", b"x")
    for _ in range(2):
        scan = tree.scan(exclude=("*.tmp", "secret", "a.tmp", "!b.tmp", "a.tmp/"))
        assert scan.unmatched == tuple((str(tree.path), each) for each in ("secret", "!b.tmp", "a.tmp/"))
    assert scan.destinations is None
    tree.write("secret", b"x")
    assert tree.scan(exclude=("*.tmp", "secret")).unmatched == ()


def test_an_exclude_of_a_single_file_matches_nothing(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x")
    given = distribution([FileSource(PurePosixPath(tmp_path / "one"), "/opt/one", exclude=("one",))])
    assert FilesSource().scan(given, b"", sink=Sink(), entries=True).unmatched == ((f"{tmp_path}/one", "one"),)


def test_an_exclude_that_can_match_nothing_is_refused(tree: Tree) -> None:
    with pytest.raises(SourceError, match=r"exclude: 'a/\[z-a\]': the range z-a is empty"):
        tree.scan(exclude=("*.tmp", "a/[z-a]"))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_is_excluded_in_every_normal_form(tree: Tree, form: Any) -> None:
    tree.write(unicodedata.normalize(form, "geheim/schlüssel"), b"x")
    for other in ("NFC", "NFD"):
        assert "geheim/schlüssel" not in tree.entries(exclude=(unicodedata.normalize(other, "schlüssel"),))


@pytest.mark.parametrize("kind", ["socket", "fifo"])
def test_what_is_no_file_is_refused_by_name_unless_excluded(tree: Tree, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.path / "d").mkdir()
    monkeypatch.chdir(tree.path)  # names of sockets are short
    if kind == "fifo":
        os.mkfifo("d/odd")
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("d/odd")
    with pytest.raises(SourceError, match=r"/d/odd is a (socket|named pipe)"):
        tree.scan()
    assert tree.scan(exclude=("odd",)).files == 0


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    given = distribution([FileSource(PurePosixPath(tmp_path, "no"), "x")])
    with pytest.raises(SourceMissingError, match="/no doesn't exist"):
        FilesSource().scan(given, b"", sink=Sink(), entries=False)


def test_an_unreadable_file_is_named() -> None:
    account = os.geteuid()
    with tempfile.TemporaryDirectory() as place:  # not below tmp_path, which only this account may enter
        Path(place).chmod(0o755)
        tree = Tree(Path(place) / "src")
        tree.write("secret", b"x").chmod(0)
        if account == 0:
            os.seteuid(NOBODY)  # root may read everything
        try:
            with pytest.raises(SourceMissingError, match="/secret can't be read"):
                tree.scan()
        finally:
            os.seteuid(account)


def test_names_are_checked_before_anything_is_read(tree: Tree, opened: list[str]) -> None:
    tree.write("README", b"1")
    tree.write("Readme", b"2")
    opened.clear()
    with pytest.raises(CaseCollisionError, match=r"/README' and .*/Readme'|/Readme' and .*/README'"):
        tree.scan()
    assert opened == []
    given = distribution([FileSource(PurePosixPath(tree.path), "x")], strict=True)
    assert FilesSource().scan(given, b"", sink=tree.sink, entries=False).files == 2


def test_a_name_that_is_no_utf8_is_refused_and_nfd_becomes_nfc(tree: Tree) -> None:
    tree.write("cafe\u0301/x", b"1")
    assert sorted(tree.entries()) == ["", "caf\u00e9", "caf\u00e9/x"]
    (tree.path / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    with pytest.raises(NameImpossibleError, match=r"caf\\xe9: the name isn.t UTF-8"):
        tree.scan()


def test_all_names_that_cant_be_distributed_are_named_at_once(tree: Tree) -> None:
    for number in range(20):
        tree.write(f"aux/nul.{number}", b"1")
    tree.write("tab\there", b"1")
    with pytest.raises(NameImpossibleError) as caught:
        tree.scan()
    message = caught.value.message
    assert message.startswith("22 names can't be distributed: ")
    assert message.endswith("; and 2 more")
    assert message.count(": the name can't exist on Windows") == 20
    assert r"/tab\there: " in message
    assert "`platforms: [linux]`" in caught.value.remedy


def test_one_name_that_linux_alone_does_not_let_in_hides_no_remedy_of_the_others(tree: Tree) -> None:
    tree.write('quo"te', b"1")
    (tree.path / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    with pytest.raises(NameImpossibleError, match="2 names") as caught:
        tree.scan()
    assert caught.value.remedy.startswith("rename it, or exclude it, or set `platforms: [linux]`")
    assert caught.value.remedy.endswith("which lets in those that only Windows can't have")


def test_a_link_text_that_is_no_utf8_is_refused(tree: Tree) -> None:
    os.symlink(b"caf\xe9", os.fsencode(tree.path / "l"))
    with pytest.raises(NameImpossibleError, match="text isn't UTF-8"):
        tree.scan()


def test_large_files_are_read_in_pieces(tree: Tree) -> None:
    data = random.Random(1).randbytes(2 * reading.PIECE + 17)
    tree.write("large", data)
    tree.write("exact", data[: reading.PIECE])
    seen: list[tuple[int, int]] = []
    entries = tree.entries(progress=lambda done, total: seen.append((done, total)))
    assert tree.sink.contents[entries["large"].digest] == data
    assert tree.sink.contents[entries["exact"].digest] == data[: reading.PIECE]
    assert tree.sink.expected == len(data) + reading.PIECE
    assert seen[-1] == (tree.sink.expected, tree.sink.expected)


@pytest.mark.parametrize("size", [100, reading.PIECE + 100])
@pytest.mark.parametrize("times", [1, 99])
def test_a_file_that_changes_while_it_is_read_is_read_again(tree: Tree, monkeypatch: pytest.MonkeyPatch, size: int, times: int) -> None:
    path = tree.write("f", bytes(size))
    real, left = os.read, iter(range(times))

    def changing(file: int, most: int) -> bytes:
        data = real(file, most)
        if data and next(left, None) is not None:
            with open(path, "ab") as more:
                more.write(b"x")
        return data

    monkeypatch.setattr(os, "read", changing)
    if times == 1:
        assert tree.entries()["f"].digest == blake3(bytes(size) + b"x").hexdigest()
        assert tree.entries()["f"].size == size + 1
    else:
        with pytest.raises(SourceChangedError, match="/f changes while it is read"):
            tree.scan()
        assert tree.sink.contents == {}


def test_a_large_file_that_changes_between_its_two_readings_is_read_again(tree: Tree) -> None:
    path = tree.write("f", bytes(reading.PIECE + 5))
    put, changed = tree.sink.put, iter([True])

    def changing(digest: str, size: int, pieces: Iterable[bytes]) -> None:
        if next(changed, False):
            path.write_bytes(b"y" * (reading.PIECE + 5))
        put(digest, size, pieces)

    tree.sink.put = changing  # type: ignore[method-assign]
    assert tree.entries()["f"].digest == blake3(b"y" * (reading.PIECE + 5)).hexdigest()


def test_a_file_that_goes_away_while_others_are_read_is_not_distributed(tree: Tree) -> None:
    tree.write("a", b"x")
    path = tree.write("b", b"y")
    tree.sink.expect = lambda size: path.unlink(missing_ok=True)  # type: ignore[method-assign]
    assert tree.entries().keys() == {"", "a"}


def test_a_file_that_is_renamed_while_others_are_read_is_found_under_its_new_name(tree: Tree) -> None:
    path = tree.write("d/b", b"y")
    once = iter([True])
    tree.sink.expect = lambda size: next(once, None) and path.rename(tree.path / "a")  # type: ignore[method-assign]
    assert tree.entries().keys() == {"", "a", "d"}


def test_a_directory_that_goes_away_while_the_source_is_walked_is_not_distributed(tree: Tree) -> None:
    tree.write("d/e/f", b"x")
    tree.write("g", b"y")

    class Removing(Opener):
        def open(self, root: int, path: str, flags: int) -> int:
            if path == "d/e/":
                shutil.rmtree(tree.path / "d/e", ignore_errors=True)
            return super().open(root, path, flags)

    source = FilesSource(opener=Removing())
    given = distribution([FileSource(PurePosixPath(tree.path), "{{ DEST }}")])
    scan = source.scan(given, b"", sink=tree.sink, entries=True)
    assert scan.destinations is not None
    assert [entry.path for entry in scan.destinations[0].entries] == ["", "d", "g"]


def test_a_name_that_goes_away_before_its_stat_is_not_distributed(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write("a", b"x")
    real = os.scandir

    class Listed:
        """The names of a directory as they were listed, with one that went away since."""

        def __init__(self, directory: int) -> None:
            (tree.path / "gone").touch()
            self.items = list(real(directory))
            (tree.path / "gone").unlink()

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.items

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr("infra.sources.walk.os.scandir", Listed)
    assert tree.entries().keys() == {"", "a"}


def test_a_source_in_which_files_come_and_go_at_every_walk_is_refused_with_one_of_their_names(tree: Tree) -> None:
    tree.write("a", b"x")
    files = iter([tree.write(f"spool/{number}", b"y") for number in range(WALKS + 1)])
    tree.sink.expect = lambda size: next(files).unlink()  # type: ignore[method-assign]
    with pytest.raises(SourceChangedError, match=r"/src/spool/\d vanished .* in each of 5 walks") as refusal:
        tree.scan()
    assert refusal.value.remedy == "exclude it, or build again when nothing changes the source"


@pytest.mark.parametrize("year", [2263, 5200, 1600])
@pytest.mark.parametrize("name", ["d/f", "d"])
def test_a_time_that_no_manifest_has_is_refused_with_its_path(year: int, name: str) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:  # a file system that has every time
        tree = Tree(Path(memory) / "src")
        tree.write("d/f", b"x")
        os.utime(tree.path / name, (0, (year - 1970) * 31_556_952))
        with pytest.raises(
            SourceError, match=rf"modified before 1677 or after 2262, .*: .*/src/{name} \(the year {year}\): give"
        ) as refusal:
            tree.scan()
        assert refusal.value.remedy == "give each of them a true time with touch, or exclude it"
        assert "d/f" not in tree.entries(exclude=(name,))
        os.utime(tree.path / name)
        assert "d/f" in tree.entries()


def test_every_path_with_an_impossible_time_is_told_at_once() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        tree = Tree(Path(memory) / "src")
        for number in range(23):
            os.utime(tree.write(f"{number:02}", b"x"), (0, 2**40))
        with pytest.raises(SourceError, match=r"/src/00 .*/src/19 \(the year \d+\); and 3 more: give"):
            tree.scan()


def test_times_before_the_epoch_and_those_of_links_do_not_matter(tree: Tree) -> None:
    os.utime(tree.write("f", b"x"), ns=(0, -(10**18) - 7))
    (tree.path / "l").symlink_to("f")
    os.utime(tree.path / "l", (0, 2**33), follow_symlinks=False)
    assert tree.entries()["f"].mtime_ns == -(10**18) - 7
    assert tree.scan().destinations is None  # known by its stat


def test_what_the_sink_raises_passes_through(tree: Tree) -> None:
    def full(size: int) -> None:
        raise NoSpaceError("full")

    tree.write("a", b"x")
    tree.sink.expect = full  # type: ignore[method-assign]
    with pytest.raises(NoSpaceError):
        tree.scan()


def test_deep_and_wide_trees_are_walked_with_few_descriptors(tree: Tree) -> None:
    deep = "d/" * 300
    tree.write(deep + "f", b"x")
    for number in range(100):
        tree.write(f"w{number}/f", b"x")
    assert len(tree.entries()) == 1 + 300 + 1 + 200


@pytest.mark.parametrize("use_openat2", [True, False])
@pytest.mark.parametrize("secret", ["a file", "a link"])
def test_a_directory_that_is_swapped_for_a_link_between_walk_and_read_leads_nowhere(tmp_path: Path, use_openat2: bool, secret: str) -> None:
    tree = Tree(tmp_path / "source")
    tree.write("below/data", b"public")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if secret == "a file":
        (elsewhere / "data").write_bytes(b"secret")
    else:
        (tree.path / "below/data").unlink()
        (tree.path / "below/data").symlink_to("public")
        (elsewhere / "data").symlink_to("secret")

    class Swapping(Opener):
        """Somebody swaps as soon as the first walk is over; the next one finds the link, which is kept as text."""

        def open(self, root: int, path: str, flags: int) -> int:
            if path in ("below/data", "below"):
                (tree.path / "below").rename(tmp_path / "gone")
                (tree.path / "below").symlink_to(elsewhere)
            return super().open(root, path, flags)

    source = FilesSource(opener=Swapping(use_openat2=use_openat2))
    scan = source.scan(distribution([FileSource(PurePosixPath(tree.path), "{{ DEST }}")]), b"", sink=tree.sink, entries=True)
    assert scan.destinations is not None
    assert [(entry.path, entry.target) for entry in scan.destinations[0].entries] == [("", ""), ("below", str(elsewhere))]
    assert b"secret" not in tree.sink.contents.values()
