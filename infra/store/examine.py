"""Read a whole store and hash everything: packs frame by frame, manifests, ``.ted`` files block by block.

Nothing is believed: neither names nor sizes nor times. The lock of the packs is shared while they are read, so that none is pruned
meanwhile; a revision that a build supersedes meanwhile isn't damaged, it is gone. Leaves out signatures: the caller compares those.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from infra.store.contents import INDEX, PACK, read_pack_index, translate_errors
from infra.store.layout import MANIFEST, StoreLayout, ted_name
from infra.store.pack_reader import PackReader
from sluice.durable import TEMP_PREFIX
from sluice.errors import NotFoundError, StoreCorruptError
from sluice.formats.pack import PACK_MAGIC, PackIndex
from sluice.formats.ted.file import verify_payload
from sluice.model.damage import AffectedRevision, Damage, Examination, Part
from sluice.model.revision import RevisionNumber
from sluice.ports import Progress

TED = ".ted"

Needed = Mapping[str, tuple[int, tuple[AffectedRevision, ...]]]
"""By digest: size, and the revisions that refer to the content."""


def examine(store: StoreLayout, distributions: Iterable[str], progress: Progress | None = None) -> Examination:
    """See ``sluice.ports.Store.examine``."""
    names = sorted(distributions) or store.distributions()
    reading = _Reading(progress)
    if not store.root.is_dir():
        return Examination(0, 0, 0, 0, 0, ())
    with store.share_packs():  # from the manifests on: nothing they refer to is pruned meanwhile
        damages, needed = _manifests(store, names, reading)
        packs = sorted(_packs(store, needed if distributions else None))
        teds = list(_teds(store, names))
        reading.expect([*(store.contents.path(p) for p in packs), *(path for _, _, path in teds)])
        found: set[str] = set()
        for pack in packs:
            damages += _pack(store, pack, needed, found, reading)
        damages += _missing(needed, found, damages)
    damages += _examine_teds(teds, reading)
    return Examination(reading.packs, reading.contents, reading.manifests, reading.teds, reading.bytes, tuple(damages))


@dataclass
class _Reading:
    """Counts bytes and files read, and reports progress."""

    progress: Progress | None
    packs: int = 0
    contents: int = 0
    manifests: int = 0
    teds: int = 0
    bytes: int = 0
    _total: int = field(default=0)

    def expect(self, paths: Iterable[Path]) -> None:
        self._total = self.bytes
        for path in paths:
            with suppress(FileNotFoundError):
                self._total += path.stat().st_size

    def read(self, size: int) -> None:
        self.bytes += size
        if self.progress is not None:
            self.progress(self.bytes, max(self._total, self.bytes))


def _manifests(
    store: StoreLayout, names: Iterable[str], reading: _Reading
) -> tuple[list[Damage], dict[str, tuple[int, tuple[AffectedRevision, ...]]]]:
    """Return damage of manifests, and the contents that sound ones refer to."""
    damages: list[Damage] = []
    needed: dict[str, tuple[int, tuple[AffectedRevision, ...]]] = {}
    for name in names:
        for revision in store.revisions(name):
            concerned = ((name, revision),)
            path = store.revision_directory(name, revision) / MANIFEST
            try:
                reading.read(len(store.manifest_bytes(name, revision)))
                for digest, size in store.manifest(name, revision).contents():
                    others = needed[digest][1] if digest in needed else ()
                    needed[digest] = (size, (*others, *concerned))
            except StoreCorruptError as error:
                damages.append(Damage(Part.MANIFEST, str(path), error.message, concerned))
            except NotFoundError:
                if path.parent.is_dir():
                    damages.append(Damage(Part.MANIFEST, str(path), "it is missing", concerned))
                continue
            reading.manifests += 1
    return damages, needed


def _packs(store: StoreLayout, needed: Needed | None) -> Iterator[str]:
    """Yield all packs, or those that have a needed content or can't be read."""
    contents = store.contents
    if not contents.directory.is_dir():
        return iter(())
    names = os.listdir(contents.directory)
    complete = {n.removesuffix(PACK) for n in names if n.endswith(PACK)} & {n.removesuffix(INDEX) for n in names if n.endswith(INDEX)}
    complete = {n for n in complete if not n.startswith(TEMP_PREFIX)}
    return iter(complete if needed is None else (complete & contents.packs_with(needed.keys())) | (complete - contents.packs()))


def _pack(store: StoreLayout, pack: str, needed: Needed, found: set[str], reading: _Reading) -> list[Damage]:
    """Read a pack; sound contents are added to ``found``."""
    reading.packs += 1
    path = store.contents.path(pack)
    index_path = path.with_suffix(INDEX)
    with translate_errors(path):
        try:
            index = read_pack_index(path)
        except StoreCorruptError as error:
            reading.read(path.stat().st_size)
            return [Damage(Part.INDEX, str(index_path), error.message)]
        bad: dict[str, int] = {}
        first = _layout_problem(path, index)
        reading.read(len(PACK_MAGIC))
        with PackReader(path, index) as reader:
            for digest, size, at in index.contents:
                before = reader.read
                try:
                    reader.check(digest, size, at)
                    found.add(digest)
                except StoreCorruptError as error:
                    if digest in needed:
                        bad[digest] = size
                    first = first or error.message
                reading.contents += 1
                reading.read(reader.read - before)
    return [Damage(Part.PACK, str(path), first, _concerned(needed, bad), tuple(bad.items()))] if first else []


def is_sound(path: Path) -> bool:
    """Whether a pack and its index are there and every content has its digest. Raises OSError."""
    try:
        index = read_pack_index(path)
        if _layout_problem(path, index):
            return False
        with PackReader(path, index) as reader:
            return all(reader.is_at(*content) for content in index.contents)
    except (FileNotFoundError, StoreCorruptError):
        return False


def _layout_problem(path: Path, index: PackIndex) -> str:
    with open(path, "rb") as file:
        if file.read(len(PACK_MAGIC)) != PACK_MAGIC:
            return "it doesn't begin as a pack does"
        length = file.seek(0, os.SEEK_END)
    return "" if length == index.length else f"it has {length} bytes, but its index says {index.length}"


def _teds(store: StoreLayout, names: Iterable[str]) -> Iterator[tuple[str, RevisionNumber, Path]]:
    for name in names:
        for revision in store.revisions(name):
            with suppress(FileNotFoundError):
                for file in sorted(os.listdir(directory := store.revision_directory(name, revision))):
                    if file.endswith(TED) and not file.startswith(TEMP_PREFIX):
                        yield name, revision, directory / file


def _examine_teds(teds: Iterable[tuple[str, RevisionNumber, Path]], reading: _Reading) -> Iterator[Damage]:
    for name, revision, path in teds:
        with translate_errors(path):
            try:
                reading.read(path.stat().st_size)
                reading.teds += 1
                verify_ted(path, name, revision)
            except StoreCorruptError as error:
                yield Damage(Part.TED, str(path), error.message, ((name, revision),))
            except FileNotFoundError:
                continue  # its revision was superseded meanwhile


def verify_ted(path: Path, distribution: str, revision: RevisionNumber) -> None:
    """Read a whole ``.ted``. Raises StoreCorruptError unless it is whole and what its directory and name say; OSError."""
    index = verify_payload(path)
    if (index.distribution, index.revision, ted_name(index.base, index.small)) != (distribution, revision, path.name):
        raise StoreCorruptError(f"{path} is {ted_name(index.base, index.small)} of {index.distribution} {index.revision}")


def _missing(needed: Needed, found: set[str], damages: Iterable[Damage]) -> list[Damage]:
    """Return damage for contents that no pack has."""
    known = {digest for damage in damages for digest, _ in damage.lost}
    missing = {d: size for d, (size, _) in needed.items() if d not in found and d not in known}
    if not missing:
        return []
    what = f"no pack that can be read has {next(iter(missing))}" + (f" and {len(missing) - 1} more contents" if len(missing) > 1 else "")
    return [Damage(Part.CONTENT, "", what, _concerned(needed, missing), tuple(missing.items()))]


def _concerned(needed: Needed, lost: Iterable[str]) -> tuple[AffectedRevision, ...]:
    return tuple(sorted({each for digest in lost for each in needed[digest][1]}))
