"""Killed at any change it makes to any file, an extraction is ended by the next start: everything old or everything new, nothing left."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from sluice.model.order import Outcome
from sluice.subscriber.actions.run import TOKEN
from tests.subscriber.faulty import end_at
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import make, tree_of
from tests.subscriber.test_extract_rollback import Scene

SEED = 20260301
SAMPLE = 12
KILLED = 42


def in_child(number: int, work) -> bool:  # type: ignore[no-untyped-def]
    """Run ``work`` in a child that ends ahead of its ``number``th change. Whether it was ended."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            end_at(number)
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), code
    return code == KILLED


def actions(directory: Path) -> dict[str, list]:  # type: ignore[type-arg]
    log = directory / "log"
    return {
        "pre": [shell(f"echo pre >>{log}", f"echo undo-pre >>{log}")],
        "post": [shell(f"echo post >>{log}", f"echo undo-post >>{log}")],
    }


def changes(directory: Path) -> int:
    """How many changes a whole extraction makes."""
    low, high = 0, 4096
    while low < high:
        middle = (low + high) // 2
        scene = Scene(directory / str(middle))
        if in_child(middle, lambda scene=scene: scene.extract(**actions(scene.directory))):
            low = middle + 1
        else:
            high = middle
    return low


def assert_old_or_new(scene: Scene) -> bool:
    """Whether it is new."""
    if tree_of(scene.target) == scene.before:
        scene.assert_untouched()
        return False
    scene.assert_installed()
    return True


def kill_and_recover(directory: Path, first: int, second: int | None) -> bool:
    scene = Scene(directory)
    assert in_child(first, lambda: scene.extract(**actions(directory)))
    if second is not None:
        in_child(second, scene.host.recover)
    scene.host.recover()

    is_new = assert_old_or_new(scene)
    log = directory / "log"
    said = log.read_text().split() if log.exists() else []
    if is_new:
        assert said == ["pre", "post"]
        assert scene.host.receipts()[-1].outcome is Outcome.INSTALLED
    elif second is None:
        # Whatever began was undone, in the reverse order; an action that had only been announced is undone too.
        assert [word for word in said if word.startswith("undo")] in ([], ["undo-pre"], ["undo-post", "undo-pre"])
        assert said.count("undo-pre") >= said.count("pre")
        assert said.count("undo-post") >= said.count("post")
    receipt = scene.extract()
    assert receipt.outcome in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)
    scene.assert_installed()
    return is_new


@pytest.fixture(scope="module")
def total(tmp_path_factory: pytest.TempPathFactory) -> int:
    return changes(tmp_path_factory.mktemp("changes"))


def test_a_kill_at_sampled_changes_leaves_old_or_new(tmp_path: Path, total: int) -> None:
    chosen = sorted(random.Random(SEED).sample(range(total), SAMPLE))
    outcomes = [kill_and_recover(tmp_path / str(number), number, None) for number in chosen]
    assert True in outcomes or False in outcomes


def test_a_kill_within_recovery_too(tmp_path: Path, total: int) -> None:
    chance = random.Random(SEED + 1)
    for number in sorted(chance.sample(range(total // 4, total), SAMPLE // 2)):
        kill_and_recover(tmp_path / str(number), number, chance.randrange(40))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_kill_at_every_change_leaves_old_or_new(tmp_path: Path, total: int) -> None:
    outcomes = {number: kill_and_recover(tmp_path / str(number), number, None) for number in range(total)}
    print(f"{total} kills; new from {min(n for n, new in outcomes.items() if new)}")
    assert set(outcomes.values()) == {False, True}


def test_a_first_install_that_was_killed_leaves_nothing_or_all(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a/b").mkdir(parents=True)
    (source / "a/b/file").write_text("x")
    for number in random.Random(SEED).sample(range(60), 8):
        directory = tmp_path / str(number)
        host, target = Host(directory), directory / "opt/new/zone"
        made = make("1.1", source)
        host.receive(made)
        in_child(number, lambda host=host, made=made, target=target: host.extract(made, target))
        host.recover()
        assert host.leftovers(directory) == []
        assert not (directory / "opt").exists() or tree_of(target) == tree_of(source)
        assert host.extract(made, target).outcome in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)
        assert tree_of(target) == tree_of(source)


def processes_of(mark: str) -> list[str]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(word.startswith(TOKEN) for word in words) and f"SLUICE_SUBSCRIBER={mark}" in words:
            found.append(name)
    return found


def test_an_action_that_outlived_its_agent_is_ended_before_it_is_undone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    log = tmp_path / "log"
    pre = [shell(f"(sleep 300; echo too-late >>{log}) & setsid sleep 300 & echo running >>{log}; sleep 300", f"echo undone >>{log}")]
    pid = os.fork()
    if pid == 0:
        scene.extract(pre=pre)
        os._exit(0)
    while not (log.exists() and "running" in log.read_text()):
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(processes_of("oslo")) >= 3

    scene.host.recover()

    assert processes_of("oslo") == []
    assert log.read_text().split() == ["running", "undone"]
    scene.assert_untouched()
    assert scene.host.receipts()[-1].outcome is Outcome.FAILED
    assert scene.host.receipts()[-1].failure.retryable
