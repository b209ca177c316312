"""Building: a revision for each change and none without one; killed anywhere and repeated, it ends as if it had not been killed."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from infra.sources.files import FilesSource
from infra.store.files import FileStore
from infra.store.packs import Packs
from sluice.distributor.build.build import BuildResult, build
from sluice.errors import CaseCollisionError, NoSpaceError, RemovalsError, SourceError, StoreError, StoreLockedError
from sluice.formats.manifest.document import parse_manifest
from sluice.formats.ted.file import open_ted, verify_payload
from sluice.model.action import Script, ScriptType
from sluice.model.manifest import Manifest
from sluice.model.removals import RemovalLimit
from sluice.model.revision import RevisionNumber
from sluice.model.site import Copy, Distribution, DistributionType, FileSource, Synchronize
from tests.ports.teds import decoded
from tests.soak.steps import killed_at

LATER = 10**11
"""Nanoseconds by which a scan's clock is ahead where nothing it sees may be too young to be trusted."""


class Site:
    """One Distribution of a source directory, and its Distributor's store."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        self.source = directory / "src"
        self.source.mkdir(parents=True)
        files = (FileSource(PurePosixPath(self.source), "{{ DEST }}/zone"),)
        self.distribution = Distribution("zone", "hq", DistributionType.FILE, files=files, **options)
        self.store = FileStore(directory / "hq")

    def write(self, name: str, data: bytes) -> None:
        path = self.source / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        times = (1_600_000_000 * 10**9, 1_600_000_000 * 10**9 + len(data))
        os.utime(path, ns=times)
        os.utime(path.parent, ns=times)

    def build(self, **options: Any) -> BuildResult:
        source = FilesSource(now_ns=lambda: time.time_ns() + LATER)
        return build(self.distribution, store=FileStore(self.directory / "hq"), source=source, **options)

    def change(self, **fields: Any) -> None:
        self.distribution = replace(self.distribution, **fields)

    def kept(self) -> list[str]:
        return [str(revision) for revision in self.store.revisions("zone")]

    def teds(self, revision: str) -> list[str]:
        return [ted.name for ted in self.store.teds("zone", RevisionNumber.parse(revision))]

    def verify(self) -> None:
        """Every revision that can be seen is whole, down to its contents."""
        for revision in self.store.revisions("zone"):
            manifest = self.store.manifest("zone", revision)
            for ted in self.store.teds("zone", revision):
                if ted.base is None:
                    decoded(ted, manifest)
                elif ted.base in self.store.revisions("zone"):
                    base = self.store.manifest("zone", ted.base)
                    decoded(ted, manifest, base, self.contents(base))
                else:
                    verify_payload(ted.path)

    def contents(self, manifest: Manifest) -> dict[str, bytes]:
        """What the packs have, verified."""
        self.store.contents.refresh()
        with ExitStack() as stack:
            packs = Packs(self.store.contents, stack)
            return {digest: packs.blob(digest, size).read(0, size) for digest, size in manifest.contents()}

    def snapshot(self) -> dict[str, bytes]:
        """Every file of the store but the scan's memory, which has inodes in it."""
        root = self.store.root
        found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "scan"}
        assert not [name for name in found if ".tmp-" in name or name.endswith("unfinished")]
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def test_the_first_build_is_a_baseline_for_everybody(site: Site) -> None:
    site.write("a", b"one")
    site.write("d/b", b"two" * 100)
    result = site.build()
    assert (str(result.revision), result.previous, result.changed) == ("1.1", None, True)
    assert (result.files, result.directories, result.symlinks, result.bytes) == (2, 2, 0, 303)
    assert (result.contents_new, result.bytes_new, result.files_read) == (2, 303, 2)
    assert (result.added, result.modified, result.removed) == (4, 0, 0)
    (ted,) = site.store.teds("zone", RevisionNumber(1, 1))
    assert ted.name == "distfile.ted"
    manifest = site.store.manifest("zone", RevisionNumber(1, 1))
    assert [entry.path for entry in manifest.destinations[0].entries] == ["", "a", "d", "d/b"]
    site.verify()


def test_without_a_change_there_is_no_revision(site: Site) -> None:
    site.write("a", b"one")
    site.build()
    before = site.snapshot()
    for _ in range(2):
        result = site.build()
        assert (result.revision, str(result.previous), result.changed) == (None, "1.1", False)
        assert (result.files, result.bytes, result.files_read, result.added) == (1, 3, 0, 0)
    assert site.snapshot() == before


def test_without_a_change_there_is_no_revision_also_where_the_memory_was_lost(site: Site) -> None:
    site.write("a", b"one")
    site.build()
    before = site.snapshot()
    (site.store.distribution_directory("zone") / "scan").unlink()
    assert not site.build().changed
    assert site.snapshot() == before
    assert site.build().files_read == 0


def test_a_change_makes_a_revision_as_large_as_the_change(site: Site) -> None:
    site.write("large", random.Random(1).randbytes(200_000))
    site.write("a", b"one")
    site.write("c", b"c")
    site.build()
    site.write("a", b"two!")
    site.write("b", b"new")
    (site.source / "c").unlink()
    result = site.build()
    assert str(result.revision) == "1.2"
    assert (result.added, result.removed, result.contents_new, result.bytes_new, result.files_read) == (1, 1, 2, 7, 2)
    assert result.modified == 2, "a, and the time of the directory"
    assert site.teds("1.2") == ["from-1.1.ted"]
    assert site.store.teds("zone", RevisionNumber(1, 2))[0].payload < 100
    site.verify()


CHANGES = {
    "actions": {"post_actions": (Script(ScriptType.SHELL, "none", run="true"),)},
    "options": {"copy": Copy.ALL},
    "rollback": {"rollback": False},
    "verify": {"verify": True},
    "max_revisions": {"max_revisions": 7},
}


@pytest.mark.parametrize("fields", CHANGES.values(), ids=CHANGES)
def test_what_the_blueprint_says_about_the_files_is_a_change_too(site: Site, fields: dict[str, Any]) -> None:
    site.write("a", b"one")
    site.build()
    site.change(**fields)
    result = site.build()
    assert str(result.revision) == "1.2"
    assert (result.contents_new, result.files_read) == (0, 0)
    assert 0 < site.store.teds("zone", RevisionNumber(1, 2))[0].payload < 250, "what the header says"
    assert result.bases == (RevisionNumber(1, 1),)
    assert not site.build().changed


def test_another_destination_is_a_change_and_a_description_is_none(site: Site) -> None:
    site.write("a", b"one")
    site.build()
    site.change(description="other words", channels=("x",), active=False)
    assert not site.build().changed
    site.change(files=(replace(site.distribution.files[0], destination="/elsewhere"),))
    assert site.build().changed


def test_max_3_gives_baseline_delta_delta_baseline(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", max_revisions=3)
    numbers, kept = [], []
    for number in range(5):
        site.write("a", b"%d" % number * 100)
        result = site.build()
        numbers.append(str(result.revision))
        kept.append(site.kept())
    assert numbers == ["1.1", "1.2", "1.3", "2.1", "2.2"]
    assert kept[2:] == [["1.1", "1.2", "1.3"], ["2.1"], ["2.1", "2.2"]]
    assert site.teds("2.1") == ["distfile.ted", "from-1.3.ted", "from-1.3.small.ted"], "who holds the last revision gets no full send"
    assert len(list((site.store.root / "contents").glob("*.pack"))) == 2
    site.verify()


def test_max_1_is_always_whole(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", max_revisions=1)
    for number in range(3):
        site.write("a", b"%d" % number)
        site.build()
        assert site.kept() == [f"{number + 1}.1"]
        assert site.teds(f"{number + 1}.1") == ["distfile.ted"]
    assert len(list((site.store.root / "contents").glob("*.pack"))) == 1


def test_a_rebaseline_builds_whole_also_without_a_change(site: Site) -> None:
    site.write("a", b"one")
    site.build()
    result = site.build(rebaseline=True)
    assert (str(result.revision), result.changed, [str(r) for r in result.pruned]) == ("2.1", True, ["1.1"])
    assert (result.contents_new, result.files_read) == (0, 0)
    assert site.kept() == ["2.1"]
    site.verify()


def test_a_dry_run_says_what_would_be_and_writes_nothing(site: Site) -> None:
    site.write("a", b"one")
    result = site.build(dry_run=True)
    assert (str(result.revision), result.changed, result.contents_new, result.bytes_new) == ("1.1", True, 1, 3)
    assert not site.store.root.exists()
    site.build()
    before = site.snapshot()
    assert not site.build(dry_run=True).changed
    site.write("a", b"two")
    result = site.build(dry_run=True)
    assert (str(result.revision), result.contents_new, result.files_read) == ("1.2", 1, 1)
    assert site.snapshot() == before


def test_two_builds_at_once_are_one_and_a_refusal(site: Site) -> None:
    class Impatient(FilesSource):
        """Somebody else starts the same build while this one scans."""

        def scan(self, *args: Any, **options: Any) -> Any:
            with pytest.raises(StoreLockedError):
                site.build()
            return super().scan(*args, **options)

    site.write("a", b"one")
    assert build(site.distribution, store=site.store, source=Impatient()).changed
    assert site.kept() == ["1.1"]


def test_two_sources_may_share_a_directory_but_no_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(b"x")
    files = tuple(FileSource(PurePosixPath(tmp_path / name), "/opt/x") for name in ("one", "two"))
    distribution = Distribution("zone", "hq", DistributionType.FILE, files=files)
    store = FileStore(tmp_path / "hq")
    assert build(distribution, store=store, source=FilesSource()).changed
    (tmp_path / "two" / "one").write_bytes(b"y")
    with pytest.raises(SourceError, match="two sources have 'one' for '/opt/x'"):
        build(distribution, store=store, source=FilesSource())


def test_a_build_that_is_refused_leaves_nothing(site: Site) -> None:
    site.write("a", b"one")
    site.build()
    before = site.snapshot()
    site.write("A", b"two")
    with pytest.raises(CaseCollisionError):
        site.build()
    (site.source / "A").unlink()
    site.write("a", b"three")
    full = FileStore(site.directory / "hq", min_free=2**60)
    with pytest.raises(NoSpaceError, match="Distribution zone"):
        build(site.distribution, store=full, source=FilesSource())
    assert site.snapshot() == before


@pytest.mark.parametrize("name", ["unfinished", ".tmp-"])
def test_a_name_that_cannot_be_removed_is_an_error_of_the_store(name: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = os.unlink

    def refuse(path: Any, **options: Any) -> None:
        if (os.path.basename(path).startswith(name) and "/contents/" in f"{path}") or os.path.basename(path) == name:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        unlink(path, **options)

    site.write("a", b"one")
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        site.build()
    monkeypatch.undo()
    site.build()
    assert site.kept() == ["1.1"]
    site.verify()


def test_on_a_damaged_manifest_a_new_baseline_is_built(site: Site) -> None:
    site.write("a", b"one")
    site.build()
    path = site.store.revision_directory("zone", RevisionNumber(1, 1)) / "manifest"
    path.write_bytes(path.read_bytes()[:-1])
    result = site.build()
    assert str(result.revision) == "2.1"
    assert site.kept() == ["2.1"]
    assert site.teds("2.1") == ["distfile.ted"]


def test_where_the_manifest_was_lost_a_new_baseline_is_built(site: Site) -> None:
    site.write("a", b"one")
    site.build()
    (site.store.revision_directory("zone", RevisionNumber(1, 1)) / "manifest").unlink()
    assert str(site.build(rebaseline=True).revision) == "2.1"
    (site.store.revision_directory("zone", RevisionNumber(2, 1)) / "manifest").unlink()
    assert str(site.build().revision) == "3.1"
    assert (site.kept(), site.teds("3.1")) == (["3.1"], ["distfile.ted"])
    site.verify()


@pytest.fixture
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written survives a killed process without fsync; these tests make thousands."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def _first(site: Site) -> None:
    site.write("a", b"one" * 50)
    site.write("d/b", random.Random(2).randbytes(5000))


def _second(site: Site) -> None:
    _first(site)
    site.build()
    site.write("a", b"two" * 50)


def _baseline(site: Site) -> None:
    for number in range(3):
        site.write("a", b"%d" % number * 50)
        site.build()
    site.write("a", b"three" * 50)


def _unchanged(site: Site) -> None:
    _first(site)
    site.build()
    (site.store.distribution_directory("zone") / "scan").unlink()


SCENARIOS: dict[str, Callable[[Site], None]] = {"first": _first, "delta": _second, "baseline": _baseline, "unchanged": _unchanged}


@pytest.mark.slow
@pytest.mark.usefixtures("no_power_cuts")
@pytest.mark.parametrize("prepare", SCENARIOS.values(), ids=SCENARIOS)
def test_a_build_killed_at_any_step_and_repeated_ends_as_one_that_was_not(tmp_path: Path, prepare: Callable[[Site], None]) -> None:
    model = Site(tmp_path / "prepared", max_revisions=3)
    prepare(model)
    undisturbed = Site(tmp_path / "undisturbed", max_revisions=3)
    shutil.rmtree(undisturbed.source)
    undisturbed.change(files=model.distribution.files)
    if model.store.root.exists():
        shutil.copytree(model.store.root, undisturbed.store.root)
    undisturbed.build()
    expected = undisturbed.snapshot()
    step = 0
    while True:
        site = Site(tmp_path / f"killed-{step}", max_revisions=3)
        site.change(files=model.distribution.files)
        if model.store.root.exists():
            shutil.copytree(model.store.root, site.store.root)
        killed = killed_at(step, site.build)
        site.verify()
        site.build()
        assert site.snapshot() == expected, f"killed before step {step}"
        site.verify()
        assert not site.build().changed
        shutil.rmtree(site.directory)
        if not killed:
            break
        step += 1
    assert step >= 5


@pytest.mark.slow
@pytest.mark.usefixtures("no_power_cuts")
def test_a_ted_whose_making_is_killed_at_any_step_is_made_by_the_next_who_needs_it(site: Site) -> None:
    _second(site)
    site.build()
    before, revision = site.snapshot(), RevisionNumber(1, 2)
    made = Path(site.store.ensure_ted("zone", revision, None).path)
    whole = made.read_bytes()
    step = 0
    while True:
        made.unlink()
        killed = killed_at(step, lambda: FileStore(site.directory / "hq").ensure_ted("zone", revision, None))
        assert not made.exists() or made.read_bytes() == whole
        site.store.ensure_ted("zone", revision, None)
        with site.store.lock("zone"):
            pass
        assert site.snapshot() == before | {str(made.relative_to(site.store.root)): whole}
        if not killed:
            break
        step += 1
    assert step >= 8
    assert open_ted(made)[0].base is None
    assert parse_manifest(site.store.manifest_bytes("zone", revision)).revision == revision


def _filled(site: Site, files: int, **fields: Any) -> None:
    """A synchronized source of so many files, built."""
    site.change(files=(replace(site.distribution.files[0], synchronize=Synchronize.YES, **fields),))
    for number in range(files):
        site.write(f"d/{number:03}", b"x")
    assert str(site.build().revision) == "1.1"


@pytest.mark.parametrize("synchronize", [Synchronize.NO, Synchronize.YES, Synchronize.MIRROR])
def test_an_emptied_source_is_not_built_until_it_is_allowed(site: Site, synchronize: Synchronize) -> None:
    _filled(site, 3)
    site.change(files=(replace(site.distribution.files[0], synchronize=synchronize),))
    shutil.rmtree(site.source / "d")
    before = site.snapshot()
    for options in ({"dry_run": True}, {}, {"rebaseline": True}):
        with pytest.raises(RemovalsError, match=rf"^zone: {site.source} has no files now; the last revision has 3 files") as refusal:
            site.build(**options)
        assert ("would remove 3 of them" in refusal.value.message) is (synchronize is not Synchronize.NO)
        assert refusal.value.remedy.endswith("if it is meant, run: sluice build zone --allow-removals")
        assert site.snapshot() == before
    assert str(site.build(dry_run=True, allow_removals=True).revision) == "1.2"
    result = site.build(allow_removals=True)
    assert (str(result.revision), result.files, result.removed) == ("1.2", 0, 4)
    assert not site.build().changed  # it was allowed once and for all
    site.verify()


def test_more_removals_than_the_limit_are_not_built_until_they_are_allowed(site: Site) -> None:
    _filled(site, 30)
    for number in range(2, 30):
        (site.source / f"d/{number:03}").unlink()
    with pytest.raises(RemovalsError, match=r"src lacks 28 of 30 files and would remove 28 of them from \{\{ DEST \}\}/zone: see whether"):
        site.build()
    assert site.kept() == ["1.1"]
    assert site.build(allow_removals=True).removed == 28


def test_a_source_that_comes_back_is_built_as_if_it_had_never_been_away(site: Site) -> None:
    _filled(site, 30)
    site.source.rename(site.directory / "unmounted")
    site.source.mkdir()
    with pytest.raises(RemovalsError):
        site.build()
    site.source.rmdir()
    (site.directory / "unmounted").rename(site.source)
    assert not site.build().changed


@pytest.mark.parametrize(("limit", "removed"), [(RemovalLimit(percent=10, files=0), 3), (RemovalLimit(percent=0, files=4), 4)])
def test_a_destinations_own_limit_counts(site: Site, limit: RemovalLimit, removed: int) -> None:
    _filled(site, 30, max_removals=limit)
    for number in range(removed):
        (site.source / f"d/{number:03}").unlink()
    assert site.build().removed == removed
    for number in range(removed, 2 * removed + 1):
        (site.source / f"d/{number:03}").unlink()
    with pytest.raises(RemovalsError, match=rf"lacks {removed + 1} of {30 - removed} files"):
        site.build()


def test_an_exclude_that_takes_most_files_away_must_be_allowed(site: Site) -> None:
    _filled(site, 30)
    site.change(files=(replace(site.distribution.files[0], exclude=("/d/",)),))
    with pytest.raises(RemovalsError, match="has no files now; the last revision has 30 files"):
        site.build()


def test_a_file_system_that_is_not_there_any_more_is_told(site: Site) -> None:
    elsewhere = next(each for each in ("/dev/shm", "/var/tmp") if os.stat(each).st_dev != site.source.stat().st_dev)
    with tempfile.TemporaryDirectory(dir=elsewhere) as mounted:
        site.source.rmdir()
        site.source.symlink_to(mounted)
        _filled(site, 3)
    site.source.unlink()
    site.source.mkdir()
    with pytest.raises(RemovalsError, match=r"\(a part of it was on another file system, which isn't there now\)"):
        site.build()


def test_what_is_excluded_from_a_mirror_is_in_its_manifest_and_a_change_of_it_is_a_revision(site: Site) -> None:
    site.change(files=(replace(site.distribution.files[0], synchronize=Synchronize.MIRROR, exclude=("*.local",)),))
    site.write("a", b"x")
    site.build()
    assert site.store.manifest("zone", RevisionNumber(1, 1)).destinations[0].exclude == ("*.local",)
    assert not site.build().changed
    site.change(files=(replace(site.distribution.files[0], exclude=("*.local", "/cache/")),))
    assert str(site.build().revision) == "1.2"
    site.change(files=(replace(site.distribution.files[0], max_removals=RemovalLimit(percent=5, files=0)),))
    assert str(site.build().revision) == "1.3"
    assert site.store.manifest("zone", RevisionNumber(1, 3)).destinations[0].max_removals == RemovalLimit(percent=5, files=0)
    site.verify()


def test_excludes_that_match_nothing_are_named_by_every_build(site: Site) -> None:
    site.change(files=(replace(site.distribution.files[0], exclude=("*.tmp", "secrets.env")),))
    site.write("a.tmp", b"x")
    for options in ({"dry_run": True}, {}, {}):
        assert site.build(**options).unmatched == ((str(site.source), "secrets.env"),)
