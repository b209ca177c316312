"""What is in use while its revision goes: it is read to its end, and what others need stays (C3, C12)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from blake3 import blake3

from infra.store.files import FileStore
from sluice.formats.ted.file import PAYLOAD_OFFSET, needed_contents, open_ted, read_contents
from tests.ports.teds import decoded
from tests.ports.test_store import R11, R12, add, files
from tests.soak.steps import killed_at

DATA = random.Random(5).randbytes(6 * 1024 * 1024)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "hq")


def remove(store: FileStore, name: str = "zone") -> None:
    """As another process's build does once it is superseded."""
    with FileStore(store.root.parent).lock(name) as draft:
        draft.remove([R11])


def packs(store: FileStore) -> int:
    return len([name for name in files(store) if name.endswith(".pack")])


def test_a_ted_that_is_being_sent_is_read_to_its_end(store: FileStore) -> None:
    made = add(store, "zone", R11, [DATA])
    (ted,) = store.teds("zone", R11)
    index, _ = open_ted(ted.path)
    with open(ted.path, "rb", buffering=0) as file:
        file.seek(PAYLOAD_OFFSET)
        first = file.read(1_000_000)
        remove(store)
        rest = file.read(ted.payload - len(first))
    assert (store.revisions("zone"), packs(store)) == ([], 0)
    left = memoryview(first + rest)

    def read(size: int) -> bytes:
        nonlocal left
        piece, left = left[:size], left[size:]
        return bytes(piece)

    assert [b"".join(pieces) for _, _, pieces in read_contents(read, index, needed_contents(made))] == [DATA]


def test_what_is_lent_stays_whole_while_its_revision_goes(store: FileStore) -> None:
    add(store, "zone", R11, [DATA, b"other"])
    digest = blake3(DATA).hexdigest()
    with store.supplement("zone", R11, None, [digest]) as lent:
        remove(store)
        index, _ = open_ted(lent.path)
        with open(lent.path, "rb") as file:
            file.seek(PAYLOAD_OFFSET)
            assert [b"".join(pieces) for _, _, pieces in read_contents(file.read, index, [(digest, len(DATA))])] == [DATA]
    assert not [name for name in files(store) if "lent" in name and name.endswith(".ted")]
    with FileStore(store.root.parent).lock("zone"):
        pass
    assert packs(store) == 0


def test_contents_that_another_distribution_needs_stay(store: FileStore) -> None:
    add(store, "zone", R11, [b"shared" * 100, b"own" * 100])
    made = add(store, "web", R11, [b"shared" * 100])
    remove(store)
    Path(store.teds("web", R11)[0].path).unlink()
    assert decoded(FileStore(store.root.parent).ensure_ted("web", R11, None), made) == [b"shared" * 100]
    remove(store, "web")
    assert packs(store) == 0


@pytest.mark.slow
def test_a_prune_killed_at_any_step_is_finished_by_the_next_who_takes_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    step = 0
    while True:
        store = FileStore(tmp_path / str(step))
        add(store, "zone", R11, [b"old" * 100])
        made = add(store, "zone", R12, [b"new" * 100])
        killed = killed_at(step, lambda store=store: remove(store))  # type: ignore[misc]
        with FileStore(store.root.parent).lock("zone") as draft:
            if R11 in store.revisions("zone"):
                draft.remove([R11])
        assert (packs(store), store.revisions("zone")) == (1, [R12])
        assert not [name for name in files(store) if ".tmp-" in name or name.endswith("unfinished")]
        assert decoded(FileStore(store.root.parent).ensure_ted("zone", R12, None), made) == [b"new" * 100]
        if not killed:
            break
        step += 1
    assert step > 5
