"""Deltas in the store: made once, from whatever can be, kept for ever; and contents that are lent."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from blake3 import blake3

from infra.store import deltas
from infra.store.files import FileStore
from sluice.delta.make import make_frames
from sluice.errors import BaseDiffersError, NoSpaceError, NotFoundError, StoreCorruptError
from sluice.formats.ted.file import open_ted
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber
from sluice.model.site import Effort
from tests.ports.teds import decoded
from tests.soak.steps import killed_at

R11, R12, R13, R21 = (RevisionNumber.parse(text) for text in ("1.1", "1.2", "1.3", "2.1"))
TEXT = b"".join(b"line %d\n" % number for number in range(3000))


def digest_of(data: bytes) -> str:
    return blake3(data).hexdigest()


def named(*contents: bytes) -> dict[str, bytes]:
    return {digest_of(data): data for data in contents}


def add(
    store: FileStore,
    revision: RevisionNumber,
    contents: Sequence[bytes],
    bases: Sequence[RevisionNumber | None] = (),
    *,
    without: Sequence[RevisionNumber] = (),
    max_revisions: int | None = 10,
) -> Manifest:
    files = (Entry(EntryKind.FILE, f"f{n:04}", 0o644, n, len(data), digest_of(data)) for n, data in enumerate(contents))
    entries = (Entry(EntryKind.DIRECTORY, "", 0o755, 1), *files)
    made = Manifest("zone", revision, "file", (Destination("{{ DEST }}", True, entries),), max_revisions=max_revisions)
    with store.lock("zone") as draft:
        for data in contents:
            if not draft.holds(digest_of(data)):
                draft.put(digest_of(data), len(data), [data])
        draft.add_revision(made, bases)
        draft.remove(without)
    return made


def files(store: FileStore) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "hq")


def test_a_delta_is_as_large_as_the_change(store: FileStore) -> None:
    first = add(store, R11, [TEXT, b"same"], [None])
    second = add(store, R12, [TEXT.replace(b"line 7\n", b"line seven\n"), b"same"], [R11])
    (ted,) = store.teds("zone", R12)
    assert (ted.name, ted.base, ted.small) == ("from-1.1.ted", R11, False)
    assert ted.payload < 200
    assert decoded(ted, second, first, named(TEXT, b"same")) == [TEXT.replace(b"line 7\n", b"line seven\n")]


def test_a_small_one_is_another_file_and_needs_zstd_alone(store: FileStore) -> None:
    first = add(store, R11, [TEXT])
    second = add(store, R12, [TEXT[:9000] + b"more" + TEXT[9000:]], [R11])
    small = store.ensure_ted("zone", R12, R11, small=True)
    assert (small.name, small.small) == ("from-1.1.small.ted", True)
    assert {frame.kind.value for frame in open_ted(small.path)[0].frames} <= {"zstd", "prefix", "copy"}
    assert decoded(small, second, first, named(TEXT)) == [TEXT[:9000] + b"more" + TEXT[9000:]]
    assert [ted.name for ted in store.teds("zone", R12)] == ["from-1.1.ted", "from-1.1.small.ted"]


def test_every_kept_older_revision_is_a_base(store: FileStore) -> None:
    for revision in (R11, R12, R13):
        add(store, revision, [str(revision).encode()])
    assert store.bases("zone", R11) == []
    assert store.bases("zone", R13) == [R11, R12]
    with pytest.raises(NotFoundError):
        store.bases("zone", R21)


def test_the_delta_to_a_new_baseline_stays_when_its_base_has_gone(store: FileStore) -> None:
    add(store, R11, [b"first"])
    last = add(store, R12, [TEXT])
    new = add(store, R21, [TEXT + b"more"], [None, R12], without=[R11, R12])
    assert store.bases("zone", R21) == [R12]
    assert store.bases("zone", R21, small=True) == [R12]
    for small in (False, True):
        assert decoded(store.ensure_ted("zone", R21, R12, small=small), new, last, named(TEXT)) == [TEXT + b"more"]
    with pytest.raises(NotFoundError):
        store.ensure_ted("zone", R21, R11)


def test_at_a_maximum_of_one_revision_nothing_is_a_base(store: FileStore) -> None:
    add(store, R11, [b"one"], max_revisions=1)
    add(store, R21, [b"two"], max_revisions=1)
    assert store.bases("zone", R21) == ()


def test_a_ted_from_before_there_were_deltas_is_made_again(store: FileStore) -> None:
    first, second = add(store, R11, [b"one"], [None]), add(store, R12, [b"two"], [None])
    path = store.revision_directory("zone", R12) / "from-1.1.ted"
    path.write_bytes(Path(store.teds("zone", R12)[0].path).read_bytes().replace(b'"base":null', b'"base":"1.1"'))
    assert store.bases("zone", R12) == [R11]
    assert [ted.name for ted in store.teds("zone", R12)] == ["distfile.ted"]
    assert decoded(store.ensure_ted("zone", R12, R11), second, first, named(b"one")) == [b"two"]


def damage(store: FileStore, content: bytes) -> None:
    """Flip a byte of the pack that holds it."""
    location = store.contents.find(digest_of(content))
    assert location
    pack = store.contents.path(location.pack)
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 1
    pack.write_bytes(raw)


def test_an_old_content_that_is_damaged_costs_its_use_not_the_delta(store: FileStore) -> None:
    noise = random.Random(1).randbytes(5000)
    first, second = add(store, R11, [noise]), add(store, R12, [noise + b"more"])
    damage(store, noise)
    ted = store.ensure_ted("zone", R12, R11)
    assert {frame.kind.value for frame in open_ted(ted.path)[0].frames} == {"zstd"}
    assert decoded(ted, second, first) == [noise + b"more"]


def test_a_new_content_that_is_damaged_is_named(store: FileStore) -> None:
    noise = random.Random(1).randbytes(5000)
    add(store, R11, [noise])
    add(store, R12, [noise + b"more"])
    damage(store, noise + b"more")
    with pytest.raises(StoreCorruptError):
        store.ensure_ted("zone", R12, R11)
    assert store.teds("zone", R12) == []
    assert not [name for name in files(store) if ".tmp-" in name]


def test_a_content_whose_pack_lies_is_never_used(store: FileStore) -> None:
    """A pack that decompresses well to something else: only the digest can tell."""
    add(store, R11, [b"a" * 500])
    add(store, R12, [b"b" * 500])
    packs = {text: store.contents.path(store.contents.locate(digest_of(text * 500), 500).pack) for text in (b"a", b"b")}
    packs[b"b"].write_bytes(packs[b"a"].read_bytes())
    with pytest.raises(StoreCorruptError, match=digest_of(b"b" * 500)):
        FileStore(store.root.parent).ensure_ted("zone", R12, R11)


@pytest.mark.parametrize(("limit", "most"), [("RECIPE_MAX", 10), ("RANGES_MAX", 0)])
def test_a_recipe_beyond_the_limits_makes_no_delta(store: FileStore, monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    add(store, R11, [TEXT])
    monkeypatch.setattr(deltas, limit, most)
    monkeypatch.setattr(deltas, "default_reference", lambda gone: None)  # every range is named
    add(store, R12, [TEXT + b"two"], [None, R11])
    assert [ted.name for ted in store.teds("zone", R12)] == ["distfile.ted"]
    with pytest.raises(BaseDiffersError, match=r"1\.2 has too little in common with 1\.1"):
        store.ensure_ted("zone", R12, R11)


def test_no_frame_is_made_where_the_manifests_alone_are_beyond_the_limit(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, R11, [TEXT])
    add(store, R12, [TEXT + b"two"])
    monkeypatch.setattr(deltas, "RECIPE_MAX", 10)
    monkeypatch.setattr(deltas, "make_frames", None)
    with pytest.raises(BaseDiffersError):
        store.ensure_ted("zone", R12, R11)


def test_many_who_want_one_delta_at_once_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path / "hq")
    add(store, R11, [TEXT])
    add(store, R12, [TEXT + b"more"])
    made, begin, found = [], threading.Barrier(8), []

    def counted(*arguments: object, **options: object) -> object:
        made.append(options)
        return make_frames(*arguments, **options)  # type: ignore[arg-type]

    def wants(own: FileStore) -> None:
        begin.wait(30)
        found.append(own.ensure_ted("zone", R12, R11))

    monkeypatch.setattr(deltas, "make_frames", counted)
    threads = [threading.Thread(target=wants, args=(FileStore(tmp_path / "hq") if n % 2 else store,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 1
    assert len(found) == 8
    assert len(set(found)) == 1


def test_the_distributions_effort_is_what_its_deltas_may_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path / "hq", effort={"zone": Effort.MAX}.__getitem__)
    spent = []

    def seen(*arguments: object, **options: object) -> object:
        spent.append(options["effort"])
        return make_frames(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(deltas, "make_frames", seen)
    add(store, R11, [TEXT])
    add(store, R12, [TEXT + b"more"], [R11])
    assert spent == [Effort.MAX]


def test_a_long_make_tells_how_far_it_is(store: FileStore) -> None:
    add(store, R11, [TEXT])
    add(store, R12, [TEXT + b"more"])
    told: list[tuple[int, int]] = []
    store.ensure_ted("zone", R12, R11, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(TEXT) + 4, len(TEXT) + 4)


def test_what_is_lent_is_exactly_what_was_asked_for(store: FileStore) -> None:
    add(store, R11, [b"old" * 100, b"same"])
    second = add(store, R12, [b"new" * 100, b"same"])
    asked = [b"same", b"old" * 100, b"new" * 100]
    with store.supplement("zone", R12, R11, [digest_of(data) for data in asked]) as ted:
        index, data = open_ted(ted.path)
        assert (index.version, index.base, ted.base, ted.index, ted.payload) == (1, None, None, data, index.payload)
        lent = tuple(Entry(EntryKind.FILE, f"{n}", 0, 0, len(each), digest_of(each)) for n, each in enumerate(asked))
        only_those = Manifest("zone", R12, "file", (Destination("", True, lent),))
        assert decoded(ted, only_those) == asked
        path = ted.path
    assert not os.path.exists(path)
    assert store.manifest("zone", R12) == second


def test_what_neither_revision_has_or_nobody_keeps_is_not_lent(store: FileStore) -> None:
    add(store, R11, [b"one"])
    add(store, R12, [b"two"])
    add(store, R13, [b"three"])
    for revision, base, content in ((R12, None, b"one"), (R12, R11, b"three"), (R12, R11, b"never"), (R13, R21, b"two")):
        with pytest.raises(NotFoundError, match=digest_of(content)), store.supplement("zone", revision, base, [digest_of(content)]):
            pass
    with pytest.raises(NotFoundError), store.supplement("zone", R21, R11, [digest_of(b"one")]):
        pass
    assert not [name for name in files(store) if name.startswith("lent/")]


def test_what_would_leave_less_than_min_free_is_not_lent(store: FileStore) -> None:
    add(store, R11, [b"one"])
    full = FileStore(store.root.parent, min_free=2**62)
    with (
        pytest.raises(NoSpaceError, match=r"supplement of missing contents of 1\.1"),
        full.supplement("zone", R11, None, [digest_of(b"one")]),
    ):
        pass
    assert not [name for name in files(store) if name.startswith("lent/")]


def test_what_a_killed_lender_left_goes_and_what_another_lends_stays(store: FileStore) -> None:
    add(store, R11, [b"one"])
    assert killed_at(100, lambda: _lend_for_ever(store))
    with store.supplement("zone", R11, None, [digest_of(b"one")]) as first:
        with store.supplement("zone", R11, None, [digest_of(b"one")]) as second:
            assert len([name for name in files(store) if name.startswith("lent/")]) == 2
            assert first.path != second.path
        assert Path(first.path).exists()
    assert not [name for name in files(store) if name.startswith("lent/")]


def _lend_for_ever(store: FileStore) -> None:
    with store.supplement("zone", R11, None, [digest_of(b"one")]):
        while True:
            os.utime(store.root)
