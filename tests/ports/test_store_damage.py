"""What a store says of damage at rest, and how its packs are mended: nothing sound is lost, and a kill is made good by a repeat."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from infra.store.files import FileStore
from sluice.errors import StoreLockedError
from sluice.model.damage import Damage, Part
from sluice.model.revision import RevisionNumber
from tests.ports.teds import decoded
from tests.ports.test_store import R11, R12, add, files
from tests.soak.steps import killed_at

SMALL = [random.Random(n).randbytes(700) for n in range(30)]
LARGE = random.Random(100).randbytes(9 * 1024 * 1024)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "hq")


def again(store: FileStore) -> FileStore:
    """As another process sees it."""
    return FileStore(store.root.parent)


def packs(store: FileStore) -> list[Path]:
    return sorted((store.root / "contents").glob("*.pack"))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def mend(store: FileStore, damages: tuple[Damage, ...], *given: bytes) -> set[str]:
    """Repair with these contents at hand; returns those that are still lost."""
    with store.repair_packs(damages) as repair:
        for data in given:
            digest = blake3(data).hexdigest()
            if not repair.holds(digest):
                repair.put(digest, len(data), [data])
        return set(repair.lost)


def test_a_sound_store_is_read_whole_and_nothing_is_said(store: FileStore) -> None:
    assert store.examine().bytes == 0
    add(store, "zone", R11, [*SMALL[:20], LARGE])
    add(store, "zone", R12, SMALL[10:], bases=[R11])
    add(store, "web", R11, [b"web"])
    seen: list[tuple[int, int]] = []
    found = store.examine(progress=lambda done, total: seen.append((done, total)))
    assert (found.packs, found.contents, found.manifests, found.teds, found.damages) == (3, 32, 3, 3, ())
    assert seen[-1][0] == seen[-1][1] == found.bytes > len(LARGE)
    assert store.examine(["web"]).packs == 1


def test_of_a_flipped_byte_in_a_pack_is_said_which_revisions_it_concerns(store: FileStore) -> None:
    add(store, "zone", R11, [LARGE])
    add(store, "zone", R12, [LARGE, b"small"], bases=[R11])
    add(store, "web", R11, [LARGE, b"web"])
    (pack,) = (path for path in packs(store) if path.stat().st_size > 1000)
    flip(pack, 5_000_000)
    (damage,) = store.examine().damages
    assert (damage.part, damage.path) == (Part.PACK, str(pack))
    assert damage.concerns == (("web", R11), ("zone", R11), ("zone", R12))
    assert damage.lost == ((blake3(LARGE).hexdigest(), len(LARGE)),)
    assert [each.concerns for each in store.examine(["web"]).damages] == [(("web", R11),)]


def test_what_is_sound_in_a_damaged_pack_is_saved_and_what_is_given_back_is_kept(store: FileStore) -> None:
    made = add(store, "zone", R11, [LARGE, *SMALL])
    (pack,) = packs(store)
    flip(pack, 2_000_000)
    damages = again(store).examine().damages
    assert mend(again(store), damages, *SMALL, LARGE) == set()
    assert again(store).examine().damages == ()
    assert packs(store) != [pack]
    fresh = again(store)
    Path(fresh.teds("zone", R11)[0].path).unlink()
    assert decoded(fresh.ensure_ted("zone", R11, None), made) == [LARGE, *SMALL]


def test_what_nobody_gives_back_isnt_held_any_more_and_the_next_build_takes_it_in(store: FileStore) -> None:
    add(store, "zone", R11, [*SMALL, LARGE])
    (pack,) = packs(store)
    flip(pack, pack.stat().st_size - 2_000_000)
    lost = blake3(LARGE).hexdigest()
    assert mend(store, store.examine().damages) == {lost}
    with again(store).lock("zone") as draft:
        assert not draft.holds(lost)
        assert draft.holds(blake3(SMALL[0]).hexdigest())
    (damage,) = again(store).examine().damages
    assert (damage.part, [digest for digest, _ in damage.lost]) == (Part.CONTENT, [lost])
    assert mend(again(store), (damage,), LARGE) == set()
    assert again(store).examine().damages == ()


def test_contents_that_are_all_gone_are_missed(store: FileStore) -> None:
    add(store, "zone", R11, SMALL)
    for path in (store.root / "contents").iterdir():
        path.unlink()
    (store.root / "contents").rmdir()
    (damage,) = again(store).examine().damages
    assert (damage.part, len(damage.lost), damage.concerns) == (Part.CONTENT, len(SMALL), (("zone", R11),))
    assert mend(again(store), (damage,), *SMALL) == set()
    assert again(store).examine().damages == ()


@pytest.mark.parametrize("damage", ["magic", "cut", "tail"])
def test_a_pack_of_another_length_or_beginning_is_mended(store: FileStore, damage: str) -> None:
    add(store, "zone", R11, SMALL)
    (pack,) = packs(store)
    data = pack.read_bytes()
    pack.write_bytes({"magic": b"X" + data[1:], "cut": data[:-100], "tail": data + b"more"}[damage])
    found = again(store).examine().damages
    assert found[0].path == str(pack)
    assert mend(again(store), found, *SMALL) == set()
    assert again(store).examine().damages == ()


def test_a_damaged_index_is_found_out_again_from_its_pack(store: FileStore) -> None:
    add(store, "zone", R11, [*SMALL, LARGE, b""])
    before = {path: path.read_bytes() for path in (store.root / "contents").iterdir()}
    (index,) = (store.root / "contents").glob("*.idx")
    flip(index, 20)
    found = again(store).examine().damages
    assert [each.part for each in found] == [Part.INDEX, Part.CONTENT]
    assert mend(again(store), found) == set()
    assert {path: path.read_bytes() for path in (store.root / "contents").iterdir()} == before


def test_of_a_pack_without_index_everything_that_revisions_need_is_saved(store: FileStore) -> None:
    add(store, "zone", R11, [b"gone with its revision" * 50, *SMALL[:5], LARGE])
    made = add(store, "zone", R12, [*SMALL[:5], LARGE], bases=[R11])
    with store.lock("zone") as draft:
        draft.remove([R11])
    (index,) = (store.root / "contents").glob("*.idx")
    flip(index, 20)
    lost = mend(again(store), again(store).examine().damages, *SMALL)
    assert lost == set(), "behind the content that nobody knows, those in its frame are given, the large one is found"
    assert again(store).examine().damages == ()
    assert decoded(again(store).ensure_ted("zone", R12, None), made) == [*SMALL[:5], LARGE]


def test_a_damaged_pack_stays_until_no_build_relies_on_packs(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.store.repair.PACKS_WAIT", 0.0)
    add(store, "zone", R11, [LARGE, *SMALL])
    (pack,) = packs(store)
    flip(pack, 100)
    damages = store.examine().damages
    with again(store).lock("web") as draft:
        draft.holds("0" * 64)
        with pytest.raises(StoreLockedError, match="a build is under way"):
            mend(again(store), damages, LARGE)
        assert pack.exists()
    assert mend(again(store), damages, LARGE) == set()
    assert not pack.exists()
    assert again(store).examine().damages == ()


def test_a_damaged_ted_is_set_aside_and_a_sound_one_isnt(store: FileStore) -> None:
    add(store, "zone", R11, [LARGE])
    (ted,) = store.teds("zone", R11)
    whole = Path(ted.path).read_bytes()
    assert store.set_aside("zone", R11, "distfile.ted") is None
    flip(Path(ted.path), 3_000_000)
    (damage,) = store.examine().damages
    assert (damage.part, damage.path, damage.concerns) == (Part.TED, ted.path, (("zone", R11),))
    aside = store.set_aside("zone", R11, "distfile.ted")
    assert aside == str(Path(ted.path).with_name("distfile.corrupt"))
    assert store.ensure_ted("zone", R11, None) == ted
    assert Path(ted.path).read_bytes() == whole
    assert store.examine().damages == ()
    assert store.set_aside("zone", R11, "from-1.0.ted") is None


def test_a_damaged_manifest_and_one_that_is_gone_are_named(store: FileStore) -> None:
    add(store, "zone", R11, [b"one"])
    add(store, "zone", R12, [b"two"])
    path = store.revision_directory("zone", R11) / "manifest"
    path.write_bytes(path.read_bytes()[:-1])
    (store.revision_directory("zone", R12) / "manifest").unlink()
    assert [(each.part, each.concerns) for each in store.examine().damages] == [
        (Part.MANIFEST, (("zone", R11),)),
        (Part.MANIFEST, (("zone", R12),)),
    ]


def _index(store: FileStore) -> None:
    (index,) = (store.root / "contents").glob("*.idx")
    flip(index, 20)


def _pack(store: FileStore) -> None:
    (pack,) = packs(store)
    flip(pack, 300)


@pytest.mark.slow
@pytest.mark.parametrize("damaging", [_index, _pack])
def test_mending_killed_at_any_step_and_repeated_ends_with_everything(
    tmp_path: Path, damaging: Callable[[FileStore], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    step = 0
    while True:
        store = FileStore(tmp_path / str(step))
        made = add(store, "zone", R11, SMALL)
        damaging(store)

        def act(store: FileStore = store) -> None:
            mend(again(store), again(store).examine().damages, *SMALL)

        killed = killed_at(step, act)
        sound = sum(not each.is_of_contents for each in again(store).examine().damages)
        assert sound == 0
        act()
        assert again(store).examine().damages == ()
        fresh = again(store)
        fresh.prune()
        assert not [name for name in files(store) if ".tmp-" in name]
        Path(fresh.teds("zone", RevisionNumber(1, 1))[0].path).unlink()
        assert decoded(fresh.ensure_ted("zone", R11, None), made) == SMALL
        if not killed:
            break
        step += 1
    assert step > 3
