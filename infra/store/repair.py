"""Repair the packs of a store: sound contents of a damaged pack go into a new one, lost ones are put in again, the damaged pack goes.

Order, so that a kill at any point loses nothing and a repeat finishes: new packs durable, then, with the lock of the packs held
exclusively, the damaged index and its pack away. A content that wasn't put in again isn't in the store from then on, so that the next
build takes it from its source.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.store.contents import INDEX, PACK, PackSink, read_pack_index, translate_errors
from infra.store.examine import is_sound, verify_ted
from infra.store.layout import TED_WAIT, StoreLayout
from infra.store.pack_reader import PackReader, rebuild_index
from sluice.durable import make_directory, replace_atomically, sweep, sync_directory
from sluice.errors import NotFoundError, StoreCorruptError, StoreLockedError
from sluice.formats.pack import PackIndex, pack_index_bytes, pack_name
from sluice.model.damage import Damage, Part
from sluice.model.revision import RevisionNumber

PACKS_WAIT = 120.0
"""Seconds to wait for builds to end before a damaged pack can go."""
CORRUPT = ".corrupt"


class FilePackRepair:
    """Implements ``sluice.ports.PackRepair``."""

    def __init__(self, sink: PackSink, lost: Mapping[str, int]) -> None:
        self._sink = sink
        self._lost = dict(lost)

    @property
    def lost(self) -> Mapping[str, int]:
        """See ``sluice.ports.PackRepair``."""
        return self._lost

    def expect(self, size: int) -> None:
        """Do nothing: a scan counts all it will read, of which little is kept here; a full disk is found when it is written to."""

    def holds(self, digest: str) -> bool:
        """Whether this content isn't lost."""
        return digest not in self._lost

    def put(self, digest: str, size: int, pieces: Iterable[bytes]) -> None:
        """See ``sluice.ports.ContentSink``; a content that isn't lost is left out."""
        if digest in self._lost:
            self._sink.put(digest, size, pieces)
            del self._lost[digest]


@contextmanager
def repair_packs(store: StoreLayout, damages: Sequence[Damage]) -> Iterator[FilePackRepair]:
    """See ``sluice.ports.Store.repair_packs``."""
    damaged = [Path(damage.path).stem for damage in damages if damage.part in (Part.PACK, Part.INDEX)]
    with translate_errors(store.root):
        make_directory(store.contents.directory)
    with store.share_packs():
        sink = PackSink(store.contents)
        try:
            lost = {digest: size for damage in damages for digest, size in damage.lost}
            replaced = []
            for pack in damaged:
                sound, is_rebuilt = _save(store, pack, sink)
                lost = {digest: size for digest, size in lost.items() if digest not in sound}
                if not is_rebuilt:
                    replaced.append(pack)
            repair = FilePackRepair(sink, lost)
            for digest in [digest for digest, size in lost.items() if not size]:
                repair.put(digest, 0, ())
            yield repair
            sink.finish()
        finally:
            sink.close()
    # Saved contents in the same order as before give their pack the name it had: that one is whole then.
    if replaced := [pack for pack in replaced if not is_sound(store.contents.path(pack))]:
        _delete(store, replaced)


def set_aside(store: StoreLayout, distribution: str, revision: RevisionNumber, name: str) -> str | None:
    """See ``sluice.ports.Store.set_aside``."""
    path = store.revision_directory(distribution, revision) / name
    with store.lock_distribution(distribution, wait=TED_WAIT), translate_errors(path):
        try:
            verify_ted(path, distribution, revision)
        except FileNotFoundError:
            return None
        except StoreCorruptError:
            path.rename(aside := path.with_suffix(CORRUPT))
            sync_directory(path.parent)
            return str(aside)
    return None


def _save(store: StoreLayout, pack: str, sink: PackSink) -> tuple[set[str], bool]:
    """Save the sound contents of a damaged pack.

    Returns:
        Their digests, and whether they stay where they are, because only the index was damaged and has been rebuilt.
    """
    path = store.contents.path(pack)
    with translate_errors(path):
        try:
            index = read_pack_index(path)
        except FileNotFoundError:
            return set(), False  # another process repaired it
        except StoreCorruptError:
            index = rebuild_index(path, *_kept_contents(store))
            data = pack_index_bytes(index)
            if pack_name(data) == pack:
                replace_atomically(path.with_suffix(INDEX), data)
                store.contents.refresh()
                return {digest for digest, _, _ in index.contents}, True
        return _copy(path, index, sink), False


def _copy(path: Path, index: PackIndex, sink: PackSink) -> set[str]:
    copied = set()
    with PackReader(path, index) as reader:
        for digest, size, first in index.contents:
            with suppress(StoreCorruptError):
                sink.put(digest, size, reader.content(digest, size, first))
                copied.add(digest)
    return copied


def _kept_contents(store: StoreLayout) -> tuple[dict[str, int], dict[str, str]]:
    """Return the sizes of all contents that kept revisions refer to, and which content follows which."""
    sizes: dict[str, int] = {}
    after: dict[str, str] = {}
    for name in store.distributions():
        for revision in store.revisions(name):
            with suppress(StoreCorruptError, NotFoundError):
                before = ""
                for digest, size in store.manifest(name, revision).contents():
                    sizes[digest] = size
                    after.setdefault(before, digest)
                    before = digest
    return sizes, after


def _delete(store: StoreLayout, packs: Iterable[str]) -> None:
    """Delete damaged packs, once nobody reads packs or relies on them any more."""
    try:
        with store.lock_packs(wait=PACKS_WAIT), translate_errors(store.root):
            for pack in packs:
                if is_sound(store.contents.path(pack)):  # another process repaired it meanwhile
                    continue
                for suffix in (INDEX, PACK):  # a pack without its index is a leftover, removed by the next prune
                    with suppress(FileNotFoundError):
                        os.unlink(store.contents.directory / f"{pack}{suffix}")
            sweep(store.contents.directory)
            sync_directory(store.contents.directory)
            store.contents.refresh()
    except StoreLockedError as error:
        raise StoreLockedError(
            f"{store.root}: a build is under way, so that damaged packs can't be removed", remedy="repeat the repair when it has ended"
        ) from error
