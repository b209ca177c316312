"""The store: contents once, revisions whole or not at all, damage found when it is read, nothing deleted that is needed."""

from __future__ import annotations

import errno
import os
import random
import re
import resource
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.store import compose as composing
from infra.store import packs
from infra.store.files import FileStore
from sluice.errors import NoSpaceError, NotFoundError, SourceChangedError, StoreCorruptError, StoreError, StoreLockedError
from sluice.formats import pack as packing
from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.ted.file import needed_contents
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber
from tests.conftest import some
from tests.ports.teds import decoded

R11, R12, R13, R21 = (RevisionNumber.parse(text) for text in ("1.1", "1.2", "1.3", "2.1"))


def manifest(distribution: str, revision: RevisionNumber, contents: Sequence[bytes]) -> Manifest:
    files = tuple(
        Entry(EntryKind.FILE, f"f{number:04}", 0o644, number, len(data), blake3(data).hexdigest()) for number, data in enumerate(contents)
    )
    top = Entry(EntryKind.DIRECTORY, "", 0o755, 1)
    return Manifest(distribution, revision, "file", (Destination("{{ DEST }}", True, (top, *files)),))


def add(
    store: FileStore,
    distribution: str,
    revision: RevisionNumber,
    contents: Sequence[bytes],
    *,
    bases: Sequence[RevisionNumber | None] = (None,),
) -> Manifest:
    made = manifest(distribution, revision, contents)
    with store.lock(distribution) as draft:
        for data in contents:
            digest = blake3(data).hexdigest()
            if not draft.holds(digest):
                draft.put(digest, len(data), [data])
        draft.add_revision(made, bases)
    return made


def named(*contents: bytes) -> dict[str, bytes]:
    return {blake3(data).hexdigest(): data for data in contents}


def files(store: FileStore) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "hq")


def test_a_revision_is_found_as_it_was_added(store: FileStore) -> None:
    contents = [b"one", b"two" * 1000, b"", b"one"]
    made = add(store, "zone", R11, contents)
    assert store.revisions("zone") == [R11]
    assert store.manifest("zone", R11) == made
    assert store.manifest_bytes("zone", R11) == manifest_bytes(made)
    (ted,) = store.teds("zone", R11)
    assert (ted.revision, ted.base, ted.name) == (R11, None, "distfile.ted")
    assert decoded(ted, made) == [b"one", b"two" * 1000, b""]


def test_the_working_directory_is_as_the_format_says(store: FileStore) -> None:
    add(store, "zone", R11, [b"one"])
    add(store, "zone", R12, [b"one", b"two"], bases=[R11])
    pack, index = [name for name in files(store) if name.endswith(".pack")], [name for name in files(store) if name.endswith(".idx")]
    assert len(pack) == len(index) == 2
    assert set(files(store)) - {*pack, *index} == {
        "lock",
        "distributions/zone/lock",
        "distributions/zone/revisions/1.1/manifest",
        "distributions/zone/revisions/1.1/distfile.ted",
        "distributions/zone/revisions/1.2/manifest",
        "distributions/zone/revisions/1.2/from-1.1.ted",
    }
    assert all(path.stat().st_mode & 0o077 == 0 for path in store.root.rglob("*") if path.is_file())


def test_nothing_is_there_before_anything_is_written(store: FileStore) -> None:
    assert store.revisions("zone") == []
    assert store.scan_memory("zone") == b""
    assert store.disk_used(["zone"])["zone"].revisions == 0
    with pytest.raises(NotFoundError, match="has no revision"):
        store.manifest("zone", R11)
    with pytest.raises(NotFoundError):
        store.teds("zone", R11)
    with pytest.raises(NotFoundError):
        store.ensure_ted("zone", R11, None)
    assert not store.root.exists()


def test_a_content_is_kept_once_over_revisions_and_distributions(store: FileStore) -> None:
    add(store, "a", R11, [b"common" * 500, b"a"])
    add(store, "a", R12, [b"common" * 500, b"b"], bases=[R11])
    add(store, "c", R11, [b"b", b"common" * 500, b"c"])
    store.contents.refresh()
    held = [content[0] for name in files(store) if name.endswith(".idx") for content in store.contents.index(Path(name).stem).contents]
    assert sorted(held) == sorted({blake3(data).hexdigest() for data in (b"common" * 500, b"a", b"b", b"c")})
    assert decoded(store.ensure_ted("c", R11, None), store.manifest("c", R11)) == [b"b", b"common" * 500, b"c"]


def test_a_ted_is_made_once_when_first_needed(store: FileStore) -> None:
    first = add(store, "zone", R11, [b"one", b"two"])
    second = add(store, "zone", R12, [b"two", b"three"], bases=[R11])
    third = add(store, "zone", R13, [b"four", b"two"], bases=[R12])
    assert [ted.name for ted in store.teds("zone", R13)] == ["from-1.2.ted"]
    held = named(b"one", b"two", b"three")
    assert decoded(store.ensure_ted("zone", R13, R11), third, first, held) == [b"four"]
    assert decoded(store.ensure_ted("zone", R13, R12), third, second, held) == [b"four"]
    whole = store.ensure_ted("zone", R13, None)
    assert decoded(whole, third) == [b"four", b"two"]
    before = os.stat(whole.path).st_mtime_ns
    assert store.ensure_ted("zone", R13, None) == whole
    assert os.stat(whole.path).st_mtime_ns == before
    assert [ted.name for ted in store.teds("zone", R13)] == ["distfile.ted", "from-1.1.ted", "from-1.2.ted"]
    with pytest.raises(NotFoundError, match=r"kept are: 1\.1, 1\.2, 1\.3"):
        store.ensure_ted("zone", R13, R21)


@settings(max_examples=some(30))
@given(st.lists(st.lists(st.binary(max_size=200), max_size=12), min_size=1, max_size=3), st.integers(1, 100), st.integers(0, 100))
def test_any_ted_holds_what_its_base_lacks_however_contents_lie_in_packs(revisions: list[list[bytes]], frame: int, copied: int) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda fd: None)
        patched.setattr(packing, "FRAME_MAX", frame)
        patched.setattr(composing, "FRAME_MAX", frame)
        patched.setattr(composing, "COPY_MIN", copied)
        patched.setattr(packs, "FRAMES_CACHED", 2)
        patched.setattr(packs, "PACKS_OPEN", 1)
        patched.setattr("infra.store.contents.PACK_PLAIN", 4 * frame)
        store, made = FileStore(directory), {}
        for number, contents in enumerate(revisions, start=1):
            revision = RevisionNumber(1, number)
            made[revision] = add(store, "zone", revision, contents, bases=[])
        plain = {blake3(data).hexdigest(): data for contents in revisions for data in contents}
        for revision, new in made.items():
            for base in (None, *(number for number in made if number < revision)):
                needed = [plain[digest] for digest, _ in needed_contents(new, made[base] if base else None)]
                for small in (False, True) if base else (False,):
                    ted = store.ensure_ted("zone", revision, base, small=small)
                    assert decoded(ted, new, made[base] if base else None, plain) == needed


def test_whole_frames_are_copied_not_compressed_again(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [random.Random(number).randbytes(3 * 1024 * 1024) for number in range(4)]
    monkeypatch.setattr(composing, "compress_frame", lambda plain: pytest.fail("compressed again"))
    made = add(store, "zone", R11, contents)
    assert decoded(store.ensure_ted("zone", R11, None), made) == contents


def test_a_revision_is_invisible_until_it_is_whole(store: FileStore) -> None:
    made = manifest("zone", R11, [b"one", b"missing"])
    with store.lock("zone") as draft:
        draft.put(blake3(b"one").hexdigest(), 3, [b"one"])
        with pytest.raises(StoreCorruptError, match="isn't in the store"):
            draft.add_revision(made, [None])
        assert [name for name in files(store) if name.endswith(".pack")]
        assert not [name for name in files(store) if ".tmp-" in name]
    assert store.revisions("zone") == []
    assert files(store) == ["distributions/zone/lock", "lock"], "what was put for nothing is pruned"


def test_what_reading_a_source_raises_passes_through_and_leaves_nothing(store: FileStore) -> None:
    def changing() -> Iterator[bytes]:
        yield b"on"
        raise SourceChangedError("it changes")

    with pytest.raises(SourceChangedError), store.lock("zone") as draft:
        draft.put("0" * 64, 3, changing())
    assert not [name for name in files(store) if ".tmp-" in name or name.endswith(".pack")]


def test_a_locked_distribution_is_refused_and_others_are_free(store: FileStore) -> None:
    with store.lock("zone"):
        with pytest.raises(StoreLockedError, match="Distribution zone"), store.lock("zone"):
            pass
        with store.lock("other"):
            pass
    with store.lock("zone"):
        pass


def test_removed_revisions_go_and_with_them_the_contents_that_only_they_had(store: FileStore) -> None:
    add(store, "zone", R11, [b"old" * 100])
    add(store, "zone", R12, [b"old" * 100, b"new" * 100], bases=[R11])
    add(store, "other", R11, [b"other" * 100])
    with store.lock("zone") as draft:
        draft.remove([R11])
    assert store.revisions("zone") == [R12]
    assert len([name for name in files(store) if name.endswith(".pack")]) == 3, "1.2 still needs both"
    with store.lock("zone") as draft:
        draft.remove([R12])
    assert len([name for name in files(store) if name.endswith(".pack")]) == 1
    assert decoded(store.ensure_ted("other", R11, None), store.manifest("other", R11)) == [b"other" * 100]
    with pytest.raises(NotFoundError), store.lock("zone") as draft:
        draft.remove([R12])


def test_nothing_is_pruned_while_somebody_builds(tmp_path: Path) -> None:
    one, two = FileStore(tmp_path), FileStore(tmp_path)
    add(two, "old", R11, [b"old"])
    with one.lock("zone") as draft:
        digest = blake3(b"new").hexdigest()
        assert draft.holds(blake3(b"old").hexdigest())
        draft.put(digest, 3, [b"new"])
        with two.lock("old") as other:
            other.remove([R11])
        assert not two.prune()
        made = manifest("zone", R11, [b"old", b"new"])
        draft.add_revision(made, [None])
    with two.lock("old"):
        pass
    assert two.prune()
    assert decoded(two.ensure_ted("zone", R11, None), made) == [b"old", b"new"]
    assert "distributions/old/unfinished" not in files(two)


def test_a_pack_whose_index_is_damaged_counts_as_not_held_and_is_not_pruned(tmp_path: Path) -> None:
    made = add(FileStore(tmp_path), "zone", R11, [b"one"])
    store = FileStore(tmp_path)
    (index,) = (store.root / "contents").glob("*.idx")
    index.write_bytes(index.read_bytes()[:-1])
    with store.lock("zone") as draft:
        assert not draft.holds(made.destinations[0].entries[1].digest)
    assert store.prune()
    assert index.exists()


def test_an_index_whose_pack_is_gone_holds_nothing_and_is_pruned(tmp_path: Path) -> None:
    made = add(FileStore(tmp_path), "zone", R11, [b"one"])
    store = FileStore(tmp_path)
    (pack,) = (store.root / "contents").glob("*.pack")
    pack.unlink()
    with store.lock("zone") as draft:
        assert not draft.holds(made.destinations[0].entries[1].digest)
    assert store.disk_used(["zone"])["zone"].contents == 0
    assert store.prune()
    assert list((store.root / "contents").iterdir()) == []


@pytest.mark.parametrize("at", [8, 20, -1])
def test_a_flipped_byte_in_a_pack_is_found_before_a_ted_is_made_of_it(store: FileStore, at: int) -> None:
    add(store, "zone", R11, [random.Random(1).randbytes(5000)])
    (pack,) = (store.root / "contents").glob("*.pack")
    data = bytearray(pack.read_bytes())
    data[at] ^= 1
    pack.write_bytes(data)
    Path(store.teds("zone", R11)[0].path).unlink()
    with pytest.raises(StoreCorruptError):
        store.ensure_ted("zone", R11, None)
    assert store.teds("zone", R11) == []
    assert not [name for name in files(store) if ".tmp-" in name]


def test_a_damaged_manifest_is_found_when_it_is_read(store: FileStore) -> None:
    add(store, "zone", R11, [b"one"])
    path = store.revision_directory("zone", R11) / "manifest"
    path.write_bytes(path.read_bytes().replace(b"f0000", b"f/000"))
    with pytest.raises(StoreCorruptError, match=r"the manifest of zone 1\.1 is damaged: ") as met:
        store.manifest("zone", R11)
    assert "sluice build zone --rebaseline" in met.value.remedy
    path.write_bytes(manifest_bytes(manifest("other", R11, [])))
    with pytest.raises(StoreCorruptError, match="is another's: other"):
        store.manifest("zone", R11)


def test_a_damaged_ted_is_found_and_made_again(store: FileStore) -> None:
    made = add(store, "zone", R11, [b"one"])
    path = Path(store.teds("zone", R11)[0].path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert store.teds("zone", R11) == []
    assert decoded(store.ensure_ted("zone", R11, None), made) == [b"one"]
    assert path.read_bytes() == whole


def test_free_space_is_checked_with_the_figures(tmp_path: Path) -> None:
    store = FileStore(tmp_path, min_free=2**60)
    with pytest.raises(NoSpaceError, match="1024 PiB must stay free"), store.lock("zone") as draft:
        draft.expect(1000)
    with store.lock("zone") as draft:
        draft.expect(0)


def test_space_for_a_delta_is_checked_before_it_is_made(store: FileStore) -> None:
    add(store, "zone", R11, [b"one"])
    add(store, "zone", R12, [b"one", b"two"])
    store.min_free = 2**60
    with pytest.raises(NoSpaceError, match=r"Distribution zone: from-1\.1\.ted of 1\.2 needs 3 B .* 1024 PiB must stay free"):
        store.ensure_ted("zone", R12, R11)
    assert [ted.base for ted in store.teds("zone", R12)] == [None]
    store.min_free = 0
    assert store.ensure_ted("zone", R12, R11).base == R11


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, NoSpaceError), (errno.EIO, StoreError)])
def test_a_disk_that_fails_is_a_store_error_and_leaves_nothing_visible(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[StoreError]
) -> None:
    add(store, "zone", R11, [b"one"])
    real = os.fsync
    for step in range(12):
        left = iter(range(step))

        def failing(fd: int, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise OSError(number, os.strerror(number))
            real(fd)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", failing)
            try:
                add(store, "zone", R12, [b"one", b"two"], bases=[R11])
            except expected:
                pass
            else:
                break
        assert not [name for name in files(store) if ".tmp-" in name]
        if R12 in store.revisions("zone"):
            break
    else:
        pytest.fail("no build got through")
    assert step > 3
    assert store.manifest("zone", R12)


def test_a_ted_that_cant_be_written_is_told_with_its_place(store: FileStore) -> None:
    add(store, "zone", R11, [b"one"])
    add(store, "zone", R12, [b"one", random.Random(1).randbytes(100_000)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StoreError, match=re.escape(str(store.revision_directory("zone", R12)))):
            store.ensure_ted("zone", R12, R11)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [name for name in files(store) if ".tmp-" in name]
    assert store.ensure_ted("zone", R12, R11).payload > 100_000


def test_disk_used_counts_revisions_and_packs(store: FileStore) -> None:
    add(store, "zone", R11, [random.Random(1).randbytes(100_000)])
    add(store, "other", R11, [random.Random(1).randbytes(100_000)])
    for name in ("zone", "other"):
        used = store.disk_used([name])[name]
        assert 100_000 < used.revisions < 200_000
        assert 100_000 < used.contents < 200_000
        assert used.own_contents == 0, "the other one needs it too"
    with store.lock("other") as draft:
        draft.remove([R11])
    used = store.disk_used(["zone"])["zone"]
    assert used.own_contents == used.contents > 100_000


def test_leftovers_of_killed_processes_go_with_the_next_lock(store: FileStore) -> None:
    add(store, "zone", R11, [b"one"])
    directory = store.distribution_directory("zone")
    (directory / ".tmp-1-1").write_bytes(b"x")
    (directory / "revisions" / ".tmp-1-2").mkdir()
    (directory / "revisions" / ".tmp-1-2" / "manifest").write_bytes(b"x")
    (directory / "revisions" / "1.1" / ".tmp-1-3").write_bytes(b"x")
    (store.root / "contents" / ".tmp-1-4").write_bytes(b"x")
    (store.root / "contents" / f"{'0' * 64}.pack").write_bytes(b"x")
    (directory / "unfinished").write_bytes(b"")
    with store.lock("zone"):
        pass
    assert len(files(store)) == 6
    assert store.revisions("zone") == [R11]


def test_memory_of_a_scan_is_kept(store: FileStore) -> None:
    with store.lock("zone") as draft:
        draft.remember(b"seen")
    assert store.scan_memory("zone") == b"seen"
