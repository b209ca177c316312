"""The law of deltas: what is built, sent as a delta and extracted is the second tree, whatever the two trees are."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

from sluice.model.site import Synchronize
from sluice.operations.fitting import SMALL_MEMORY
from tests.attacks.forked import Nursery
from tests.operations.revisions import tree_of
from tests.operations.scene import Scene
from tests.operations.tree_pairs import Tree, tree_pairs, write_tree

EXAMPLES = 20
"""For each kind of agent; ``--hypothesis-profile=long`` for thousands."""


IS_LONG = settings().max_examples > 1000
PHASES = tuple(Phase) if IS_LONG else (Phase.explicit, Phase.reuse, Phase.generate)
"""Making a failing pair small takes longer than a test may."""
ROOMY, TIGHT = 2 * SMALL_MEMORY, SMALL_MEMORY - 1
"""Bytes of memory of an agent that gets deltas as they are, and of one that gets small ones."""


@pytest.fixture(scope="module", params=[ROOMY, TIGHT], ids=["roomy", "tight"])
def nursery(request: pytest.FixtureRequest) -> Iterator[Nursery]:
    nursery = Nursery(request.param)
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sluice-deltas-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield directory
    shutil.rmtree(directory)


@settings(max_examples=settings().max_examples if IS_LONG else EXAMPLES, phases=PHASES)
@given(pair=tree_pairs())
def test_the_second_tree_is_what_a_delta_from_the_first_makes_of_it(pair: tuple[Tree, Tree], nursery: Nursery, place: Path) -> None:
    first, second = pair
    top = place / "example"
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir()
    scene = Scene(top, nursery)
    scene.asking(synchronize=Synchronize.YES)
    write_tree(scene.source, first)
    revision = scene.build()
    assert revision is not None
    scene.install(revision)
    assert tree_of(scene.target) == tree_of(scene.source)

    scene.clear_source()
    write_tree(scene.source, second)
    revision = scene.build()
    if revision is None:
        return
    sent = scene.install(revision)
    assert str(sent.base) == "1.1"
    assert not sent.lent
    assert "distfile.ted" not in {ted.name for ted in scene.store.teds("zone", revision)}
    assert tree_of(scene.target) == tree_of(scene.source)
