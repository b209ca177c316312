"""Completing: a delta becomes held once everything it needs is there; what is lacking is named, lent, and nothing else is believed."""

from __future__ import annotations

import gc
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from sluice.errors import BaseDiffersError, NotFoundError, SluiceError, StoreCorruptError, TamperedError
from sluice.model.manifest import Manifest
from sluice.model.order import Outcome
from sluice.model.revision import RevisionNumber
from sluice.subscriber.held.directory import TED
from sluice.subscriber.receive.supplement import index_max
from tests.end_to_end.deltas import Completing, delta, lent
from tests.soak.steps import killed_at
from tests.subscriber.host import Host
from tests.subscriber.revisions import Made, make, tree_of

SEED = 4
SECOND = RevisionNumber(1, 2)


class Scene:
    """1.1 is extracted; 1.2 changes files, moves one, adds one that resembles an old one, and removes one."""

    def __init__(self, directory: Path, *, small: bool = False, verify: bool = False) -> None:
        self.source, self.target = directory / "source", directory / "zone"
        chance = random.Random(SEED)
        self.source.mkdir()
        for name in ("changed", "stays", "moves", "goes"):
            (self.source / name).write_bytes(chance.randbytes(50_000))
        (self.source / "other").write_bytes(b"text\n" * 1000)
        self.host = Host(directory)
        self.taking = Completing(self.host)
        self.first = make("1.1", self.source, verify=verify)
        self.host.install(self.first, self.target)
        old = (self.source / "changed").read_bytes()
        (self.source / "changed").write_bytes(old[:20_000] + b"new" + old[20_000:])
        (self.source / "resembles").write_bytes((self.source / "goes").read_bytes()[:-5] + b"end")
        (self.source / "moves").rename(self.source / "moved")
        (self.source / "goes").unlink()
        self.whole = make("1.2", self.source, verify=verify)
        self.second = delta(self.whole, self.first, small=small)

    def digest(self, name: str) -> str:
        """Of a file of 1.1."""
        return next(entry.digest for entry in self.first.manifest.destinations[0].entries if entry.path == name)

    def extract(self) -> None:
        receipt = self.host.extract(self.second, self.target)
        assert receipt.outcome is Outcome.INSTALLED, receipt.failure
        found = tree_of(self.target)
        found.pop("goes", None)  # nothing is taken away without synchronize
        found.pop("moves", None)
        assert found == tree_of(self.source)
        assert self.host.leftovers(self.target.parent) == []

    def assert_nothing_is_held(self) -> None:
        assert "1.2" not in self.host.held.status().received
        assert not self.host.held.revision(SECOND).exists()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize("small", [False, True])
def test_a_delta_is_completed_without_its_manifest_and_extracted(tmp_path: Path, small: bool) -> None:
    scene = Scene(tmp_path, small=small)
    assert len(scene.second.ted) < 2000
    scene.taking.put(scene.second)
    scene.assert_nothing_is_held()

    assert scene.taking.complete(scene.second) == []

    place = scene.host.held.revision(SECOND)
    assert (place / "manifest").read_bytes() == scene.whole.manifest_bytes
    assert sorted(path.name for path in place.iterdir()) == [TED, "manifest"]
    assert scene.host.held.newest_held(scene.host.held.status()) == SECOND
    assert scene.taking.complete(scene.second) == []
    scene.extract()


@pytest.mark.slow
def test_no_manifest_outlives_completing_in_a_cycle(scene: Scene) -> None:
    scene.taking.put(scene.second)
    gc.collect()
    gc.disable()
    try:
        before = [each for each in gc.get_objects() if isinstance(each, Manifest)]
        assert scene.taking.complete(scene.second) == []
        assert len([each for each in gc.get_objects() if isinstance(each, Manifest)]) == len(before)
    finally:
        gc.enable()


def test_what_somebody_changed_is_lacking_and_lent_and_nothing_else(scene: Scene) -> None:
    (scene.target / "changed").write_bytes(b"edited")  # a reference
    (scene.target / "stays").unlink()  # only stays
    os.utime(scene.target / "other", ns=(1, 1))  # its content is right

    lacks = scene.taking.receive(scene.second, scene.first)

    assert sorted(lacks) == sorted([scene.digest("changed"), scene.digest("stays")])
    place = scene.host.held.revision(SECOND)
    assert sorted(path.name for path in place.iterdir()) == [TED, "lent-0.json", "lent-0.ted", "manifest"]
    scene.extract()
    assert sorted(path.name for path in place.iterdir()) == [TED, "manifest"]


def test_an_edit_that_is_what_comes_is_lacking_as_a_reference_all_the_same(scene: Scene) -> None:
    (scene.target / "changed").write_bytes((scene.source / "changed").read_bytes())
    assert scene.taking.receive(scene.second, scene.first) == [scene.digest("changed")]
    scene.extract()


def test_a_content_with_several_places_is_taken_from_one_that_is_right(tmp_path: Path) -> None:
    source, target, host = tmp_path / "source", tmp_path / "zone", Host(tmp_path)
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / name).write_bytes(b"same" * 5000)
    first = make("1.1", source)
    host.install(first, target)
    (target / "a").write_bytes(b"edited")
    (target / "b").unlink()
    (source / "d").write_bytes(b"same" * 4999 + b"name")
    second = delta(make("1.2", source), first)
    assert Completing(host).receive(second) == []
    assert host.extract(second, target).outcome is Outcome.INSTALLED
    assert tree_of(target) == tree_of(source)


def test_a_changed_time_alone_lacks_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for path in scene.source.iterdir():
        os.utime(path, ns=(5, 5))
    touched = delta(make("1.2", scene.source), scene.first)
    assert scene.taking.receive(touched) == []


def test_after_a_change_between_completion_and_extraction_the_same_delta_fits_once_more(scene: Scene) -> None:
    assert scene.taking.receive(scene.second) == []
    (scene.target / "changed").write_bytes(b"edited")
    before = tree_of(scene.target)

    receipt = scene.host.extract(scene.second, scene.target)

    assert receipt.failure is not None
    assert receipt.failure.code == "BaseDiffersError"
    assert str(scene.target / "changed") in receipt.failure.message
    assert tree_of(scene.target) == before
    lacks = scene.taking.complete(scene.second)
    assert lacks == [scene.digest("changed")]
    scene.taking.supplement(scene.second, lacks, [scene.first.contents[lacks[0]]])
    assert scene.taking.complete(scene.second) == []
    scene.extract()


def test_an_extracted_revision_is_mended_from_what_is_lent(tmp_path: Path) -> None:
    scene = Scene(tmp_path, verify=True)
    scene.taking.receive(scene.second)
    scene.extract()
    (scene.target / "changed").write_bytes(b"damaged")
    (scene.target / "resembles").unlink()
    failed = scene.host.extract(scene.second, scene.target)
    assert failed.failure is not None
    assert failed.failure.code == "BaseDiffersError"

    lacks = scene.taking.complete(scene.second)

    new = {blake3((scene.source / name).read_bytes()).hexdigest() for name in ("changed", "resembles")}
    assert set(lacks) == new
    scene.taking.supplement(scene.second, lacks, [scene.whole.contents[digest] for digest in lacks])
    scene.extract()


def test_a_delta_whose_base_is_no_longer_extracted_is_not_held_and_can_be_replaced(scene: Scene) -> None:
    scene.taking.receive(scene.second)
    (scene.source / "stays").write_bytes(b"third")
    third = make("1.3", scene.source)
    late = delta(third, scene.first)
    assert scene.taking.receive(late) == []
    assert scene.host.extract(scene.second, scene.target).outcome is Outcome.INSTALLED

    assert scene.host.held.newest_held(scene.host.held.status()) == SECOND
    lacks = scene.taking.complete(late)
    assert lacks == [blake3(b"third").hexdigest()]
    fitting = delta(third, scene.whole)
    assert scene.taking.receive(fitting) == []
    assert scene.host.extract(fitting, scene.target).outcome is Outcome.INSTALLED


def test_an_older_revision_is_refused_though_it_was_completed(scene: Scene) -> None:
    third = delta(replace_revision(scene.whole, "1.3"), scene.first)
    scene.taking.receive(scene.second)
    scene.taking.receive(third)
    assert scene.host.extract(third, scene.target).outcome is Outcome.INSTALLED
    receipt = scene.host.extract(scene.second, scene.target)
    assert receipt.failure is not None
    assert receipt.failure.code == "OutOfOrderError"


def replace_revision(made: Made, revision: str) -> Made:
    from tests.subscriber.revisions import made as remade

    return remade(replace(made.manifest, revision=RevisionNumber.parse(revision)), dict(made.contents))


# --- what is refused ------------------------------------------------------------------------------------------------------------------


def test_without_its_base_a_delta_is_refused_before_it_comes(tmp_path: Path, scene: Scene) -> None:
    other = Completing(Host(tmp_path / "elsewhere"))
    with pytest.raises(BaseDiffersError, match=r"1\.1"):
        other.put(scene.second)
    with pytest.raises(NotFoundError):
        other.complete(scene.second)


def test_a_base_that_was_replaced_meanwhile_is_said(scene: Scene) -> None:
    scene.taking.put(scene.second)
    scene.host.install(replace_revision(scene.first, "1.1"), scene.target)
    moved = scene.host.held.status()
    scene.host.held.write_status(replace(moved, extracted=None))
    with pytest.raises(BaseDiffersError, match="isn't extracted"):
        scene.taking.complete(scene.second)


def test_a_damaged_base_manifest_is_no_base(scene: Scene) -> None:
    scene.taking.put(scene.second)
    scene.host.held.manifest_path.write_bytes(b"damaged")
    with pytest.raises(BaseDiffersError, match="isn't extracted"):
        scene.taking.complete(scene.second)


@pytest.mark.parametrize("what", ["mode", "link", "path", "size"])
def test_a_manifest_that_is_not_the_signed_one_is_tampered(scene: Scene, what: str) -> None:
    destination = scene.whole.manifest.destinations[0]
    entries = list(destination.entries)
    at = next(number for number, entry in enumerate(entries) if entry.path == "changed")
    lie = {"mode": {"mode": 0o4755}, "link": {"mtime_ns": 1}, "path": {"path": "changee"}, "size": {"size": entries[at].size + 1}}[what]
    entries[at] = replace(entries[at], **lie)  # type: ignore[arg-type]
    lying = replace(scene.whole.manifest, destinations=(replace(destination, entries=tuple(entries)),))
    evil = delta(scene.whole, scene.first, outline=lying)
    scene.taking.put(evil)
    with pytest.raises((TamperedError, StoreCorruptError)):
        scene.taking.complete(evil)
    scene.assert_nothing_is_held()


def test_a_delta_that_was_damaged_or_exchanged_where_it_arrived_is_found(scene: Scene) -> None:
    scene.taking.put(scene.second)
    arrived = scene.host.held.receiving(SECOND) / TED
    sound = arrived.read_bytes()
    for at in random.Random(SEED).sample(range(len(sound)), 25):
        damaged = bytearray(sound)
        damaged[at] ^= 1 << at % 8
        arrived.write_bytes(damaged)
        with pytest.raises(SluiceError):
            scene.taking.complete(scene.second)
        scene.assert_nothing_is_held()
    scene.taking.put(scene.second)
    assert scene.taking.complete(scene.second) == []


def hostile(scene: Scene, digests: list[str], contents: list[bytes]) -> None:
    with pytest.raises(TamperedError):
        scene.taking.supplement(scene.second, digests, contents)
    assert list(scene.host.held.receiving(SECOND).glob("lent-*")) == []


def test_only_contents_of_signed_manifests_are_lent_and_only_as_they_are(scene: Scene) -> None:
    scene.taking.put(scene.second)
    digest, content = scene.digest("stays"), (scene.source / "stays").read_bytes()
    hostile(scene, [blake3(b"strange").hexdigest()], [b"strange"])
    hostile(scene, [digest, digest], [content, content])
    hostile(scene, [digest], [content + b"x"])
    hostile(scene, [digest], [bytes(len(content))])
    hostile(scene, [17], [content])  # type: ignore[list-item]
    with pytest.raises(NotFoundError):
        scene.taking.supplement(
            replace(scene.second, manifest=replace(scene.second.manifest, revision=RevisionNumber(1, 9))), [digest], [content]
        )


def test_no_more_files_are_lent_than_a_limit(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.subscriber.receive.supplement.SUPPLEMENTS_MAX", 2)
    scene.taking.put(scene.second)
    for name in ("goes", "stays"):
        scene.taking.supplement(scene.second, [scene.digest(name)], [scene.first.contents[scene.digest(name)]])
    with pytest.raises(TamperedError, match="there are 2 files already"):
        scene.taking.supplement(scene.second, [scene.digest("other")], [b"text\n" * 1000])


def test_what_was_lent_is_taken_once(scene: Scene) -> None:
    scene.taking.put(scene.second)
    digests = [scene.digest("other"), scene.digest("goes")]
    scene.taking.supplement(scene.second, digests[:1], [b"text\n" * 1000])
    with pytest.raises(TamperedError, match=f"{digests[0]} is in lent-0.ted already"):
        scene.taking.supplement(scene.second, digests, [b"text\n" * 1000, scene.first.contents[digests[1]]])
    assert [path.name for path in scene.host.held.receiving(SECOND).glob("lent-*.ted")] == ["lent-0.ted"]


def test_what_was_sealed_when_the_agent_was_killed_is_lacking_no_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is lost; killed just before the file gets its name, it is lacking, and is lent once more."""
    (scene.target / "changed").write_bytes(b"edited")
    scene.taking.put(scene.second)
    lacks = scene.taking.complete(scene.second)
    contents = [scene.first.contents[digest] for digest in lacks]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            scene.taking.supplement(scene.second, lacks, contents)
    assert scene.taking.complete(scene.second) == lacks
    with monkeypatch.context() as patched:
        patched.setattr("sluice.subscriber.receive.supplement.sync_directory", killed)
        with pytest.raises(KeyboardInterrupt):
            scene.taking.supplement(scene.second, lacks, contents)
    assert scene.taking.complete(scene.second) == []
    scene.extract()


def test_the_index_of_honest_lent_contents_is_within_its_limit() -> None:
    chance = random.Random(SEED)
    for sizes in ([0], [1] * 50, [5_000_000, 3, 9_000_000], [4_194_304], [4_194_305, 4_194_303] * 2):
        contents = [chance.randbytes(size) for size in sizes]
        _, _, data = lent([each for each in contents if each])
        assert len(data) <= index_max([("", size) for size in sizes]) + 100 * sizes.count(1)


def test_a_damaged_lent_file_is_as_if_it_had_not_come(scene: Scene) -> None:
    (scene.target / "changed").write_bytes(b"edited")
    scene.taking.receive(scene.second, scene.first)
    file = scene.host.held.revision(SECOND) / "lent-0.ted"
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)

    receipt = scene.host.extract(scene.second, scene.target)

    assert receipt.failure is not None
    assert receipt.failure.code == "BaseDiffersError"
    assert not file.exists()
    lacks = scene.taking.complete(scene.second)
    assert lacks == [scene.digest("changed")]
    scene.taking.supplement(scene.second, lacks, [scene.first.contents[lacks[0]]])
    scene.extract()


def test_a_whole_one_replaces_a_delta_and_what_was_lent(scene: Scene) -> None:
    (scene.target / "changed").write_bytes(b"edited")
    scene.taking.put(scene.second)
    lacks = scene.taking.complete(scene.second)
    scene.taking.supplement(scene.second, lacks, [scene.first.contents[digest] for digest in lacks])
    scene.host.receive(scene.whole)
    assert sorted(path.name for path in scene.host.held.revision(SECOND).iterdir()) == [TED, "manifest"]
    scene.second = scene.whole
    scene.extract()


# --- kills ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_anywhere_a_completion_is_repeated(tmp_path: Path) -> None:
    killed = 0
    for number in random.Random(SEED).sample(range(45), 15):
        directory = tmp_path / str(number)
        directory.mkdir()
        scene = Scene(directory)
        (scene.target / "changed").write_bytes(b"edited")
        before = tree_of(scene.target)
        if killed_at(number, lambda scene=scene: scene.taking.receive(scene.second, scene.first)):
            killed += 1
            assert tree_of(scene.target) == before
            scene.host.recover()
            status = scene.host.held.status()
            if scene.host.held.holds(status, SECOND):
                assert (scene.host.held.revision(SECOND) / "manifest").read_bytes() == scene.whole.manifest_bytes
        scene.taking.receive(scene.second, scene.first)
        scene.extract()
    assert killed
