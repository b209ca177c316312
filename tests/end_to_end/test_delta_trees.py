"""The law of deltas: what is built, sent as a delta and extracted is the second tree, whatever the two trees are, and whatever somebody
did meanwhile to the first one where it stands."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sluice.model.order import Outcome
from sluice.model.removals import RemovalLimit
from sluice.model.revision import RevisionNumber
from sluice.model.site import Synchronize
from sluice.sender.ted_choice import SMALL_MEMORY
from sluice.sender.transfer import Remedy
from tests.attacks.forked import Nursery
from tests.end_to_end.scene import Scene
from tests.end_to_end.tree_pairs import Tree, tree_pairs, write_tree
from tests.subscriber.revisions import tree_of

pytestmark = pytest.mark.slow
EXAMPLES = 10
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


def begun(pair: tuple[Tree, Tree], nursery: Nursery, place: Path) -> tuple[Scene, RevisionNumber | None]:
    """The first tree is extracted, the second built; None where nothing differs."""
    first, second = pair
    top = place / "example"
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir()
    scene = Scene(top, nursery)
    scene.asking(synchronize=Synchronize.YES, max_removals=RemovalLimit(100, 0))  # a second tree may have no file
    write_tree(scene.source, first)
    revision = scene.build()
    assert revision is not None
    scene.install(revision)
    assert tree_of(scene.target) == tree_of(scene.source)
    scene.clear_source()
    write_tree(scene.source, second)
    return scene, scene.build()


@settings(max_examples=settings().max_examples if IS_LONG else EXAMPLES, phases=PHASES)
@given(pair=tree_pairs())
def test_the_second_tree_is_what_a_delta_from_the_first_makes_of_it(pair: tuple[Tree, Tree], nursery: Nursery, place: Path) -> None:
    scene, revision = begun(pair, nursery, place)
    if revision is None:
        return
    sent = scene.install(revision)
    assert str(sent.base) == "1.1"
    assert not sent.supplement
    assert "distfile.ted" not in {ted.name for ted in scene.store.teds("zone", revision)}
    assert tree_of(scene.target) == tree_of(scene.source)


def damage(top: Path, chance: Random) -> None:
    """What somebody does to extracted files: other content, perhaps under the same size and time, less, more, or none at all."""
    for path in sorted(path for path in top.rglob("*") if path.is_file() and not path.is_symlink()):
        status = path.stat()
        match chance.choice(("nothing", "nothing", "content", "hidden", "longer", "gone")):
            case "content":
                path.write_bytes(b"somebody's own")
            case "hidden" if status.st_size:
                data = path.read_bytes()
                path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            case "longer":
                path.write_bytes(path.read_bytes() + b"more")
            case "gone":
                path.unlink()


@settings(max_examples=settings().max_examples if IS_LONG else EXAMPLES, phases=PHASES)
@given(pair=tree_pairs(), seed=st.integers(0, 2**32))
def test_whoever_changed_the_first_tree_where_it_stands_gets_the_second_all_the_same(
    pair: tuple[Tree, Tree], seed: int, nursery: Nursery, place: Path
) -> None:
    scene, revision = begun(pair, nursery, place)
    if revision is None:
        return
    damage(scene.target, Random(seed))
    _, receipt = scene.deliver(revision)
    if receipt.failure is not None:
        assert receipt.failure.code == "BaseDiffersError"
        _, receipt = scene.deliver(revision, remedy=Remedy.MEND)
    assert receipt.outcome is Outcome.INSTALLED, receipt
    assert tree_of(scene.target) == tree_of(scene.source)
