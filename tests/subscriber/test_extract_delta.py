"""Extracting a delta: what it is applied to is believed only as far as what comes out is right, and killed anywhere it is old or new."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.filesystem.local.root import LocalRoot
from sluice.model.order import Outcome
from sluice.subscriber.held.directory import CORRUPT, TED
from tests.soak.steps import killed_at
from tests.subscriber.revisions import tree_of
from tests.subscriber.test_complete import SECOND, SEED, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def exchanged_at(monkeypatch: pytest.MonkeyPatch, scene: Scene, number: int) -> None:
    """Somebody exchanges a reference just before it is opened for the ``number``th time, for something of its size."""
    real, reads = LocalRoot.read, 0

    def read(root: LocalRoot, path: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        nonlocal reads
        if path == "zone/changed":
            reads += 1
            if reads == number:
                (scene.target / "changed").write_bytes(b"S" * 50_000)
        return real(root, path, offset, length)

    monkeypatch.setattr(LocalRoot, "read", read)


def test_a_reference_exchanged_while_it_is_completed_is_lacking(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.taking.put(scene.second)
    exchanged_at(monkeypatch, scene, 2)  # found right, then read
    assert scene.taking.complete(scene.second) == [scene.digest("changed")]
    scene.assert_nothing_is_held()


def test_a_reference_exchanged_while_it_is_extracted_changes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.taking.receive(scene.second)
    exchanged_at(monkeypatch, scene, 2)
    receipt = scene.host.extract(scene.second, scene.target)
    assert receipt.failure is not None
    assert receipt.failure.code == "BaseDiffersError"
    assert (scene.host.held.revision(SECOND) / TED).exists()
    assert not (scene.target / "resembles").exists()
    assert scene.host.leftovers(scene.target.parent) == []


@pytest.mark.parametrize("place", [0.5, 0.9])
def test_a_delta_that_was_damaged_at_rest_is_set_aside(scene: Scene, place: float) -> None:
    scene.taking.receive(scene.second)
    held = scene.host.held.revision(SECOND)
    data = bytearray((held / TED).read_bytes())
    data[int(len(data) * place)] ^= 1
    (held / TED).write_bytes(data)
    receipt = scene.host.extract(scene.second, scene.target)
    assert receipt.failure is not None
    assert receipt.failure.code == "StoreCorruptError"
    assert (held / CORRUPT).exists()
    assert scene.taking.receive(scene.second) == []
    scene.extract()


@pytest.mark.slow
def test_killed_anywhere_an_extraction_from_a_delta_and_lent_contents_is_old_or_new(tmp_path: Path) -> None:
    killed = 0
    for number in random.Random(SEED).sample(range(90), 5):
        directory = tmp_path / str(number)
        directory.mkdir()
        scene = Scene(directory)
        (scene.target / "changed").write_bytes(b"edited")
        scene.taking.receive(scene.second, scene.first)
        before = tree_of(scene.target)
        if killed_at(number, scene.extract):
            killed += 1
            scene.host.recover()
            if scene.host.held.status().extracted.revision == "1.1":  # type: ignore[union-attr]
                assert tree_of(scene.target) == before
            receipt = scene.host.extract(scene.second, scene.target)
            assert receipt.outcome in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED), receipt.failure
        found = tree_of(scene.target)
        assert {name: found[name] for name in tree_of(scene.source)} == tree_of(scene.source)
        assert list(scene.host.held.revision(SECOND).glob("lent-*")) == []
        assert scene.host.leftovers(directory) == []
    assert killed
