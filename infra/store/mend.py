"""Mends the packs of a store: what is sound in a damaged one goes into a new one, what was lost is put in again, the damaged one goes.

Order, so that a kill at any point loses nothing and a repeat finishes: new packs durable, then, with the store's lock alone, the damaged
index and its pack away. A content that nobody gave back isn't held from then on, so that the next build takes it from its source.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.store.contents import INDEX, PACK, PackSink, translate_errors
from infra.store.examine import is_sound, verify_ted
from infra.store.layout import StoreLayout
from infra.store.pack_reader import PackReader, found_again
from sluice.durable import make_directory, replace_atomically, sweep, sync_directory
from sluice.errors import NotFoundError, StoreCorruptError, StoreLockedError
from sluice.formats.pack import PackIndex, pack_index_bytes, pack_name, parse_pack_index
from sluice.model.damage import Damage, Part
from sluice.model.revision import RevisionNumber

ALONE_WAIT = 120.0
"""Seconds to wait for builds to end before a damaged pack can go."""
TED_WAIT = 600.0
"""Seconds to wait for the Distribution's lock."""
CORRUPT = ".corrupt"


class PackMending:
    """Implements ``sluice.ports.Mending``."""

    def __init__(self, sink: PackSink, lost: Mapping[str, int]) -> None:
        self._sink = sink
        self._lost = dict(lost)

    @property
    def lost(self) -> Mapping[str, int]:
        """See ``sluice.ports.Mending``."""
        return self._lost

    def expect(self, size: int) -> None:
        """A scan counts all it will read, which isn't what is kept: a full disk is told when it is written to."""

    def holds(self, digest: str) -> bool:
        """Everything but what is lost."""
        return digest not in self._lost

    def put(self, digest: str, size: int, pieces: Iterable[bytes]) -> None:
        """See ``sluice.ports.ContentSink``; what isn't lost is left out."""
        if digest in self._lost:
            self._sink.put(digest, size, pieces)
            del self._lost[digest]


@contextmanager
def mending(store: StoreLayout, damages: Sequence[Damage]) -> Iterator[PackMending]:
    """See ``sluice.ports.Store.mending``."""
    damaged = [Path(damage.path).stem for damage in damages if damage.part in (Part.PACK, Part.INDEX)]
    with translate_errors(store.root):
        make_directory(store.contents.directory)
    with store.share_packs():
        sink = PackSink(store.contents)
        try:
            lost = {digest: size for damage in damages for digest, size in damage.lost}
            gone = []
            for pack in damaged:
                sound, is_rebuilt = _saved(store, pack, sink)
                lost = {digest: size for digest, size in lost.items() if digest not in sound}
                if not is_rebuilt:
                    gone.append(pack)
            mend = PackMending(sink, lost)
            for digest in [digest for digest, size in lost.items() if not size]:
                mend.put(digest, 0, ())
            yield mend
            sink.finish()
        finally:
            sink.close()
    # Saved contents that are laid as before give their pack the name it had: that one is whole then.
    if gone := [pack for pack in gone if not is_sound(store.contents.path(pack))]:
        _drop(store, gone)


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


def _saved(store: StoreLayout, pack: str, sink: PackSink) -> tuple[set[str], bool]:
    """The contents of a damaged pack that are sound: in a new pack, or where they are, if only the index was damaged and is whole again."""
    path = store.contents.path(pack)
    sound: set[str] = set()
    with translate_errors(path):
        try:
            index = parse_pack_index(path.with_suffix(INDEX).read_bytes(), pack)
        except FileNotFoundError:
            return sound, False  # somebody else mended it
        except StoreCorruptError:
            index = found_again(path, *_known(store))
            data = pack_index_bytes(index)
            if pack_name(data) == pack:
                replace_atomically(path.with_suffix(INDEX), data)
                store.contents.refresh()
                return {digest for digest, _, _ in index.contents}, True
        _copy(path, index, sink, sound)
    return sound, False


def _copy(path: Path, index: PackIndex, sink: PackSink, sound: set[str]) -> None:
    with PackReader(path, index) as reader:
        for digest, size, first in index.contents:
            with suppress(StoreCorruptError):
                sink.put(digest, size, reader.content(digest, size, first))
                sound.add(digest)


def _known(store: StoreLayout) -> tuple[dict[str, int], dict[str, str]]:
    """Contents that kept revisions refer to: their sizes, and which one follows which."""
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


def _drop(store: StoreLayout, packs: Iterable[str]) -> None:
    """Delete damaged packs. Whoever reads a pack or relies on one shares the lock: they are waited for."""
    try:
        with store.lock_packs(wait=ALONE_WAIT), translate_errors(store.root):
            for pack in packs:
                if is_sound(store.contents.path(pack)):  # another process mended it meanwhile
                    continue
                for suffix in (INDEX, PACK):  # a pack without its index is a leftover, for whoever prunes next
                    with suppress(FileNotFoundError):
                        os.unlink(store.contents.directory / f"{pack}{suffix}")
            sweep(store.contents.directory)
            sync_directory(store.contents.directory)
            store.contents.refresh()
    except StoreLockedError as error:
        raise StoreLockedError(
            f"{store.root}: a build is under way, so that damaged packs can't be removed", remedy="repeat the repair when it has ended"
        ) from error
