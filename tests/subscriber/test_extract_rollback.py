"""A failing step restores everything (F9): content, mode, time and what wasn't there; undo scripts run, the last action's first."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from sluice.errors import LockedTargetError, NoSpaceError, UndoFailedError
from sluice.model.order import Outcome
from sluice.subscriber.extract.ending import recover
from tests.subscriber.faulty import FaultyFilesystem
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, make, tree_of

SEED = 20260301


class Scene:
    """1.1 is extracted, was then touched by its users, and 1.2 is received, which changes everything that can be changed."""

    def __init__(self, directory: Path, *, rollback: bool = True) -> None:
        self.host = Host(directory)
        self.target, self.other = directory / "zone", directory / "new/parents/zone"
        source = directory / "source"
        (source / "to-file").mkdir(parents=True)
        (source / "to-file/x").write_text("x")
        (source / "to-link").write_text("was a file")
        (source / "to-directory").symlink_to("nowhere")
        (source / "changed").write_text("before")
        (source / "stays").write_text("stays")
        (source / "mode-only").write_text("mode")
        (source / "sub/sub").mkdir(parents=True)
        (source / "sub/sub/changed").write_text("before")
        first = make("1.1", source)
        self.host.install(first, self.target)
        (self.target / "foreign").write_text("mine")
        (self.target / "sub").chmod(0o711)
        os.utime(self.target / "sub", ns=(77, 77))
        os.utime(self.target, ns=(78, 78))

        (source / "to-file/x").unlink()
        (source / "to-file").rmdir()
        (source / "to-file").write_text("is a file")
        (source / "to-link").unlink()
        (source / "to-link").symlink_to("stays")
        (source / "to-directory").unlink()
        (source / "to-directory/below").mkdir(parents=True)
        (source / "to-directory/below/new").write_text("new")
        (source / "changed").write_text("after")
        (source / "changed").chmod(0o600)
        (source / "mode-only").chmod(0o640)
        (source / "sub/sub/changed").write_text("after")
        (source / "brand-new").write_text("new")
        self.source = source
        self.second: Made = make("1.2", source, source, rollback=rollback)
        self.host.receive(self.second)
        self.before = tree_of(self.target)
        self.directory = directory

    def extract(self, **actions: object):  # type: ignore[no-untyped-def]
        return self.host.extract(self.second, self.target, self.other, **actions)  # type: ignore[arg-type]

    def assert_untouched(self) -> None:
        assert tree_of(self.target) == self.before
        assert not (self.directory / "new").exists()
        assert self.host.leftovers(self.directory) == []
        assert self.host.held.status().extracted.revision == "1.1"

    def assert_installed(self) -> None:
        found = tree_of(self.target)
        found.pop("foreign", None)
        assert found == tree_of(self.source) == tree_of(self.other)
        assert self.host.leftovers(self.directory) == []


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_nothing_fails(scene: Scene) -> None:
    receipt = scene.extract()
    assert receipt.failure is None
    scene.assert_installed()


def calls_of(directory: Path) -> list[str]:
    """The methods of the port that a whole extraction calls, in order."""
    scene, calls = Scene(directory), []
    scene.host.using(FaultyFilesystem(lambda method, _: calls.append(method)))
    assert scene.extract().failure is None
    return calls


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Calls until the commit; what follows is clean-up."""
    found = calls_of(tmp_path_factory.mktemp("counted"))
    return found[: found.index("remove", found.index("swap"))]


def fail_at(directory: Path, number: int, name: str) -> None:
    scene, left = Scene(directory), number

    def before(method: str, path: str) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise LockedTargetError(f"locked: {path}")

    scene.host.using(FaultyFilesystem(before))
    receipt = scene.extract()
    assert receipt.outcome is Outcome.FAILED, (number, name)
    assert receipt.failure is not None
    assert (receipt.failure.code, receipt.failure.retryable) == ("LockedTargetError", True)
    scene.assert_untouched()


@pytest.mark.slow
def test_a_failure_at_sampled_changes_restores_everything(tmp_path: Path, names: list[str]) -> None:
    for number in random.Random(SEED).sample(range(len(names)), 10):
        fail_at(tmp_path / str(number), number, names[number])


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_failure_at_every_change_restores_everything(tmp_path: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        fail_at(tmp_path / str(number), number, name)
    print(f"{len(names)} failures")
    assert len(names) > 20


def test_too_little_space_is_found_before_anything_is_written(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.filesystem.local.root.LocalRoot.free", lambda _: 5)
    receipt = scene.extract()
    assert receipt.failure is not None
    assert receipt.failure.code == NoSpaceError.__name__
    assert "5 B is free there and 0 B must stay free" in receipt.failure.message
    scene.assert_untouched()


def test_failing_pre_and_post_actions_take_everything_back(scene: Scene, tmp_path: Path) -> None:
    log, show = tmp_path / "log", f"(cat {scene.target}/changed; echo)"
    pre = [shell(f"echo pre1 >>{log}", f"echo undo-pre1 >>{log}"), shell(f"echo pre2 >>{log}")]
    post = [
        shell(f"{show} >>{log}", f"echo undo-post1 >>{log}; {show} >>{log}"),
        shell("echo said >&2; exit 7", f"echo undo-post2 >>{log}"),
        shell(f"echo never >>{log}"),
    ]

    receipt = scene.extract(pre=pre, post=post)

    assert receipt.outcome is Outcome.FAILED
    assert receipt.failure is not None
    assert receipt.failure.code == "ActionFailedError"
    assert "exit code 7" in receipt.failure.message
    assert receipt.failure.remedy == "`sluice why` shows its output"
    # Post actions are undone while the new files stand, pre actions once the old ones do again.
    assert log.read_text().split() == ["pre1", "pre2", "after", "undo-post2", "undo-post1", "after", "undo-pre1"]
    assert [(each.phase, each.exit_code) for each in receipt.actions if each.phase != "undo"] == [
        ("pre", 0),
        ("pre", 0),
        ("post", 0),
        ("post", 7),
    ]
    assert "said" in [each.output.strip() for each in receipt.actions]
    scene.assert_untouched()


def test_a_failing_pre_action_leaves_the_files_untouched(scene: Scene) -> None:
    receipt = scene.extract(pre=[shell("exit 1")])
    assert receipt.outcome is Outcome.FAILED
    scene.assert_untouched()


def test_what_a_post_action_damages_is_found_by_reading_back(scene: Scene) -> None:
    receipt = scene.extract(post=[shell(f"echo other >{scene.target}/changed; rm {scene.other}/stays")])
    assert receipt.failure is not None
    assert receipt.failure.code == "ReadBackError"
    scene.assert_untouched()


def test_a_failing_undo_is_named_and_the_files_are_restored_all_the_same(scene: Scene) -> None:
    receipt = scene.extract(pre=[shell("true", "echo cannot; exit 3")], post=[shell("exit 1")])
    assert receipt.failure is not None
    assert receipt.failure.code == "UndoFailedError"
    assert "cannot" in receipt.failure.message
    assert "ActionFailedError" in receipt.failure.message
    scene.assert_untouched()


def test_files_that_cannot_be_restored_are_named_and_tried_again(scene: Scene) -> None:
    hinder = [True]

    def before(method: str, path: str) -> None:
        if method == "settle" and path == "zone/changed" and hinder[0]:
            raise LockedTargetError(f"locked: {path}")

    scene.host.using(FaultyFilesystem(before))
    receipt = scene.extract(post=[shell("exit 1")])
    assert receipt.failure is not None
    assert receipt.failure.code == "UndoFailedError"
    assert str(scene.target / "changed") in receipt.failure.message
    assert {k: v for k, v in tree_of(scene.target).items() if k not in ("changed", ".")} == {
        k: v for k, v in scene.before.items() if k not in ("changed", ".")
    }
    with pytest.raises(UndoFailedError), scene.host.held.lock():
        recover(scene.host.context)
    assert len(scene.host.receipts()) == 2

    hinder[0] = False
    scene.host.recover()
    scene.assert_untouched()
    assert len(scene.host.receipts()) == 2


def test_without_rollback_what_was_done_stays_and_is_said(tmp_path: Path) -> None:
    scene = Scene(tmp_path, rollback=False)
    log = tmp_path / "log"
    receipt = scene.extract(pre=[shell("true", f"echo undone >{log}")], post=[shell("exit 1")])
    assert receipt.outcome is Outcome.FAILED_KEPT
    assert receipt.files_written > 0
    assert not log.exists()
    scene.assert_installed()
    assert scene.host.held.status().extracted.revision == "1.1"

    receipt = scene.extract()
    assert receipt.outcome is Outcome.INSTALLED


def test_where_another_revision_was_kept_the_one_before_is_not_said_to_be_installed(tmp_path: Path) -> None:
    target, source = tmp_path / "target", tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("one")
    host, first = Host(tmp_path), make("1.1", source, rollback=False)
    host.install(first, target)
    (source / "file").write_text("two")
    second = make("1.2", source, rollback=False)
    assert host.install(second, target, post=[shell("exit 1")]).outcome is Outcome.FAILED_KEPT

    receipt = host.extract(first, target)
    assert receipt.outcome is Outcome.INSTALLED
    assert (target / "file").read_text() == "one"


def test_a_type_change_back_and_an_attackers_link_at_the_last_moment(scene: Scene, tmp_path: Path) -> None:
    """Whatever is put at a target between plan and swap comes back with the roll back, and nothing outside is written."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "changed").write_text("outside")

    def before(method: str, path: str) -> None:
        if method == "swap" and path == "zone/sub/sub/changed":
            os.rename(scene.target / "sub/sub", scene.target / "sub/moved")
            os.symlink(victim, scene.target / "sub/sub")

    scene.host.using(FaultyFilesystem(before))
    receipt = scene.extract()

    assert receipt.outcome is Outcome.FAILED
    assert (victim / "changed").read_text() == "outside"
    assert [path.name for path in victim.iterdir()] == ["changed"]
