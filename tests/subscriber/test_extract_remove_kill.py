"""Killed at any change it makes to a file while it takes things away, an extraction is ended by the next start: all old or all new."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from sluice.model.order import Outcome
from tests.subscriber.revisions import tree_of
from tests.subscriber.test_extract_kill import in_child
from tests.subscriber.test_extract_synchronize import Site

SEED = 20260301
SAMPLE = 10


class Removing(Site):
    """1.2 takes a directory away, files, and everything foreign; it changes one file."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, synchronize="mirror")
        (self.target / "foreign/deep").mkdir(parents=True)
        (self.target / "foreign/deep/x").write_text("mine")
        os.utime(self.target / "foreign", ns=(9, 9))
        (self.target / "sub").chmod(0o500)
        shutil.rmtree(self.source / "sub")
        (self.source / "b").unlink()
        (self.source / "a").write_text("changed")
        os.utime(self.target, ns=(7, 7))
        self.before = tree_of(self.target)
        self.made = self.revision("mirror")
        self.host.receive(self.made)

    def extract(self):  # type: ignore[no-untyped-def]
        return self.host.extract(self.made, self.target)


def kill_and_recover(directory: Path, first: int, second: int | None) -> str:
    """Which of both it is afterwards."""
    scene = Removing(directory)
    assert in_child(first, scene.extract)
    if second is not None:
        in_child(second, scene.host.recover)
    scene.host.recover()
    found = tree_of(scene.target)
    assert found in (scene.before, tree_of(scene.source))
    assert scene.host.leftovers(directory) == []
    assert scene.extract().outcome in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)
    assert tree_of(scene.target) == tree_of(scene.source)
    return "old" if found == scene.before else "new"


@pytest.fixture(scope="module")
def total(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many changes a whole extraction makes."""
    directory, low, high = tmp_path_factory.mktemp("changes"), 0, 1024
    while low < high:
        middle = (low + high) // 2
        if in_child(middle, Removing(directory / str(middle)).extract):
            low = middle + 1
        else:
            high = middle
    return low


def test_a_kill_at_sampled_changes_leaves_old_or_new(tmp_path: Path, total: int) -> None:
    for number in sorted(random.Random(SEED).sample(range(total), SAMPLE)):
        kill_and_recover(tmp_path / str(number), number, None)


def test_a_kill_within_recovery_too(tmp_path: Path, total: int) -> None:
    chance = random.Random(SEED + 1)
    for number in sorted(chance.sample(range(total // 4, total), SAMPLE // 2)):
        kill_and_recover(tmp_path / str(number), number, chance.randrange(30))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_kill_at_every_change_leaves_old_or_new(tmp_path: Path, total: int) -> None:
    outcomes = [kill_and_recover(tmp_path / str(number), number, None) for number in range(total)]
    assert set(outcomes) == {"old", "new"}
