"""``renamed_from`` on a Subscriber: whatever the former name placed is the heir's, at once with its commit, killed or not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.filesystem.local import LocalFilesystem
from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.rehearsals import Question
from sluice.model.change import ChangeKind
from sluice.model.order import Act, Outcome, Receipt
from sluice.subscriber.extract.rehearse import rehearse_extraction
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.subscriber.held.path_lists import RETAINED
from sluice.subscriber.release import release
from tests.subscriber.faulty import FaultyFilesystem
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, make, tree_of


def renamed(made: Made, former: str = "old") -> Made:
    manifest = replace(made.manifest, renamed_from=former)
    return replace(made, manifest=manifest, manifest_bytes=manifest_bytes(manifest))


class Renaming:
    """``old`` has 1.1 with a, b and sub/c; it is ``zone`` now."""

    def __init__(self, directory: Path, *, synchronize: str = "yes") -> None:
        self.host = Host(directory)
        self.old = Host(directory)
        self.old.held = DistributionDirectory(self.host.held.directory.with_name("old"))
        self.old.context = replace(self.old.context, held=self.old.held)
        self.source, self.target = directory / "source", directory / "opt/zone"
        self.synchronize = synchronize
        (self.source / "sub").mkdir(parents=True)
        for name in ("a", "b", "sub/c"):
            (self.source / name).write_text(name)
        assert self.old.install(make("1.1", self.source, synchronize=synchronize), self.target).outcome is Outcome.INSTALLED

    def install(self, revision: str = "1.1", former: str = "old", *, post: tuple[Any, ...] = ()) -> Receipt:
        return self.host.install(renamed(make(revision, self.source, synchronize=self.synchronize), former), self.target, post=post)


@pytest.fixture(params=["yes", "mirror"])
def renaming(request: pytest.FixtureRequest, tmp_path: Path) -> Renaming:
    return Renaming(tmp_path, synchronize=request.param)


def test_it_removes_what_the_former_name_placed_and_it_lacks(renaming: Renaming) -> None:
    (renaming.source / "b").unlink()
    shutil.rmtree(renaming.source / "sub")
    receipt = renaming.install()
    assert (receipt.outcome, receipt.took_over, receipt.paths_removed) == (Outcome.INSTALLED, "old", 3)
    assert tree_of(renaming.target) == tree_of(renaming.source)
    assert not renaming.old.held.directory.exists()
    assert renaming.host.leftovers(renaming.target.parent) == []


def test_the_same_files_stay_as_they_are(renaming: Renaming) -> None:
    before = {path: path.stat().st_ino for path in renaming.target.rglob("*")}
    receipt = renaming.install()
    assert (receipt.files_written, receipt.files_unchanged, receipt.took_over) == (0, 3, "old")
    assert {path: path.stat().st_ino for path in renaming.target.rglob("*")} == before
    assert not renaming.old.held.directory.exists()


def test_without_the_former_name_a_mirror_is_refused_and_others_leave_its_files(tmp_path: Path) -> None:
    mirrored = Renaming(tmp_path / "m", synchronize="mirror")
    receipt = mirrored.install(former="")
    assert receipt.failure is not None
    assert "is a destination of old" in receipt.failure.message
    synchronized = Renaming(tmp_path / "s")
    (synchronized.source / "b").unlink()
    assert synchronized.install(former="").took_over == ""
    assert (synchronized.target / "b").exists()


def test_paths_that_the_former_name_retained_are_known(tmp_path: Path) -> None:
    renaming = Renaming(tmp_path, synchronize="no")
    (renaming.source / "b").unlink()
    renaming.old.install(make("1.2", renaming.source), renaming.target)
    assert [Path(path).name for path in RETAINED.read(renaming.old.held)] == ["b"]
    renaming.install()
    assert [Path(path).name for path in RETAINED.read(renaming.host.held)] == ["b"]  # still nobody else's
    renaming.synchronize = "yes"
    assert renaming.install("1.2", former="").paths_removed == 1
    assert not (renaming.target / "b").exists()


def test_a_former_destination_elsewhere_is_emptied(tmp_path: Path) -> None:
    renaming = Renaming(tmp_path)
    elsewhere = tmp_path / "srv/other"
    made = renamed(make("1.1", renaming.source, synchronize="yes"))
    receipt = renaming.host.install(made, elsewhere)
    assert (receipt.outcome, receipt.took_over) == (Outcome.INSTALLED, "old")
    assert tree_of(elsewhere) == tree_of(renaming.source)
    assert not renaming.target.exists()


def test_another_kind_in_the_place_of_what_the_former_name_placed(tmp_path: Path) -> None:
    renaming = Renaming(tmp_path)
    shutil.rmtree(renaming.source / "sub")
    (renaming.source / "sub").write_text("a file now")
    (renaming.source / "a").unlink()
    (renaming.source / "a").mkdir()
    assert renaming.install().failure is None
    assert tree_of(renaming.target) == tree_of(renaming.source)


def test_one_that_had_two_names_at_once_knows_what_both_placed(tmp_path: Path) -> None:
    renaming = Renaming(tmp_path)
    (renaming.source / "d").write_text("d")
    renaming.install(former="")  # before the key was written: both are extracted
    for name in ("b", "d"):
        (renaming.source / name).unlink()
    assert renaming.install("1.2").paths_removed == 2
    assert tree_of(renaming.target) == tree_of(renaming.source)
    assert not renaming.old.held.directory.exists()


def test_directories_that_stood_before_the_former_name_stay_foreign_and_those_it_placed_are_ours(tmp_path: Path) -> None:
    foreign = tmp_path / "opt/zone"
    foreign.mkdir(parents=True)
    foreign.chmod(0o1777)
    renaming = Renaming(tmp_path)
    (renaming.source / "sub").chmod(0o750)
    renaming.install(former="")  # to it alone, both directories stood before
    (renaming.source / "sub").chmod(0o700)
    renaming.install("1.2")
    assert (foreign.stat().st_mode & 0o7777, (foreign / "sub").stat().st_mode & 0o7777) == (0o1777, 0o700)
    shutil.rmtree(renaming.source / "sub")
    renaming.install("1.3", former="")
    assert foreign.stat().st_mode & 0o7777 == 0o1777
    assert not (foreign / "sub").exists()


def test_a_host_that_never_had_the_former_name_takes_nothing_over(tmp_path: Path) -> None:
    host, source = Host(tmp_path), tmp_path / "source"
    source.mkdir()
    receipt = host.install(renamed(make("1.1", source)), tmp_path / "opt/zone")
    assert (receipt.outcome, receipt.took_over) == (Outcome.INSTALLED, "")


def test_a_failure_leaves_the_former_name_all_that_it_had(renaming: Renaming) -> None:
    (renaming.source / "b").unlink()
    before, status = tree_of(renaming.target), renaming.old.held.status()
    receipt = renaming.install(post=(shell("exit 3"),))
    assert (receipt.outcome, receipt.took_over) == (Outcome.FAILED, "")
    assert tree_of(renaming.target) == before
    assert renaming.old.held.status() == status
    assert renaming.install("1.2").took_over == "old"


def test_a_killed_extraction_of_the_former_name_is_ended_first(renaming: Renaming) -> None:
    class Killed(BaseException):
        pass

    def kill(method: str, path: str) -> None:
        if method == "swap":
            raise Killed

    (renaming.source / "a").write_text("changed")
    made = make("1.2", renaming.source, synchronize=renaming.synchronize)
    renaming.old.receive(made)
    renaming.old.using(FaultyFilesystem(kill))
    with pytest.raises(Killed):
        renaming.old.extract(made, renaming.target)
    assert renaming.old.held.journal.exists()
    assert renaming.install().took_over == "old"
    assert tree_of(renaming.target) == tree_of(renaming.source)
    assert renaming.host.leftovers(renaming.target.parent) == []


def test_one_that_is_being_extracted_under_its_former_name_is_waited_for_by_the_next_try(renaming: Renaming) -> None:
    with renaming.old.held.lock():
        receipt = renaming.install()
    assert receipt.failure is not None
    assert (receipt.failure.code, receipt.failure.retryable) == ("StoreLockedError", True)
    assert (
        renaming.host.extract(renamed(make("1.1", renaming.source, synchronize=renaming.synchronize)), renaming.target).took_over == "old"
    )


def test_a_former_status_file_that_is_damaged_stops_it_and_the_remedy_works(renaming: Renaming) -> None:
    renaming.old.held.status_path.write_text("{")
    receipt = renaming.install()
    assert receipt.failure is not None
    assert receipt.failure.message.startswith("it isn't known what old placed: ")
    assert receipt.failure.remedy == "run: sluice release old --to oslo"
    assert (renaming.host.held.revision(receipt.revision) / "distfile.ted").exists()  # nothing was set aside
    release(renaming.old.context, replace(renaming.old.order(make("1.1", renaming.source), ()), act=Act.RELEASE))
    assert renaming.install().failure is None


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("does", ["receives", "extracts", "is killed", "nothing"])
def test_a_former_name_that_comes_back_between_commit_and_clean_up_keeps_its_work(tmp_path: Path, does: str, *, killed: bool) -> None:
    class Killed(BaseException):
        pass

    def kill(method: str, path: str) -> None:
        if method == "swap":
            raise Killed

    def at_clean_up(phase: str, _done: int, _total: int) -> None:
        if phase != "clean up":
            return
        if does != "nothing":
            renaming.old.receive(made)
        if does == "extracts":
            assert renaming.old.extract(made, elsewhere).outcome is Outcome.INSTALLED
        elif does == "is killed":
            with pytest.raises(Killed):
                renaming.old.using(FaultyFilesystem(kill)).extract(made, elsewhere)
        if killed:
            raise Killed

    renaming, elsewhere = Renaming(tmp_path), tmp_path / "srv/elsewhere"
    shutil.copytree(renaming.source, tmp_path / "other")
    made = make("1.2", tmp_path / "other")
    renaming.host.context = replace(renaming.host.context, event=at_clean_up)
    with suppress(Killed):
        assert renaming.install().took_over == "old"
    renaming.host.recover()
    assert renaming.host.held.status().extracted is not None
    assert not renaming.host.held.journal.exists()
    assert renaming.old.held.directory.exists() is (does != "nothing")
    if does != "nothing":
        assert "1.2" in renaming.old.held.status().received
        renaming.old.using(LocalFilesystem()).recover()
        assert renaming.old.extract(made, elsewhere).failure is None
        assert tree_of(elsewhere) == tree_of(tmp_path / "other")
        assert renaming.host.leftovers(elsewhere.parent) == []


def test_a_dry_run_names_the_removals_alone_and_changes_nothing(renaming: Renaming) -> None:
    (renaming.source / "b").unlink()
    manifest = renamed(make("1.1", renaming.source, synchronize=renaming.synchronize)).manifest
    found = rehearse_extraction(renaming.host.context, Question(manifest, (str(renaming.target),)))
    assert (found.stops, [(each.kind, Path(each.path).name) for each in found.paths if each.kind is not ChangeKind.ADJUSTED]) == (
        (),
        [(ChangeKind.REMOVED, "b")],
    )
    assert renaming.old.held.status().extracted is not None


STEPS = ("rename", "rmdir")
"""Each change that others see is a rename; the removal of a directory ends with rmdir."""


def _kill_at(monkeypatch: pytest.MonkeyPatch, number: int, error: type[BaseException]) -> list[str]:
    calls: list[str] = []

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == number:
                raise error
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    return calls


@pytest.mark.slow
def test_killed_anywhere_one_of_the_two_names_has_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    number, ends = 0, set[bool]()
    while True:
        number += 1
        renaming = Renaming(tmp_path / str(number))
        (renaming.source / "b").unlink()
        made = renamed(make("1.1", renaming.source, synchronize="yes"))
        renaming.host.receive(made)
        with monkeypatch.context() as patch:
            _kill_at(patch, number, Killed)
            try:
                renaming.host.extract(made, renaming.target)
                break
            except Killed:
                pass
        renaming.host.recover()
        ours, theirs = renaming.host.held.status().extracted, renaming.old.held.directory.exists() and renaming.old.held.status().extracted
        assert bool(ours) is not bool(theirs), number
        assert (renaming.target / "b").exists() is bool(theirs), number
        assert [each.took_over for each in renaming.host.receipts()] in ([["old"]] if ours else [[""], []]), number
        assert renaming.host.leftovers(renaming.target.parent) == [], number
        ends.add(bool(ours))
        assert renaming.host.extract(made, renaming.target).failure is None
        assert tree_of(renaming.target) == tree_of(renaming.source)
        assert not renaming.old.held.directory.exists()
    assert ends == {True, False}
    assert number > 10
