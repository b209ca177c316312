"""A system call that fails anywhere, with any error, leaves old or new and an agent that goes on."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from sluice import durable
from sluice.errors import SluiceError
from sluice.model.action import Script
from sluice.model.order import Outcome
from tests.subscriber.faulty import Failing
from tests.subscriber.host import shell
from tests.subscriber.revisions import tree_of
from tests.subscriber.test_extract_rollback import Scene

SEED = 20260302
CALLS = 250
"""About as many as a whole extraction makes."""
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EPERM)


def actions(directory: Path) -> dict[str, list[Script]]:
    log = directory / "log"
    return {
        "pre": [shell(f"echo pre >>{log}", f"echo undo-pre >>{log}")],
        "post": [shell(f"echo post >>{log}", f"echo undo-post >>{log}")],
    }


def fail_and_recover(directory: Path, number: int, error: int, *, lasting: bool) -> bool:
    """Whether the call was reached."""
    scene = Scene(directory)
    outcome = None
    with Failing(number, error, lasting=lasting) as failing:
        try:
            outcome = scene.extract(**actions(directory)).outcome
        except (SluiceError, OSError):
            outcome = None
    scene.host.recover()

    is_new = tree_of(scene.target) != scene.before
    scene.assert_installed() if is_new else scene.assert_untouched()
    if outcome is not None:
        assert (outcome is Outcome.INSTALLED) == is_new
        assert scene.host.receipts()[-1].outcome is outcome
    assert (scene.host.held.status().extracted.revision == "1.2") == is_new
    log = (directory / "log").read_text().split() if (directory / "log").exists() else []
    assert "undo-pre" not in log or not is_new
    assert scene.extract().outcome in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)
    scene.assert_installed()
    return failing.failed


@pytest.mark.slow
@pytest.mark.parametrize("lasting", [False, True])
def test_a_sampled_call_that_fails_leaves_old_or_new(tmp_path: Path, lasting: bool) -> None:
    chance = random.Random(SEED)
    for number in sorted(chance.sample(range(CALLS - 50), 12)):
        fail_and_recover(tmp_path / str(number), number, chance.choice(ERRORS), lasting=lasting)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("lasting", [False, True])
def test_every_call_that_fails_leaves_old_or_new(tmp_path: Path, error: int, lasting: bool) -> None:
    reached = [fail_and_recover(tmp_path / str(number), number, error, lasting=lasting) for number in range(CALLS)]
    print(f"{sum(reached)} failures with {errno.errorcode[error]}")
    assert sum(reached) > 150


def test_a_commit_whose_sync_failed_is_synced_before_it_is_sworn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, synced, sync = Scene(tmp_path), [], durable.sync_directory

    def fails_once(path: Path) -> None:
        if path.name == "journal" and (path / "state").exists() and (path / "state").read_text() == "committed":
            synced.append(path)
            if len(synced) == 1:
                raise OSError(errno.EIO, "Input/output error")
        sync(path)

    monkeypatch.setattr(durable, "sync_directory", fails_once)

    assert scene.extract().outcome is Outcome.INSTALLED

    assert len(synced) == 2
    scene.assert_installed()
