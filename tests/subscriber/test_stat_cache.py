"""What was read back isn't read again while nobody touches it; whatever is in doubt is read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from infra.filesystem.local.root import LocalRoot
from sluice.model.manifest import Destination, Entry, EntryKind
from sluice.model.order import Outcome
from sluice.ports import PathStat
from sluice.subscriber.held.stat_cache import MARGIN_NS, UNKNOWN, Row, StatCache, StatRecorder, parse_stat_cache, stat_cache_bytes
from tests.end_to_end.deltas import Completing, delta
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, make, tree_of

MANIFEST = blake3(b"manifest").hexdigest()


class Scene:
    """1.1 with 20 files is extracted, by a clock that runs ahead: what was written had been written for long."""

    def __init__(self, directory: Path, *, ahead_ns: int = 10 * MARGIN_NS, **options: object) -> None:
        self.source, self.target = directory / "source", directory / "zone"
        (self.source / "sub").mkdir(parents=True)
        for number in range(20):
            (self.source / f"sub/{number}").write_text(f"content {number}")
        self.options = options
        self.host = Host(directory)
        self.host.context = replace(self.host.context, clock_ns=lambda: time.time_ns() + ahead_ns)
        self.first = make("1.1", self.source, **options)  # type: ignore[arg-type]
        self.host.install(self.first, self.target)
        (self.source / "sub/7").write_text("changed 7")
        self.whole = make("1.2", self.source, **options)  # type: ignore[arg-type]
        self.second = delta(self.whole, self.first)
        self.lacked: list[str] = []

    def install(self) -> None:
        assert Completing(self.host).receive(self.second, self.first) in ([], self.lacked)
        assert self.host.extract(self.second, self.target).outcome is Outcome.INSTALLED
        assert tree_of(self.target) == tree_of(self.source)


class Reads:
    """Names of files below the destination that were opened for reading."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def of(self, scene: Scene) -> set[str]:
        return {name.removeprefix("zone/") for name in self.names if name.startswith("zone/")}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    real, found = LocalRoot.read, Reads()

    def read(root: LocalRoot, path: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        found.names.append(path)
        return real(root, path, offset, length)

    monkeypatch.setattr(LocalRoot, "read", read)
    return found


ALL = {f"sub/{number}" for number in range(20)}


def test_one_change_reads_one_file(tmp_path: Path, reads: Reads) -> None:
    scene = Scene(tmp_path)
    reads.names.clear()
    scene.install()
    assert reads.of(scene) == {"sub/7"}

    (scene.source / "sub/8").write_text("changed 8")
    third = delta(make("1.3", scene.source), scene.whole)
    reads.names.clear()
    assert Completing(scene.host).receive(third) == []
    assert scene.host.extract(third, scene.target).outcome is Outcome.INSTALLED
    assert reads.of(scene) == {"sub/8"}
    assert tree_of(scene.target) == tree_of(scene.source)


def test_an_edit_that_keeps_size_and_time_is_found(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    file = scene.target / "sub/3"
    before = file.stat()
    file.write_text("CONTENT 3")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    scene.lacked = [blake3(b"content 3").hexdigest()]
    scene.install()


def test_another_file_of_the_same_size_and_time_is_found(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    file = scene.target / "sub/3"
    before = file.stat()
    (scene.target / "x").write_text("CONTENT 3")
    os.utime(scene.target / "x", ns=(before.st_atime_ns, before.st_mtime_ns))
    (scene.target / "x").rename(file)
    scene.lacked = [blake3(b"content 3").hexdigest()]
    scene.install()


def test_what_was_written_just_before_it_was_read_is_read_again(tmp_path: Path, reads: Reads) -> None:
    scene = Scene(tmp_path, ahead_ns=0)
    reads.names.clear()
    scene.install()
    assert reads.of(scene) == ALL


@pytest.mark.parametrize("options", [{"verify": True}, {"copy": "all"}])
def test_who_asks_for_more_gets_it(tmp_path: Path, reads: Reads, options: dict[str, object]) -> None:
    scene = Scene(tmp_path, **options)
    reads.names.clear()
    scene.install()
    assert reads.of(scene) == ALL


@pytest.mark.parametrize("harm", ["missing", "cut", "flipped", "empty", "of another manifest"])
def test_a_memory_that_does_not_fit_is_none(tmp_path: Path, reads: Reads, harm: str) -> None:
    scene = Scene(tmp_path)
    path = scene.host.held.stat_cache_path
    data = path.read_bytes()
    harmed = {
        "cut": data[:-24],
        "flipped": data[:100] + bytes([data[100] ^ 1]) + data[101:],
        "empty": b"",
        "of another manifest": stat_cache_bytes(MANIFEST, [Row(1, 2, 3)] * 20),
    }
    path.unlink()
    if harm in harmed:
        path.write_bytes(harmed[harm])
    reads.names.clear()
    scene.install()
    assert reads.of(scene) == ALL


def test_a_failed_extraction_leaves_what_fits_nothing_else(tmp_path: Path, reads: Reads) -> None:
    scene = Scene(tmp_path)
    made: Made = make("1.2", scene.source, post=())
    status = scene.host.held.status()
    assert status.extracted is not None
    rows = parse_stat_cache(scene.host.held.stat_cache_path.read_bytes(), status.extracted.manifest)
    assert len(rows) == 20
    assert UNKNOWN not in rows
    assert parse_stat_cache(scene.host.held.stat_cache_path.read_bytes(), blake3(made.manifest_bytes).hexdigest()) == ()


def found(ctime_ns: int) -> PathStat:
    return PathStat("x", EntryKind.FILE, 0o644, 5, 1, 2, 3, 1, True, True, ctime_ns, (0, 0))


def test_only_what_had_been_left_alone_for_a_while_is_noted() -> None:
    now = 100 * MARGIN_NS
    noted = StatRecorder(lambda: now)
    noted.record_before_read(found(now - MARGIN_NS - 1))
    noted.record_before_read(found(now - MARGIN_NS))
    noted.record_before_read(found(now + 5))
    noted.record_before_read(None)
    noted.record_unchanged(found(7), found(7))
    noted.record_unchanged(found(8), found(7))
    assert noted.rows == [Row(2, 3, now - MARGIN_NS - 1), UNKNOWN, UNKNOWN, UNKNOWN, Row(2, 3, 7), UNKNOWN]
    assert parse_stat_cache(stat_cache_bytes(MANIFEST, noted.rows), MANIFEST) == noted.rows


def test_a_destination_that_leads_elsewhere_by_now_gives_its_rows_to_no_other() -> None:
    tops = [(f"/{name}", Destination(name, False, (Entry(EntryKind.FILE, "", 0o644, 5, 1, name * 64),))) for name in "ab"]
    rows = [Row(2, 3, 7), Row(2, 4, 7)]
    assert StatCache(rows, tops).digest("/a", found(7)) == "a" * 64
    assert StatCache(rows, tops[1:]).digest("/b", found(7)) == ""


def test_an_unchanged_file_that_a_post_action_exchanges_under_its_size_and_time_is_not_sworn_to(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.host.receive(scene.whole)
    place = scene.target / "sub/3"
    run = f"touch -r {place} {tmp_path}/time; printf 'CONTENT 3' >{place}; touch -r {tmp_path}/time {place}"
    receipt = scene.host.extract(scene.whole, scene.target, post=[shell(run)])
    assert receipt.failure is not None
    assert receipt.failure.code == "ReadBackError"
